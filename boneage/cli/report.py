"""boneage report: draw a finished run's figures and page again."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Draw the figures and the report page of a finished run again."""
    from boneage.evaluation.report.page import write_report

    typer.echo(f"Wrote {write_report(run)}")
