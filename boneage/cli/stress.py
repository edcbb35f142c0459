"""boneage stress: do predictions hold when the image changes?"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from boneage.cli.checkpoint import Checkpoint


def stress(
    checkpoint: Checkpoint = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the radiographs, where it has moved.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="At most so many of the test radiographs.", min=1)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for table and figures; by default that of the run.")
    ] = None,
) -> None:
    """Test a model again with other contrast, borders, rotation, noise, markers, ..."""
    from rich.console import Console
    from rich.table import Table

    from boneage.errors import UserError
    from boneage.evaluation.run_folder import run_folder
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.checkpoint_file import checkpoint_file
    from boneage.run.quiet import quieten_lightning
    from boneage.run.stress import stress as measure
    from boneage.weights import is_exported

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quieten_lightning()
    file = checkpoint_file(checkpoint or builtin_file())
    if out is None and is_exported(file):
        raise UserError("an exported model has no run folder: give --out for the table and figures")
    folder = out or run_folder(file)
    measured = measure(file, folder, root, n)
    table = Table(title=f"The test fold of {(checkpoint or file).name}, changed", box=None)
    metrics = list(measured["metric"].unique())
    for column in ("change", "n", *metrics):
        table.add_column(column, justify="left" if column == "change" else "right", no_wrap=True)
    for change, rows in measured.groupby("change", sort=False):
        values = rows.set_index("metric")["value"]
        cells = [f"{values[metric]:.3g}" for metric in metrics]
        table.add_row(str(change), str(rows["n"].iloc[0]), *cells)
    Console().print(table)
    typer.echo(f"Intervals are in {folder / 'stress.csv'}, a figure is in {folder / 'stress.png'}")
