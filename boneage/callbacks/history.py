"""The learning curves of a run, one row an epoch."""

from typing import Any

import lightning as L
import pandas as pd
from typing_extensions import override


class History(L.Callback):
    """Keep what each epoch of training and validation logged.

    It travels in the checkpoint, so that a resumed run has the curves from the first epoch on.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []

    @property
    def table(self) -> pd.DataFrame:
        """The epochs so far: `epoch`, `learning_rate` at its end, and every logged name."""
        return pd.DataFrame(self._epochs)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._epochs.append(logged | {"epoch": trainer.current_epoch, "learning_rate": rate})

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; testing loads one too, and must not cut the curves."""
        if len(state_dict["epochs"]) > len(self._epochs):
            self._epochs = list(state_dict["epochs"])
