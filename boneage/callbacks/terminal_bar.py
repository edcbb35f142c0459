"""The progress bar of training, in terminals only."""

import sys

from lightning.pytorch.callbacks import RichProgressBar
from typing_extensions import override


class TerminalBar(RichProgressBar):
    """Lightning's progress bar; where the output is no terminal, the lines of epochs do instead."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=100 if sys.stdout.isatty() else 0)

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from one, as all else that is shown does."""
        last = self.trainer.max_epochs or -1
        description = f"Epoch {current_epoch + 1}" + (f" of {last}" if last > 0 else "")
        return description.ljust(len(self.validation_description))
