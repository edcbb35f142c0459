"""Checkpoints of a run, also when it was resumed from another run."""

import logging
import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

log = logging.getLogger(__name__)


class RunCheckpoint(ModelCheckpoint):
    """Keep one checkpoint of a run: the best by a metric, or the last.

    A resumed run writes into a folder of its own. It takes the checkpoint so far along, so that
    the best of the whole training is tested, not the best since the interruption.

    Args:
        dirpath: the run's checkpoint folder.
        filename: name of the file without `.ckpt`.
        monitor: metric that decides what is best; None keeps the newest, after every epoch.
        mode: whether it should be small or large.
    """

    def __init__(
        self,
        dirpath: str | Path,
        filename: str,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,  # after a validation alone, an epoch is not whole
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from another run's checkpoint; testing loads one too, and must move nothing."""
        theirs, folder = Path(state_dict["best_model_path"]), Path(str(self.dirpath))
        ours = folder / theirs.name
        if theirs.is_file() and not ours.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(theirs, ours)
        if ours.is_file():
            taken_along = {
                "dirpath": str(self.dirpath),
                "best_model_path": str(ours),
                "kth_best_model_path": str(ours),
                "best_k_models": {str(ours): state_dict["best_model_score"]},
            }
            super().load_state_dict(state_dict | taken_along)
        elif theirs.name:
            log.warning("%s is gone: %s.ckpt starts anew", theirs, self.filename)
