"""Keep the best and the last checkpoint of a run, also when it was resumed from another run."""

import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override


class RunCheckpoint(ModelCheckpoint):
    """Write `best.ckpt` by the task's monitor and `last.ckpt` after every epoch.

    A resumed run writes into a folder of its own. It takes the best checkpoint so far along, so
    that the best of the whole training is tested, not the best since the interruption.

    Args:
        dirpath: the run's checkpoint folder.
        monitor: metric that decides what is best.
        mode: whether it should be small or large.
    """

    def __init__(self, dirpath: str | Path, monitor: str, mode: Literal["min", "max"]) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = Path(state_dict["best_model_path"])
        if best.is_file() and str(best.parent) != str(self.dirpath):
            folder = Path(str(self.dirpath))
            folder.mkdir(parents=True, exist_ok=True)
            moved = str(shutil.copy2(best, folder / best.name))
            state_dict = state_dict | {
                "dirpath": str(self.dirpath),
                "best_model_path": moved,
                "kth_best_model_path": moved,
                "best_k_models": {moved: state_dict["best_model_score"]},
                "last_model_path": "",
            }
        super().load_state_dict(state_dict)
