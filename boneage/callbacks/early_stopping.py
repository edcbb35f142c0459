"""Stop a training whose validation no longer improves."""

from typing import Any

from lightning.pytorch import callbacks
from typing_extensions import override


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but a resumed training has the patience of its command.

    It counts the validations without improvement from before. The name is part of the key of its
    state in checkpoints.
    """

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})
