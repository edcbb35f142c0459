"""The sections of a run's page by columns of the label table."""

from typing import Any

import pandas as pd

from boneage.errors import plural
from boneage.evaluation.gaps import UNKNOWN_LEVEL, Gap, LevelErrors, errors_of, gaps_of
from boneage.evaluation.metrics import is_own_headline
from boneage.evaluation.numbers import FEW, interval, number, p_value
from boneage.evaluation.run_folder import FinishedRun

AGE_METRICS, STAGE_METRICS = ("age/mae_months", "age/bias_months"), ("stage/accuracy",)


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
    stages = STAGE_METRICS if "stage_predicted" in run.predictions else ()
    scored = groups["metric"].unique()
    metrics = [name for name in (*AGE_METRICS, *stages) if name in scored]
    metrics += [name for name in scored if is_own_headline(name)]
    counted = [name for name in ("n", "patients") if name in groups]
    sections = []
    for column, part in groups[groups["column"] != ""].groupby("column", sort=False):
        rows = []
        for level, own in part.groupby("level", sort=False):
            results = own.set_index("metric").to_dict("index")
            numbers = {name: int(own[name].max()) for name in counted}
            rows.append({"level": level, "results": [results[m] for m in metrics]} | numbers)
        gap = gaps.get(str(column))
        if gap and errors:
            sentence = _gap(gap, errors)
        elif errors is None:
            sentence = "This model predicts neither age nor stage: levels are not compared."
        else:
            sentence = _no_gap([str(row["level"]) for row in rows], counted[-1])
        sections.append(
            {
                "column": column,
                "metrics": metrics,
                "patients": "patients" in counted,
                "rows": rows,
                "sentence": sentence,
                "marked": gap is None,
            }
        )
    return sections


def _gap(gap: Gap, errors: LevelErrors) -> str:
    unit = f" {errors.unit}" if errors.unit else ""
    limits = interval(gap.difference)  # none if all draws are equal, as 0 of 30 against 30 of 30
    in_brackets = f" (95 % interval {limits})" if limits else ""
    return (
        f"Clearest difference of the {errors.name}: {gap.high} minus {gap.low}, "
        f"{number(gap.difference['value'])}{unit}{in_brackets}, "
        f"p {p_value(gap.p)} by a permutation test, corrected for {plural(gap.pairs, 'pair')}."
    )


def _no_gap(levels: list[str], unit: str) -> str:
    """Say why no gap is given.

    Args:
        levels: of the column.
        unit: "n" where levels are counted in radiographs, or "patients".
    """
    known = [level for level in levels if level != UNKNOWN_LEVEL]
    if not known:
        return "No test radiograph has a value in this column."
    if len(known) == 1:
        return f"There is only one level, {known[0]}: nothing to compare."
    what = "radiographs" if unit == "n" else unit
    besides = f" besides {UNKNOWN_LEVEL}" if UNKNOWN_LEVEL in levels else ""
    return f"Fewer than two levels{besides} have {FEW} {what}: no difference is given."
