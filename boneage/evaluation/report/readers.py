"""The section on several readers of a run's page: rows of its tables, and its verdicts."""

from collections.abc import Mapping
from typing import Any

from boneage.errors import plural
from boneage.evaluation.numbers import counts_of, in_months, with_limits

Report = Mapping[str, Any]  # `readers_report` of metrics.json


def readers_section(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the section on readers shows; None for a run without readers to compare.

    Args:
        metrics: what `metrics.json` contains.

    Returns:
        `rows`: a row per reader, with its results; `numbers`: of all readers together, each with
        its label, meaning, text and counts; `verdicts` and `left_out`: sentences; `compared`:
        whether the model predicts ages.
    """
    report = metrics.get("readers_report")
    if report is None:
        return None
    return {
        "rows": _rows(report),
        "numbers": _numbers(report),
        "verdicts": [verdict(c, report["margin_months"]) for c in report.get("comparisons", [])],
        "left_out": [
            f"Reader {name} is left out: {plural(n, 'radiograph')} shared with the remaining "
            "readers."
            for name, n in report["left_out"].items()
        ],
        "compared": "comparisons" in report,
    }


def limit_of_readers(metrics: Mapping[str, Any]) -> str | None:
    """Return the MAE of a model without error, against one reading and the mean, in a sentence.

    Args:
        metrics: what `metrics.json` contains; None if the model predicts no ages.
    """
    report = metrics.get("readers_report")
    if report is None or "model" not in report:
        return None
    perfect = report["perfect_mae_months"]
    one, mean = (_in_months(perfect[k]) for k in ("one_reading", "mean_of_readings"))
    return (
        f"As readers differ, a perfect model has an MAE of {one} months against one reading, and "
        f"of {mean} months against the mean of all readings."
    )


def verdict(comparison: Mapping[str, Any], margin_months: float) -> str:
    """Return whether a model is worse than a reader by more than a margin, in one sentence."""
    reader, difference = str(comparison["reader"]), comparison["difference"]
    if not reader.lower().startswith("reader"):
        reader = f"reader {reader}"
    months = in_months(margin_months)
    measured = f"difference {_in_months(difference)} months"
    if comparison["inferior"] is None:
        n = plural(int(difference["n"]), "radiograph")
        these = f"This {n}" if difference["n"] == 1 else f"These {n}"
        return (
            f"{these} cannot tell whether the model is worse than {reader} by more than "
            f"{months}: {measured}."
        )
    answer = "worse" if comparison["inferior"] else "no worse"
    return f"The model is {answer} than {reader} by more than {months}: {measured}."


def _in_months(result: Mapping[str, Any]) -> str:
    return with_limits(result, "months")


def _rows(report: Report) -> list[dict[str, Any]]:
    of_model = {found["reader"]: found for found in report.get("comparisons", [])}
    rows = []
    for name in report["names"]:
        mae, bias = (report["agreement"][f"readers/{m}_months_{name}"] for m in ("mae", "bias"))
        row = {"reader": name, "bias": _in_months(bias), "mae": _in_months(mae)}
        if name in of_model:
            compared = of_model[name]
            row["model"] = _in_months(compared["model_mae"])
            row["difference"] = _in_months(compared["difference"])
        rows.append(row | {"counts": counts_of(mae)})
    return rows


def _numbers(report: Report) -> list[dict[str, Any]]:
    perfect = report["perfect_mae_months"]
    listed = [
        ("SD of one reading (months)", "around the true age, from differences between readers",
         report["sd_months"], "months"),
        ("ICC(2,1)", "absolute agreement of single readings, of radiographs that all have read",
         report["icc"], ""),
        ("MAE of a perfect model (months)", "against one reading: 0.80 SD",
         perfect["one_reading"], "months"),
        ("MAE of a perfect model (months)", "against the mean of the readings of a radiograph",
         perfect["mean_of_readings"], "months"),
    ]  # fmt: skip
    if "model" in report:
        against = "against the mean of the readings of a radiograph"
        listed += [
            ("MAE of this model (months)", against, report["model"]["mae_months"], "months"),
            ("Bias of this model (months)", against, report["model"]["bias_months"], "months"),
        ]
    return [
        {
            "label": label,
            "meaning": meaning,
            "text": with_limits(result, unit),
            "counts": counts_of(result),
        }
        for label, meaning, result, unit in listed
    ]
