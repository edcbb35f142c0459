"""boneage verify: say what is there of the official radiographs."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer


def verify(folder: Annotated[Path, typer.Argument(help="The data root.")]) -> None:
    """Count the radiographs below a folder; name ids without an image and images without a row.

    Files that were downloaded are checked byte by byte.

    Ends with status 1 unless all official radiographs are there.
    """
    from boneage.data.download.verify import verify as check
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
