"""boneage verify: say what is there of the official radiographs."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def verify(folder: Annotated[Path, typer.Argument(help="The data root.")]) -> None:
    """Count the radiographs below a folder; check what was downloaded, byte by byte.

    Ends with status 1 unless all official radiographs are there.
    """
    from boneage.data.download.verify import verify as check
    from boneage.errors import first_five

    rows, broken = check(folder)
    for row in rows:
        missing = row.official - row.radiographs
        note = (
            "complete" if missing == 0 else f"{missing:,} missing" if missing > 0 else "more than"
        )
        typer.echo(f"{row.part:<12}{row.radiographs:>7,} of {row.official:>7,}   {note}")
    if broken:
        sys.exit(
            f"error: {len(broken)} downloaded files are gone or changed: {first_five(broken)}; "
            "repeat boneage download"
        )
    if any(row.radiographs < row.official for row in rows):
        sys.exit(1)
