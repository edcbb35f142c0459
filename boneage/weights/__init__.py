"""Exported models: the names in their metadata, and the one that comes with the package.

The terms of its weights are in README.md.
"""

from pathlib import Path

KEY = "boneage"  # of the contract
SITE_KEY = "boneage.site"  # of what `boneage calibrate` adds
SCHEMA = 1  # of the contract: goes up when an older version could not read it rightly
NAME = "builtin"  # in place of a path
BUILTIN = Path(__file__).parent / "rsna.onnx"


def name_of(file: Path) -> str:
    """Return how a model is called: by its file, or as the built-in one."""
    return "the built-in model" if file == BUILTIN else str(file)


def is_exported(file: Path) -> bool:
    """Tell an exported model from a checkpoint of training, by its name."""
    return file.suffix.lower() == ".onnx"
