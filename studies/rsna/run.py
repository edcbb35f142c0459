"""Train the rows of lab_notes.md, and store their measurements in records.jsonl.

python studies/rsna/run.py /path/to/rsna [ROW...]

Without ROW, all rows without a record are trained, in the order of the tables. A stopped run
resumes. Differences are from the row that a row builds on, if its run folder still exists.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from records import STORED, read, write
from rows import AVERAGED, POOLED, PROJECT, ROWS, base_of, overrides
from soup import average

from boneage.data.formats import read_radiograph
from boneage.data.layouts import read_source
from boneage.evaluation.comparison.paired import difference_of
from boneage.evaluation.evaluate import without_levels
from boneage.evaluation.intervals import with_interval
from boneage.evaluation.metrics import AGE
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.run.ensemble import ensemble
from boneage.run.stress import stress
from boneage.run_files import (
    BEST,
    CHECKPOINTS,
    HISTORY,
    METRICS,
    STRESS_TABLE,
    SUBGROUPS,
)

RUNS = PROJECT / "outputs/results"
MAIN = ("age/mae_months", "stage/balanced_accuracy")  # metrics whose differences are stored
STRESSED = ("paper_regression", "best_128")
BUILTIN = "box_384"  # the row of the built-in model
AUGMENTED = (
    "ladder/age/10_geometric",
    "ladder/age/11_robust",
)  # without and with noise and storage
CHANGED = 400  # test radiographs, each tested with every change
LOW_CONTRAST = 90  # grey levels of 255 between the 1st and the 99th percentile


def train(row: str, root: Path) -> Path:
    """Train or resume a run, and return its folder."""
    folder = RUNS / row
    command = [sys.executable, str(PROJECT / "train.py"), *overrides(row)]
    command += [f"data.root={root.absolute()}", f"hydra.run.dir={folder}", "resume=auto"]
    subprocess.run(command, check=True, cwd=PROJECT)
    return folder


def test_average(row: str, root: Path) -> None:
    """Test the mean weights of several trainings, and store them as the run's checkpoint."""
    checkpoint = RUNS / f"{row}.ckpt"
    average(checkpoint, root, [train(part, root) for part in AVERAGED[row]])
    options = [option for option in overrides(row) if not option.startswith("ckpt_path=")]
    command = [sys.executable, str(PROJECT / "train.py"), *options, f"ckpt_path={checkpoint}"]
    command += [f"data.root={root.absolute()}", f"hydra.run.dir={RUNS / row}"]
    subprocess.run(command, check=True, cwd=PROJECT)
    (RUNS / row / CHECKPOINTS).mkdir(exist_ok=True)
    checkpoint.rename(RUNS / row / BEST)


def run(row: str, root: Path) -> None:
    """Train a row, or average or pool its runs, and store its measurements."""
    folder = RUNS / row
    if row in AVERAGED:
        test_average(row, root)
    elif row not in POOLED:
        train(row, root)
    elif not (folder / METRICS).exists():
        ensemble([train(part, root) for part in POOLED[row]], folder)
    if row in (*STRESSED, *AUGMENTED, BUILTIN) and not (folder / STRESS_TABLE).exists():
        stress(folder, folder, root, CHANGED)
    write(row, record(row, root))


def record(row: str, root: Path) -> dict[str, Any]:
    """Return the record of a run: from `metrics.json`, and values computed from its predictions."""
    folder = RUNS / row
    done = read_run(folder)
    parts = [read_run(RUNS / part) for part in [*POOLED.get(row, []), *AVERAGED.get(row, [])]] or [
        done
    ]
    subgroups = without_levels(done.table(SUBGROUPS))
    changes = (
        pd.read_csv(folder / STRESS_TABLE) if (folder / STRESS_TABLE).exists() else pd.DataFrame()
    )
    stored = subgroups["metric"].isin(["age/mae_months", "age/bias_months", "stage/accuracy"])
    metrics = {key: done.metrics.get(key) for key in STORED}
    epochs = [len(part.table(HISTORY)) for part in parts]
    if row in AVERAGED:
        metrics["seconds"] = sum(part.metrics["seconds"] for part in parts)
    return {
        "metrics": metrics,
        "epochs": sum(epochs) if row in AVERAGED else epochs[0],
        "devices": list(dict.fromkeys(part.metrics["device"] for part in parts)),
        "subgroups": json.loads(subgroups[stored].to_json(orient="records")),
        "by_contrast": by_contrast(done, root),
        "stress": json.loads(changes.to_json(orient="records")),
        "less": difference_from_base(row, done),
    }


def difference_from_base(row: str, done: FinishedRun) -> dict[str, dict[str, Any]]:
    """Return the differences from the base row, by its name, if both have the same test fold."""
    base = base_of(row)
    if base is None or not (RUNS / base / METRICS).exists():
        return {}
    other = read_run(RUNS / base)
    if other.metrics["test_set"] != done.metrics["test_set"]:
        return {}
    return {base: {metric: difference_of([other], [done], metric) for metric in MAIN}}


def by_contrast(done: FinishedRun, root: Path) -> dict[str, Any]:
    """Return the MAE of films of low contrast, and of all others."""
    table = done.predictions.merge(read_source(root)[["id", "path"]], on="id")
    if "age_years_predicted" not in table:
        return {}
    ends = np.array([np.percentile(read_radiograph(path)[0], [1, 99]) for path in table["path"]])
    low = pd.Series(np.diff(ends)[:, 0] < LOW_CONTRAST, index=table.index)
    results = {}
    for name, part in (("low", table[low]), ("other", table[~low])):
        columns = (part[c].to_numpy(float) for c in ("age_years", "age_years_predicted"))
        results[name] = with_interval(AGE.number("mae_months").values, *columns)["mae_months"]
    return results


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    recorded = read()
    chosen = sys.argv[2:] or [row for row in ROWS if row not in recorded]
    for row in chosen:
        run(row, Path(sys.argv[1]))
    print(f"{len(chosen)} of {len(ROWS)} rows done; name a row to train it again")
