"""boneage phantom: write the synthetic data set."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def phantom(
    folder: Annotated[
        Path, typer.Argument(help="Where to: a new or empty folder, or one with the same phantom.")
    ],
    n: Annotated[int, typer.Option(help="Number of radiographs.")] = 200,
    size: Annotated[int, typer.Option(help="Their height in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Another seed draws other hands.")] = 0,
) -> None:
    """Write synthetic hand radiographs with bone age, sex and exact masks."""
    from boneage.data.phantom.write import write_phantom

    root = write_phantom(folder, n=n, size=size, seed=seed)
    typer.echo(f"{n:,} synthetic radiographs in {root}")
    typer.echo(f"Train on them with: python train.py data=rsna data.root={shlex.quote(str(root))}")
