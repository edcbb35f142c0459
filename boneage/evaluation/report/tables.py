"""What the tables and lists of a run's page show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.split_choice import not_drawn
from boneage.data.tables.ids import patient_codes
from boneage.errors import plural
from boneage.evaluation.evaluate import without_levels
from boneage.evaluation.gaps import UNKNOWN_LEVEL, Gap, LevelErrors, errors_of, gaps_of
from boneage.evaluation.intervals import Result
from boneage.evaluation.metrics import (
    FROM_AGE,
    common_name,
    describe,
    group_label,
    is_own_headline,
    shown_baselines,
)
from boneage.evaluation.numbers import FEW, interval, number, p_value
from boneage.evaluation.reference import reference_of
from boneage.evaluation.run_folder import FinishedRun
from boneage.options import TABLE
from boneage.stages import ALL, BANDS

BIAS = "age/bias_months"
UNLIMITED = (-1, None)  # epochs, steps or time
COLUMN_METRICS = ("age/mae_months", "age/bias_months")
SUBGROUP_METRICS = ("age/mae_months", "age/bias_months", "age/rmse_months", "stage/accuracy")


def metric_rows(run: FinishedRun) -> list[dict[str, Any]]:
    """Return a row per metric: its group, result, baselines and published value."""
    baselines = shown_baselines(run.metrics)
    reference = reference_of(run.metrics)
    return [
        {
            "group": _heading(run, name),
            "name": name,
            "headline": describe(name).headline,
            "result": result,
            "baselines": [other.get(common_name(name)) for other in baselines.values()],
            "published": reference.published.get(name) if reference else None,
        }
        for name, result in run.metrics["test"].items()
    ]


def small_bands(predictions: pd.DataFrame) -> dict[str, int]:
    """Return the patients, or radiographs if these are unknown, of each age band with few."""
    band = BANDS.index_of(predictions["age_years"].to_numpy(float))
    patients = patient_codes(predictions)
    units = np.arange(len(band)) if patients is None else patients
    numbers = {name: len(np.unique(units[band == i])) for i, name in enumerate(BANDS.names)}
    return {name: n for name, n in numbers.items() if n < FEW}


def subgroup_rows(groups: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the metrics and, per age band and sex, their results.

    Args:
        groups: `subgroups.csv`.
    """
    groups = without_levels(groups)
    metrics = _scored(groups, SUBGROUP_METRICS)
    rows = [
        {"band": band, "sex": sex} | _results(part, metrics)
        for (band, sex), part in groups.groupby(["band", "sex"], sort=False)
    ]
    rows.sort(key=lambda row: (row["sex"] != ALL, row["band"] == ALL))
    return metrics, rows


def column_sections(run: FinishedRun, groups: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the page shows of each column.

    Args:
        run: the run.
        groups: its `subgroups.csv`; one without columns, as of older versions, has no sections.

    Returns:
        Per column `column`, `metrics`, whether `patients` are known, `rows` (`level`, `n`,
        `patients` and `results`), `sentence` on the clearest gap, and whether it is `marked`, as
        there is none.
    """
    if "column" not in groups:
        return []
    errors = errors_of(run.predictions)
    gaps = gaps_of(run.predictions, run.metrics.get("subgroups", []))
    of_stages = ("stage/accuracy",) if "stage_predicted" in run.predictions else ()
    metrics = _scored(groups, (*COLUMN_METRICS, *of_stages))
    has_patients = "patients" in groups
    sections = []
    for column, part in groups[groups["column"] != ""].groupby("column", sort=False):
        rows = [
            {"level": level} | _results(own, metrics)
            for level, own in part.groupby("level", sort=False)
        ]
        gap = gaps.get(str(column))
        if gap and errors:
            sentence = _gap(gap, errors)
        elif errors is None:
            sentence = "This model predicts neither age nor stage: levels are not compared."
        else:
            sentence = _no_gap([str(row["level"]) for row in rows], has_patients)
        sections.append(
            {
                "column": column,
                "metrics": metrics,
                "patients": has_patients,
                "rows": rows,
                "sentence": sentence,
                "marked": gap is None,
            }
        )
    return sections


def bias_rows(
    run: FinishedRun, groups: pd.DataFrame
) -> tuple[list[str], list[tuple[str, list[Result | None]]]]:
    """Return the sexes and, per age band with radiographs, the bias of all and of each sex.

    Args:
        run: the run.
        groups: `subgroups.csv`.
    """
    groups = without_levels(groups)
    bias = groups[groups["metric"] == BIAS] if len(groups) else groups
    if BIAS not in run.metrics["test"] or bias.empty:
        return [], []
    parts = [key for key in ("value", "low", "high", "n", "patients") if key in bias]
    found: dict[tuple[str, str], Result] = {(ALL, ALL): run.metrics["test"][BIAS]}
    for row in bias[bias["n"] > 0].to_dict("records"):
        found[row["band"], row["sex"]] = {key: row[key] for key in parts}
    sexes = list(dict.fromkeys(sex for _, sex in found))
    bands = [*(band for band in dict.fromkeys(bias["band"]) if band != ALL), ALL]
    rows = [(band, [found.get((band, sex)) for sex in sexes]) for band in bands]
    return sexes, [row for row in rows if any(row[1])]


def option_rows(run: FinishedRun) -> list[tuple[str, Any]]:
    """Return the main options, with their labels.

    Limits that are not set are left out, and the draw of a split where none was drawn.
    """
    options = run.metrics["options"]
    is_drawn = not options.get("data.split_file") and not run.tests_all
    without = set() if is_drawn else not_drawn(options.get("data.train_films", "all"))
    rows = [(row, key) for row in TABLE if row.label for key in row.keys(options)]
    return [
        (row.label_of(key), options[key])
        for row, key in rows
        if options[key] not in UNLIMITED and key not in without
    ]


def _heading(run: FinishedRun, name: str) -> str:
    """Return the group of a metric; a run without a stage head is scored by its age."""
    if name.startswith("stage/") and "stage_predicted" not in run.predictions:
        return group_label(FROM_AGE)
    return group_label(name)


def _scored(groups: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return which of these metrics groups have, then the main ones of new tasks."""
    scored = groups["metric"].unique()
    own = [name for name in scored if is_own_headline(name)]
    return [*(name for name in names if name in scored), *own]


def _results(group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Any]:
    """Return `results`, those of the metrics, and `n` (and `patients`) of a group."""
    results = group.set_index("metric").to_dict("index")
    counted = {name: int(group[name].max()) for name in ("n", "patients") if name in group}
    return {"results": {name: results[name] for name in metrics}} | counted


def _gap(gap: Gap, errors: LevelErrors) -> str:
    unit = f" {errors.unit}" if errors.unit else ""
    # without limits if all draws are equal, as 0 of 30 against 30 of 30
    limits = interval(gap.difference, errors.unit)
    in_brackets = f" (95 % interval {limits})" if limits else ""
    return (
        f"Clearest difference of the {errors.name}: {gap.high} minus {gap.low}, "
        f"{number(gap.difference['value'], errors.unit)}{unit}{in_brackets}, "
        f"p {p_value(gap.p)} by a permutation test, corrected for {plural(gap.pairs, 'pair')}."
    )


def _no_gap(levels: list[str], has_patients: bool) -> str:
    """Say why no gap is given, from the levels of the column."""
    known = [level for level in levels if level != UNKNOWN_LEVEL]
    if not known:
        return "No test radiograph has a value in this column."
    if len(known) == 1:
        return f"There is only one level, {known[0]}: nothing to compare."
    what = "patients" if has_patients else "radiographs"
    besides = f" besides {UNKNOWN_LEVEL}" if UNKNOWN_LEVEL in levels else ""
    return f"Fewer than two levels{besides} have {FEW} {what}: no difference is given."
