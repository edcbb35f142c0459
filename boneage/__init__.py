"""Paediatric bone-age assessment from hand radiographs."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boneage.predict.predictor import Predictor

__all__ = ["Predictor"]

# Libraries that would use the network: albumentations looks for a newer release, and onnxruntime
# reports the machine to its maker. Both read these variables on import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    """Import `Predictor` on first use, so that `import boneage` is fast."""
    if name == "Predictor":
        from boneage.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'boneage' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List `Predictor` too, for completion in notebooks."""
    return [*globals(), *__all__]
