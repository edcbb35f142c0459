"""Exported models: the names in their metadata, and the one that comes with the package.

The terms of its weights are in README.md.
"""

from pathlib import Path

KEY = "boneage"  # of the contract
SITE_KEY = "boneage.site"  # of what `boneage calibrate` adds
SCHEMA = 1  # of the contract: goes up when an older version could not read it rightly
NAME = "builtin"  # in place of a path
BUILTIN = Path(__file__).parent / "rsna.onnx"


def is_exported(file: Path) -> bool:
    """Tell an exported model from a checkpoint of training, by its name."""
    return file.suffix.lower() == ".onnx"
