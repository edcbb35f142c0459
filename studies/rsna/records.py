"""The measurements of every row of lab_notes.md: records.jsonl, one line per row."""

import json
from pathlib import Path
from typing import Any

from rows import ROWS

Record = dict[str, Any]
FILE = Path(__file__).parent / "records.jsonl"
AGE = ("age/mae_months", "age/rmse_months", "age/r2")
STAGE = (
    "stage/accuracy", "stage/balanced_accuracy", "stage/recall_child", "stage/recall_adolescent",
    "stage/recall_adult", "stage/precision_adult",
)  # fmt: skip
STORED = (  # from metrics.json
    "task", "data", "seed", "test_set", "n", "parameters", "seconds", "images_per_second",
    "versions", "best_validation", "test", "baselines", "coverage",
)  # fmt: skip
METRICS = {
    *AGE, "age/bias_months", *STAGE,
    *(name.replace("stage/", "stage_from_age/") for name in STAGE),
}  # fmt: skip
DIGITS = 6  # significant digits of stored numbers


def read() -> dict[str, Record]:
    """Return the record of every row that has one, in the order of the tables."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    records = {record.pop("row"): record for record in map(json.loads, lines)}
    return {row: records[row] for row in ROWS if row in records}


def write(row: str, record: Record) -> None:
    """Write the record of a row into the file, replacing an earlier one."""
    records = read() | {row: compact(record)}
    lines = [json.dumps({"row": row, **records[row]}) for row in ROWS if row in records]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compact(record: Record) -> Record:
    """Return a record with the shown metrics only, and numbers of six digits."""
    metrics = {key: record["metrics"].get(key) for key in STORED}
    metrics["test"] = _shown(metrics["test"])
    metrics["baselines"] = {k: _shown(v) for k, v in (metrics["baselines"] or {}).items()}
    return rounded(record | {"metrics": metrics})


def _shown(results: Record) -> Record:
    return {name: result for name, result in results.items() if name in METRICS}


def rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value with numbers of six digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
