"""The `boneage` command: a file for each family of commands; here, arguments that they share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Images = Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        metavar="<path>",
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
Unit = Annotated[
    Literal["months", "years"] | None,
    typer.Option(help="Unit of the ages; by default from the column name, else months."),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEANING=NAME",
        help="Column of the table, such as age=reading. MEANING is id, age (the bone age), sex or "
        "patient. Known names are recognised by default.",
    ),
]
