"""What is trained, in one line."""

import logging
from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from typing_extensions import override

log = logging.getLogger(__name__)


class ModelLine(ModelSummary):
    """Lightning's summary of a model as one line: the class and parameters of each part."""

    @staticmethod
    @override
    def summarize(summary_data: list[tuple[str, list[str]]], *sizes: Any, **more: Any) -> None:
        columns = dict(summary_data)
        parts = zip(columns["Name"], columns["Type"], columns["Params"], strict=True)
        named = [
            f"{name} {kind} {n.strip()}".replace(" ModuleDict", "")
            for name, kind, n in parts
            if n.strip() != "0"
        ]
        log.info("Parameters: %s", ", ".join(named))
