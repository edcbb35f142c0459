"""boneage export: a checkpoint as a file that runs without this project."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from boneage.cli.checkpoint import Checkpoint


def export(
    out: Annotated[Path, typer.Option(help="The file to write, such as model.onnx.")],
    checkpoint: Checkpoint = None,
    form: Annotated[
        Literal["onnx", "torch_export"],
        typer.Option("--format", help="torch_export is read by torch.export.load."),
    ] = "onnx",
) -> None:
    """Write a checkpoint as ONNX or torch.export, with its contract as JSON, and check it."""
    from boneage.predict.export import export as write
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.quiet import quieten_lightning

    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    quieten_lightning()
    differences = write(checkpoint or builtin_file(), out, form)
    typer.echo(
        f"{out} predicts as the checkpoint does, within "
        f"{max(differences.graph, differences.half):.1e} (years, or probability)"
    )
    typer.echo(f"How to prepare radiographs for it: {out.with_suffix('.json')}")
