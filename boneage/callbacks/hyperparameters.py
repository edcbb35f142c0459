"""The options that matter, under short names, for TensorBoard's HPARAMS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

Value = bool | int | float | str
FOLDER = "final"  # below the run's own event files
CHOICES = {  # config groups
    "backbone": "backbone",
    "sex": "sex",
    "augmentation": "augment",
    "optimizer": "optimizer",
    "schedule": "scheduler",
}
VALUES = {
    "task": "name",
    "size": "data.size",
    "sampler": "data.sampling",
    "learning_rate": "optimizer.lr",
    "batch": "data.batch_size",
    "precision": "precision",
    "seed": "seed",
}
OF_TASKS = ("loss", "balance")  # options of some tasks
ABSENT = "-"  # TensorBoard leaves a run that lacks a name out of the parallel coordinates


def hyperparameters(options: Mapping[str, Any]) -> dict[str, Value]:
    """Return what a sweep can be sorted by, under the same names for every task.

    Args:
        options: every option by its dotted name, and the choices of the config groups; a run that
            was started from Python has none of these, and is told by the class it names.
    """
    found: dict[str, Any] = {name: options.get(key) for name, key in VALUES.items()}
    for name, group in CHOICES.items():
        target = str(options.get(f"{group}._target_", ABSENT))
        found[name] = options.get(group) or target.rsplit(".", 1)[-1]
    for name in OF_TASKS:
        own = [
            value
            for key, value in options.items()
            if key.startswith("tasks.") and key.count(".") == 2 and key.endswith(f".{name}")
        ]
        found[name] = own[0] if len(own) == 1 else ", ".join(map(str, own)) or None
    return {name: _plain(value) for name, value in found.items()}


def write_hyperparameters(
    folder: str | Path, options: Mapping[str, Any], final: Mapping[str, float], step: int
) -> None:
    """Write options and final metrics as a TensorBoard run of their own, in `folder`/final.

    TensorBoard takes the columns of HPARAMS from one arbitrary run where runs describe an
    experiment. Where none does, it collects them from all runs, so that a sweep over tasks shows
    the metrics of each, and puts the options that differ first. It then takes every scalar of a
    run for a metric, hence a run that has the final ones alone.

    Args:
        folder: of the run's own event files.
        options: as for `hyperparameters`.
        final: metrics by their logged name.
        step: training step that they are of.
    """
    _, start, end = hparams(hyperparameters(options), {})  # type: ignore[no-untyped-call]
    with SummaryWriter(Path(folder) / FOLDER) as writer:
        for summary in (start, end):
            writer._get_file_writer().add_summary(summary)
        for name, value in final.items():
            writer.add_scalar(name, value, step)


def _plain(value: object) -> Value:
    if value is None:
        return ABSENT
    return value if isinstance(value, bool | int | float) else str(value)
