"""Stop a training whose validation no longer improves."""

from typing import Any

import lightning as L
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from typing_extensions import override


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but a resumed training has the patience of its command.

    Validations without improvement before the resume count. If they exhaust the patience, nothing
    is trained. Checkpoints contain the name of this class: do not rename it.
    """

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep a training stopped if its checkpoint has no patience left."""
        if 0 < self.wait_count >= self.patience:
            trainer.should_stop = True

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide again after an epoch that `trainer.min_epochs` demands."""
        if self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            trainer.should_stop = False

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})
