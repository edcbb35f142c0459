"""The option that names models, the same for every command."""

from pathlib import Path
from typing import Annotated

import typer

Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        help="Exported .onnx file, checkpoint, or folder of a run; several are averaged. "
        "By default the built-in model.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Exported .onnx file, checkpoint, or folder of a run. By default the built-in model.",
    ),
]
