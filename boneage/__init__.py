"""Paediatric bone-age assessment from hand radiographs."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boneage.predict.predictor import Predictor

__all__ = ["Predictor"]

# albumentations looks for a newer release over the network when imported, unless disabled
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def __getattr__(name: str) -> object:
    """Import `Predictor` on first use, so that importing the package is fast."""
    if name == "Predictor":
        from boneage.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'boneage' has no attribute {name!r}")
