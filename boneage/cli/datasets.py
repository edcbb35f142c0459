"""Commands on data sets: phantom, download, verify."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from boneage.cli import Names


def phantom(
    folder: Annotated[
        Path, typer.Argument(help="Output folder: new, empty, or one with the same phantom.")
    ],
    n: Annotated[int, typer.Option(help="Number of radiographs.")] = 200,
    size: Annotated[int, typer.Option(help="Image height in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Write synthetic hand radiographs with bone age, sex and exact masks."""
    from boneage.data.phantom.write import write_phantom
    from boneage.errors import option_word

    root = write_phantom(folder, n=n, size=size, seed=seed)
    typer.echo(f"{n:,} synthetic radiographs in {root}")
    typer.echo(f"Train on them with: python train.py data=rsna {option_word('data.root', root)}")


def download(
    folder: Annotated[Path, typer.Argument(help="Output folder, the data root of later commands.")],
    parts: Annotated[
        str, typer.Option(help="Comma-separated parts: train, validation, test.")
    ] = "train,validation,test",
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="I have read the terms of use and accept them.")
    ] = False,
) -> None:
    """Download the official RSNA 2017 radiographs (11 GB); repeat the command to resume."""
    from typing import get_args

    from boneage.data.official import TERMS, Part
    from boneage.data.official import download as fetch_parts
    from boneage.errors import UserError, option_word, shell_line

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = [name.strip() for name in parts.split(",")]
    if unknown := [name for name in names if name not in get_args(Part)]:
        raise UserError(f"--parts: {unknown[0]!r} is not one of {', '.join(get_args(Part))}")
    typer.echo(TERMS)
    if not accept_terms:
        raise UserError("repeat the command with --accept-terms if you accept these terms")
    fetch_parts(folder, [part for part in get_args(Part) if part in names])
    typer.echo(f"Check with: {shell_line('boneage', 'verify', str(folder))}")
    typer.echo(f"Train with: python train.py data=rsna {option_word('data.root', folder)}")


def verify(
    folder: Annotated[Path, typer.Argument(help="The data root.")], column: Names = None
) -> None:
    """Count the radiographs in a folder; list ids without an image and images without a row.

    Copies of a file are listed too. Downloaded files are checked byte by byte.

    The exit status is 1 if something is missing: radiographs of the RSNA 2017 data or, in any other
    folder, the image of an id or the row of an image.
    """
    from boneage.data.official import verify as check
    from boneage.data.tables.columns import Columns
    from boneage.errors import join_first, plural

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    rows, missing, broken = check(folder, Columns.given(column or ()))
    for row in rows:
        if row.official is None:
            typer.echo(f"{row.part:<12}{row.radiographs:>7,}")
            continue
        left = row.official - row.radiographs
        note = "complete" if left == 0 else f"{left:,} missing" if left > 0 else "too many"
        typer.echo(f"{row.part:<12}{row.radiographs:>7,} of {row.official:>7,}   {note}")
    for clause in missing:
        typer.echo(clause)
    if broken:
        sys.exit(
            f"error: {plural(len(broken), 'downloaded file')} missing or changed: "
            f"{join_first(broken)}; repeat boneage download"
        )
    own = all(row.official is None for row in rows)
    incomplete = any(row.radiographs < row.official for row in rows if row.official is not None)
    if incomplete or (own and missing):
        sys.exit(1)
