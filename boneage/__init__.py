"""Paediatric bone-age assessment from hand radiographs."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boneage.predict.predictor import Predictor

__all__ = ["Predictor"]

# albumentations looks for a newer release over the network when imported, unless told not to
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def __getattr__(name: str) -> object:
    """Import what is asked for first when it is used: the package itself imports at once."""
    if name == "Predictor":
        from boneage.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'boneage' has no attribute {name!r}")
