"""The model that comes with the package: see README.md and LICENSE here."""

from pathlib import Path

NAME = "builtin"  # in place of a path
BUILTIN = Path(__file__).parent / "rsna.onnx"
