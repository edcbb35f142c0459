"""The page that compares finished runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.atomic import write_files, writing
from boneage.errors import UserError
from boneage.evaluation.comparison.group import Group, find_runs, group_runs
from boneage.evaluation.comparison.paired import (
    ACROSS_TASKS,
    differences_across,
    differences_of_settings,
    differences_within,
)
from boneage.evaluation.comparison.sizes import size_studies
from boneage.evaluation.comparison.tables import (
    Gaps,
    comparison_table,
    gap_rows,
    label,
    seed_rows,
    short_names,
    shown_metrics,
)
from boneage.evaluation.figures.comparison import error_by_size, forest
from boneage.evaluation.figures.style import page_image, styled
from boneage.evaluation.figures.training import architecture
from boneage.evaluation.gaps import gaps_of
from boneage.evaluation.html import render
from boneage.evaluation.intervals import Results
from boneage.evaluation.metrics import is_own_headline, metric_labels, shown_baselines
from boneage.evaluation.numbers import is_few, resampled
from boneage.evaluation.reference import first_reference
from boneage.evaluation.run_folder import FinishedRun

COMPARISON_PAGE, COMPARISON_TABLE = "comparison.html", "comparison.csv"
SIGNATURES = {
    COMPARISON_PAGE: b" - boneage</title>",
    COMPARISON_TABLE: b"run,test_set,task,",
}  # near the start
HEAD_BYTES = 1000  # bytes
MODELS = 6  # at most, drawn side by side
ROWS = 100  # runs of the forest plot, at most


def write_comparison(
    folders: Sequence[Path], out: Path, sort: str | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the finished runs in and below folders, and write table and page.

    Args:
        folders: run folders, or folders that contain run folders at any depth.
        out: where `comparison.csv` and `comparison.html` go.
        sort: metric to sort by; see `group_runs`.

    Returns:
        The content shown for each test set, and one line per skipped folder that says why.

    Raises:
        UserError: when there is nothing to compare, or `out` cannot be written or contains files
            of these names that are not from a comparison.
    """
    runs, skipped = find_runs(folders)
    test_sets = group_runs(runs, sort)
    gaps = {run.path: gaps_of(run.predictions, run.metrics.get("subgroups", [])) for run in runs}
    described = [_describe_test_set(groups, gaps) for groups in test_sets]
    page = render(
        "comparison.html.j2",
        test_sets=described,
        skipped=skipped,
        runs=len(runs),
        label=label,
    )
    table = comparison_table([group for groups in test_sets for group in groups], gaps)
    with writing(out):
        _require_own(out)
        out.mkdir(parents=True, exist_ok=True)
        write_files(
            {out / COMPARISON_TABLE: table.to_csv(index=False), out / COMPARISON_PAGE: page}
        )
    return described, skipped


def _require_own(out: Path) -> None:
    """Raise UserError if the files to write exist and were written by another program."""
    for name, signature in SIGNATURES.items():
        file = out / name
        if file.is_file() and signature not in file.read_bytes()[:HEAD_BYTES]:
            raise UserError(
                f"{file} was not written by boneage compare: choose another --out, or remove it"
            )


def _describe_test_set(groups: list[Group], gaps: Gaps) -> dict[str, Any]:
    """Return the content that page and terminal show for one test set."""
    runs = [run for group in groups for run in group.runs]
    names = short_names(runs)
    name_of = {run.path: name for run, name in zip(runs, names, strict=True)}
    with styled():
        panels, hollow, reference = _panels(groups, runs[:ROWS])
        plot = page_image(forest(names[:ROWS], panels, hollow, reference)) if panels else None
        models = _models(runs)
    return {
        "first": groups[0].first,
        "stages": groups[0].runs[0].stages.text(),
        "reference": first_reference(run.metrics for run in runs),
        "resampled": " or ".join(dict.fromkeys(resampled(run.metrics) for run in runs)),
        "name_of": name_of,
        "trained_on_synthetic": any(run.metrics.get("trained_on_synthetic") for run in runs),
        "groups": [
            {
                "group": group,
                "metrics": shown_metrics(group),
                "guess": _constant_guess(group.first),
                "seeds": seed_rows(group),
                "sizes": _sizes(group),
                "differences": differences_within(group),
                "between_settings": differences_of_settings(group),
                "gaps": gap_rows(group, gaps),
            }
            for group in groups
        ],
        "across": differences_across(groups),
        "forest": plot,
        "not_drawn": len(runs[ROWS:]),
        "models": models,
    }


def _constant_guess(metrics: dict[str, Any]) -> Results:
    """Return the metrics of a run's predictions without a radiograph, from its `metrics.json`."""
    shown = shown_baselines(metrics)
    named = (shown.get(name, {}) for name in ("majority_class", "constant", "best_constant"))
    return {metric: result for own in named for metric, result in own.items()}


def _sizes(group: Group) -> list[dict[str, Any]]:
    """Return what is said, and drawn, of runs by the size of their training fold."""
    studies = size_studies(group)
    with styled():
        return [
            {"study": study, "image": page_image(error_by_size(study.n, study.mae, study.curve))}
            for study in studies
        ]


def _panels(
    groups: list[Group], runs: list[FinishedRun]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
    """Return the data of the forest plot, by label: values, small n, and published values."""
    tests = [run.metrics["test"] for run in runs]
    own = [name for name in shown_metrics(groups[0]) if is_own_headline(name)]
    study = first_reference(run.metrics for run in runs)
    panels, hollow, reference = {}, {}, {}
    names = list(dict.fromkeys((*ACROSS_TASKS, groups[0].sort, *own[:1])))
    for name, title in zip(names, metric_labels(names), strict=True):
        results = [test.get(name) or {} for test in tests]
        values = [[result.get(k) for k in ("value", "low", "high")] for result in results]
        array = np.array(values, float)
        if np.isnan(array[:, 0]).all():
            continue
        panels[title] = array
        hollow[title] = np.array([not result.get("n") or is_few(result) for result in results])
        if study and name in study.published:
            reference[title] = study.published[name]
    return panels, hollow, reference


def _models(runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """Return the distinct models of a test set, drawn."""
    models: dict[str, tuple[str, dict[str, Any]]] = {}
    for run in runs:
        described, options = run.metrics.get("architecture"), run.metrics["options"]
        backbone = options.get("backbone", "")
        if backbone == "timm":
            backbone = options.get("backbone.name", backbone)
        title = f"{run.metrics['task']}, {backbone}".rstrip(", ")
        if described is not None:
            models.setdefault(str(described), (title, described))
    shown = list(models.values())[:MODELS]
    return [
        {"title": title, "image": page_image(architecture(described))} for title, described in shown
    ]
