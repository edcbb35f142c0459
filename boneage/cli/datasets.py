"""Commands on data sets: phantom, download, verify."""

import logging
import shlex
import sys
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

    from boneage.data.download.fetch import download as fetch_parts
    from boneage.data.download.manifest import TERMS, Part
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


def verify(folder: Annotated[Path, typer.Argument(help="The data root.")]) -> None:
    """Count the radiographs below a folder; name ids without an image and images without a row.

    Files that were downloaded are checked byte by byte.

    Ends with status 1 unless all official radiographs are there.
    """
    from boneage.data.download.manifest import verify as check
    from boneage.errors import first_five, plural

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    rows, missing, broken = check(folder)
    for row in rows:
        left = row.official - row.radiographs
        note = "complete" if left == 0 else f"{left:,} missing" if left > 0 else "more than"
        typer.echo(f"{row.part:<12}{row.radiographs:>7,} of {row.official:>7,}   {note}")
    for clause in missing:
        typer.echo(clause)
    if broken:
        sys.exit(
            f"error: {plural(len(broken), 'downloaded file')} gone or changed: "
            f"{first_five(broken)}; repeat boneage download"
        )
    if any(row.radiographs < row.official for row in rows):
        sys.exit(1)
