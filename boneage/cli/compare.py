"""boneage compare: finished runs side by side."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Runs, or folders with runs below them.")],
    sort: Annotated[
        str | None,
        typer.Option(help="Metric to sort by, such as age/mae_months or test/age/mae_months."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for comparison.csv and comparison.html.")
    ] = Path("comparison"),
) -> None:
    """Set finished runs side by side: in the terminal, as a table, and as a page."""
    from boneage.evaluation.comparison.page import PAGE, TABLE, write_comparison
    from boneage.evaluation.comparison.terminal import print_comparison

    test_sets, skipped = write_comparison(folders, out, sort)
    print_comparison(test_sets, skipped)
    typer.echo(f"Wrote {out / PAGE} and {out / TABLE}")
