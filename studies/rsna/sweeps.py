"""Train the sweeps of results.md, and store their measurements in sweeps.jsonl.

python studies/rsna/sweeps.py /path/to/rsna [SWEEP...]

Without SWEEP, all are trained. A stopped sweep resumes.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
from records import Record, rounded
from rows import PROJECT

from boneage.evaluation.comparison.paired import difference_of
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.run_files import METRICS

RUNS = PROJECT / "outputs/results"
FILE = Path(__file__).parent / "sweeps.jsonl"
MAE = "age/mae_months"
STORED = (MAE, "age/r2", "stage/accuracy", "stage/balanced_accuracy", "sex/auroc")
SIZES = [  # all sizes take the same number of steps, and are validated equally often
    "data.train_films=250,500,1000,2000,4000,all", "trainer.max_epochs=-1",
    "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=283",
]  # fmt: skip
JOINT = ["trainer.max_epochs=3", "monitor=val/age/mae_years", "mode=min", "seed=1,2,3"]
SWEEPS = {
    "sizes/scratch": [
        *SIZES, "trainer.max_steps=2830", "backbone=slim_resnet", "optimizer.lr=0.0007",
    ],
    "sizes/pretrained": [*SIZES, "trainer.max_steps=2264"],
    "joint/with_sex": [*JOINT, "task=regression,multitask"],
    "joint/with_sex_learned": [*JOINT, "task=multitask", "weighting=uncertainty"],
    "joint/without_sex": [*JOINT, "sex=none", "task=regression,age_sex,age_stage_sex"],
    "joint/without_sex_learned": [
        *JOINT, "sex=none", "task=age_sex,age_stage_sex", "weighting=uncertainty",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What differs between the runs of these sweeps, except the seed."""

    study: str
    task: str
    weighting: str
    sex: str
    train: int

    @classmethod
    def of(cls, sweep: str, run: FinishedRun) -> Self:
        """Return the setting of a run; the sweeps of joint training are one study."""
        study = sweep if sweep.startswith("sizes/") else "joint"
        chosen = (str(run.metrics["options"][name]) for name in ("weighting", "sex"))
        return cls(study, run.metrics["task"], *chosen, run.metrics["n"]["train"])


def train(sweep: str, root: Path) -> None:
    """Train or resume the runs of a sweep."""
    command = [sys.executable, str(PROJECT / "train.py"), "-m", "data=rsna", *SWEEPS[sweep]]
    command += [f"data.root={root.absolute()}", f"hydra.sweep.dir={RUNS / sweep}", "resume=auto"]
    subprocess.run(command, check=True, cwd=PROJECT)


def read() -> list[Record]:
    """Return the measurements of all settings, in the order of the sweeps."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    return [json.loads(line) for line in lines]


def write(measured: Sequence[Record]) -> None:
    """Store measurements; those of settings whose runs are not on this machine stay."""
    names = [field.name for field in fields(Setting)]
    rows = {tuple(row[name] for name in names): row for row in [*read(), *measured]}
    lines = "".join(json.dumps(row) + "\n" for row in rows.values())
    FILE.write_text(lines, encoding="utf-8")


def measure() -> list[Record]:
    """Return the measurements of each setting of the finished sweeps: of all its seeds."""
    settings: dict[Setting, list[FinishedRun]] = {}
    for sweep in SWEEPS:
        for metrics in sorted((RUNS / sweep).glob(f"*/{METRICS}")):
            run = read_run(metrics.parent)
            settings.setdefault(Setting.of(sweep, run), []).append(run)
    return [rounded(record(setting, runs, settings)) for setting, runs in settings.items()]


def record(
    setting: Setting, runs: Sequence[FinishedRun], settings: Mapping[Setting, Sequence[FinishedRun]]
) -> Record:
    """Return the record of a setting, with its difference from learning the age alone."""
    alone = settings.get(replace(setting, task="regression", weighting="fixed"), runs)
    return {
        **asdict(setting),
        "test_set": runs[0].metrics["test_set"],
        "seeds": [run.metrics["seed"] for run in runs],
        "runs": [
            {name: run.metrics["test"][name] for name in STORED if name in run.metrics["test"]}
            for run in runs
        ],
        "difference": None if alone is runs else difference_of(alone, runs, MAE),
    }


def size_studies(rows: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each study of training sizes, by size."""
    studies: dict[str, list[Record]] = {}
    for row in sorted(rows, key=lambda row: row["train"]):
        if row["study"].startswith("sizes/"):
            studies.setdefault(row["study"], []).append(row)
    return studies


def sizes_and_errors(rows: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Return (K,) training radiographs and (K, 3) MAE with its interval of a study of sizes."""
    results = [row["runs"][0][MAE] for row in rows]
    mae = np.array([[result[part] for part in ("value", "low", "high")] for result in results])
    return np.array([row["train"] for row in rows]), mae


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for name in sys.argv[2:] or SWEEPS:
        train(name, Path(sys.argv[1]))
    write(measure())
