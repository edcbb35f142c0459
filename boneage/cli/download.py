"""boneage download: get the official radiographs."""

import logging
from pathlib import Path
from typing import Annotated

import typer


def download(
    folder: Annotated[Path, typer.Argument(help="Where to: the data root of later commands.")],
    parts: Annotated[
        str, typer.Option(help="Which, with commas between: train, validation, test.")
    ] = "train,validation,test",
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="I have read the terms of use and accept them.")
    ] = False,
) -> None:
    """Get the official RSNA 2017 radiographs (11 GB); go on where it was stopped."""
    from typing import get_args

    from boneage.data.download.archives import TERMS, Part
    from boneage.data.download.download import download as fetch_parts
    from boneage.errors import UserError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = [name.strip() for name in parts.split(",")]
    if unknown := [name for name in names if name not in get_args(Part)]:
        raise UserError(f"--parts: {unknown[0]!r} is none of {', '.join(get_args(Part))}")
    typer.echo(TERMS)
    if not accept_terms:
        raise UserError("repeat the command with --accept-terms if you accept these terms")
    fetch_parts(folder, [part for part in get_args(Part) if part in names])
    typer.echo(f"Check with: boneage verify {folder}")
    typer.echo(f"Train with: python train.py data=rsna data.root={folder}")
