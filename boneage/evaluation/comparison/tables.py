"""Tables of a comparison, for pages and for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from boneage.errors import plural
from boneage.evaluation.comparison.group import Group, Setting
from boneage.evaluation.gaps import Gap, errors_of
from boneage.evaluation.intervals import Result
from boneage.evaluation.metrics import describe, is_compared, metric_label, metric_labels
from boneage.evaluation.numbers import (
    FEW_NOTE,
    count_units,
    interval,
    is_few,
    number,
    p_value,
    with_limits,
)
from boneage.evaluation.run_folder import FinishedRun
from boneage.terminal import plain_markup

Gaps = Mapping[Path, Mapping[str, Gap | None]]  # by folder of a run and column
ESTIMATE_KEYS = ("value", "low", "high")
COLUMN = 16  # characters; columns that do not fit the terminal are in the page only
RUN_MARKS = {  # after a run's name, by the entry of its metrics
    "partial": "partial",
    "external": "external",
    "trained_on_synthetic": "trained on synthetic hands only",
}
MOST_METRICS = 3  # columns


def shown_metrics(group: Group) -> list[str]:
    """Return the metrics of a group's table: the one it is sorted by, then the main ones."""
    test = dict.fromkeys(name for run in group.runs for name in run.metrics["test"])
    return list(dict.fromkeys(filter(None, (group.sort, *filter(is_compared, test)))))


def short_names(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the runs' paths without their common start, with marks such as "(external)"."""
    paths = [run.path.resolve() for run in runs]
    parts = [path.parts for path in paths]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    names = (str(Path(*p[shared:])) for p in parts)
    return [
        " ".join([name, *(f"({mark})" for key, mark in RUN_MARKS.items() if run.metrics.get(key))])
        for name, run in zip(names, runs, strict=True)
    ]


def seed_rows(group: Group, chosen: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return mean and standard deviation over the seeds of each setting of `group.of_seeds`.

    Args:
        group: the runs.
        chosen: names of metrics; those of the group's table by default.

    Returns:
        Rows with `setting`, and `metrics`: per name `mean`, `sd` (n - 1), and `n` radiographs (and
        `patients`) of the seed with fewest: of a precision they may differ.
    """
    rows = []
    for setting in group.of_seeds:
        metrics = {}
        for name in shown_metrics(group) if chosen is None else chosen:
            results = [run.metrics["test"].get(name, {}) for run in setting.runs]
            array = np.array([result.get("value") for result in results], float)
            metrics[name] = {"mean": float(array.mean()), "sd": float(array.std(ddof=1)), "n": None}
            fewest = min(results, key=count_units)
            metrics[name] |= {k: fewest[k] for k in ("n", "patients") if k in fewest}
        rows.append({"setting": setting, "metrics": metrics})
    return rows


def gap_rows(group: Group, gaps: Gaps) -> list[dict[str, Any]]:
    """Return the clearest gap of each run and column (None where there is none).

    Returns:
        Rows with `run`, `column`, `gap`, and `measure`: of what it is, such as "MAE (months)".
    """
    return [
        {"run": run, "column": column, "gap": gap, "measure": errors.label, "unit": errors.unit}
        for run in group.runs
        if (errors := errors_of(run.predictions)) is not None
        for column, gap in gaps[run.path].items()
    ]


def comparison_table(groups: Sequence[Group], gaps: Gaps) -> pd.DataFrame:
    """Return one row per run: its description, the options that differ, every metric and gap."""
    rows = []
    for group in groups:
        for run in group.runs:
            m = run.metrics
            row: dict[str, Any] = {
                "run": str(run.path),
                "test_set": m["test_set"],
                "task": m["task"],
                "data": m["data"],
                "synthetic": bool(m.get("synthetic")),
                "n": m["n"]["test"],
                "seed": group.shown(run, "seed"),
            }
            row |= {f"option/{key}": group.shown(run, key) for key in group.differing}
            for name, result in m["test"].items():
                row |= {f"{name}/{part}": result[part] for part in ESTIMATE_KEYS}
            errors = errors_of(run.predictions)
            for column, gap in gaps[run.path].items():
                if gap is not None and errors is not None:
                    row[f"gap/{column}/measure"] = errors.label
                    row[f"gap/{column}/levels"] = f"{gap.high} minus {gap.low}"
                    row |= {f"gap/{column}/{k}": gap.difference[k] for k in ESTIMATE_KEYS}
                    row[f"gap/{column}/p"] = gap.p
            rows.append(row)
    return pd.DataFrame(rows)


def print_comparison(test_sets: Sequence[dict[str, Any]], skipped: list[str]) -> None:
    """Print a table for each task of each test set, then the skipped folders.

    Args:
        test_sets: from `write_comparison`.
        skipped: one line per skipped folder that says why.
    """
    console = Console()
    for shown in test_sets:
        first, name_of = shown["first"], shown["name_of"]
        synthetic = " [bold](synthetic)[/bold]" if first.get("synthetic") else ""
        console.print(
            f"\nTest set {first['test_set']}: {plural(first['n']['test'], 'radiograph')} of "
            f"{plain_markup(str(first['data']))}{synthetic}\n"
            f"[dim]stages (years): {plain_markup(shown['stages'])}; intervals resample "
            f"{shown['resampled']}[/dim]"
        )
        for part in shown["groups"]:
            group = part["group"]
            room = console.width // COLUMN - 1  # next to the name of the run
            options = group.differing[: max(room - MOST_METRICS, room // 2)]
            metrics = shown_metrics(group)[: max(1, min(MOST_METRICS, room - len(options)))]
            console.print(_table(group, options, metrics))
            if left_out := len(group.differing) - len(options):
                console.print(f"[dim]  more options that differ, see the page: {left_out}[/dim]")
            if group.limit_of_readers:
                console.print(f"  {group.limit_of_readers}", soft_wrap=True)
            for row in part["seeds"] if group.sort else ():  # diverged runs have no metric
                console.print(_pooled(group, row, name_of), soft_wrap=True)
            for row in part["between_settings"]:
                console.print(_difference(row, name_of), soft_wrap=True)
            for row in part["sizes"]:
                console.print(plain_markup(f"  {row['study'].text}"), soft_wrap=True)
            for row in part["differences"]:
                console.print(_difference(row, name_of), soft_wrap=True)
        for row in shown["across"]:
            console.print(_difference(row, name_of), soft_wrap=True)
    console.print(f"[dim]{FEW_NOTE}; below each value its 95 % interval[/dim]")
    for line in skipped:
        console.print(f"[dim]left out: {plain_markup(line)}[/dim]", soft_wrap=True)


def _table(group: Group, options: Sequence[str], metrics: Sequence[str]) -> Table:
    task = plain_markup(str(group.first["task"]))
    table = Table(title=task, title_justify="left", box=box.SIMPLE)
    table.add_column("run", overflow="fold", min_width=12)
    for key in options:
        table.add_column(plain_markup(key), overflow="fold")
    for title in metric_labels(metrics):
        lines = title.replace(" (", "\n(").replace(": ", ":\n")
        table.add_column(plain_markup(lines), justify="right", no_wrap=True)
    for name, run in zip(short_names(group.runs), group.runs, strict=True):
        chosen = (plain_markup(group.shown(run, key)) for key in options)
        cells = (_cell(run.metrics["test"].get(metric), metric) for metric in metrics)
        table.add_row(plain_markup(name), *chosen, *cells)
    if (reference := group.reference) is not None:
        values = (number(reference.published.get(name), describe(name).unit) for name in metrics)
        name = plain_markup(f"{reference.label} ({reference.note})")
        table.add_row(name, *("" for _ in options), *values, style="dim")
    return table


def _pooled(group: Group, row: dict[str, Any], name_of: dict[Path, str]) -> str:
    """Return mean and standard deviation over the seeds of a setting as one line."""
    pooled, unit = row["metrics"][group.sort], describe(group.sort).unit
    return plain_markup(
        f"  {name_of_seeds(row['setting'], name_of)}: {metric_label(group.sort)} "
        f"{number(pooled['mean'], unit)} ± {number(pooled['sd'], unit)}"
    )


def name_of_seeds(setting: Setting, name_of: Mapping[Path, str]) -> str:
    """Return the number of seeds of a setting, with its options, or its runs if these are fewer."""
    names = [name_of[run.path] for run in setting.runs]
    of = setting.options if len(setting.options) <= len(names) else names
    return f"{len(names)} seeds" + f" of {', '.join(of)}" * bool(of)


def label(setting: Setting, name_of: Mapping[Path, str]) -> str:
    """Return the name of a run, or of several seeds."""
    if setting.options:
        return name_of_seeds(setting, name_of)
    others = len(setting.runs) - 1
    return name_of[setting.runs[0].path] + f" and {plural(others, 'other seed')}" * bool(others)


def _difference(row: dict[str, Any], name_of: dict[Path, str]) -> str:
    """Return the difference between two runs as one line."""
    metric, difference = row["metric"], row["difference"]
    measured = with_limits(difference, describe(metric).unit)
    return plain_markup(
        f"  {label(row['setting'], name_of)} minus {label(row['reference'], name_of)}: "
        f"{metric_label(metric)} {measured}, p {p_value(difference['p'])}"
    )


def _cell(result: Result | None, metric: str) -> str:
    """Return value and interval on two lines; a dagger marks a small n."""
    if result is None:
        return ""
    mark = "†" if is_few(result) and result["value"] is not None else ""
    unit = describe(metric).unit
    return f"{number(result['value'], unit)}{mark}\n[dim]{interval(result, unit)}[/dim]"
