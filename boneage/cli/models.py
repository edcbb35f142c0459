"""Commands on a trained model: calibrate, export, stress."""

import logging
import os
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boneage.cli import Checkpoint, Images, Names, Unit

if TYPE_CHECKING:
    import pandas as pd

HEADING = 10  # characters of a line of a column's heading


def calibrate(
    images: Images,
    table: Annotated[
        Path, typer.Option(help="csv or xlsx: id, bone age and, if known, sex and patient.")
    ],
    out: Annotated[Path, typer.Option(help="Output file, such as site.onnx.")],
    checkpoint: Checkpoint = None,
    age_unit: Unit = None,
    column: Names = None,
) -> None:
    """Fit a model to a site with 100 or more radiographs of known bone age.

    Estimates a correction of the predicted ages and checks by cross-validation whether it helps.
    Refits the intervals if they do not cover 90 %. Use the result with
    boneage predict --checkpoint.
    """
    from boneage.data.tables.columns import Columns
    from boneage.predict.ensemble import Ensemble
    from boneage.predict.site import calibrate as fit
    from boneage.predict.site import sentences

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    ensemble = Ensemble([checkpoint] if checkpoint else ())
    columns = Columns.given(column or (), age_unit)
    for line in sentences(fit(images, table, ensemble, out, columns)):
        typer.echo(line)
    typer.echo(f"Wrote {out}")


def export(
    out: Annotated[Path, typer.Option(help="Output file, such as model.onnx.")],
    checkpoint: Checkpoint = None,
    form: Annotated[
        Literal["onnx", "torch_export"],
        typer.Option("--format", help="Load torch_export with torch.export.load."),
    ] = "onnx",
) -> None:
    """Export a model as ONNX or torch.export, describe its inputs and outputs as JSON, check it."""
    from boneage.predict.export import export as write
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.checkpoint_file import checkpoint_file
    from boneage.run.process import quieten_lightning
    from boneage.weights import is_exported, name_of

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("boneage").setLevel(logging.INFO)
    quieten_lightning()
    file = checkpoint_file(checkpoint or builtin_file())
    differences = write(file, out, form)
    if is_exported(file) and form == "onnx":
        typer.echo(f"{out} is a copy of {name_of(file)}, which is exported already")
    else:
        typer.echo(
            f"{out} agrees with the checkpoint within "
            f"{max(differences.graph, differences.half):.1e} (in the unit of the prediction)"
        )
    typer.echo(f"Its inputs and outputs are described in {out.with_suffix('.json')}")


def stress(
    checkpoint: Checkpoint = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the radiographs, if it has moved; required for exported models."
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="Maximum number of test radiographs.", min=1)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the table and the figure; by default the run's. Required for exported "
            "models."
        ),
    ] = None,
    age_unit: Unit = None,
    column: Names = None,
) -> None:
    """Test a model on radiographs with changed contrast, borders, rotation, noise, markers, ...

    The built-in model is an exported model. A model from boneage calibrate is tested with its
    correction.
    """
    from boneage.data.tables.columns import Columns
    from boneage.errors import UserError
    from boneage.evaluation.run_folder import run_folder
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.checkpoint_file import checkpoint_file
    from boneage.run.process import quieten_lightning
    from boneage.run.stress import stress as measure
    from boneage.run_files import STRESS_FIGURE, STRESS_TABLE
    from boneage.weights import is_exported, name_of

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quieten_lightning()
    file = checkpoint_file(checkpoint or builtin_file())
    needed = {
        "--root, a folder with radiographs and a table of their bone ages": root,
        "--out, a folder for the results": out,
    }
    missing = [option for option, given in needed.items() if given is None]
    if is_exported(file) and missing:
        raise UserError(
            f"{name_of(file)} lists no test radiographs and has no run folder: give "
            + ", and ".join(missing)
        )
    folder = out or run_folder(file)
    measured = measure(file, folder, root, n, Columns.given(column or (), age_unit))
    radiographs = f"Test fold of {os.path.basename(os.path.abspath(checkpoint or file))}"
    if is_exported(file):
        radiographs = f"Radiographs of {root} that {name_of(file)} was not trained on"
    _print_changes(measured, f"{radiographs}, with image changes")
    typer.echo(f"Intervals: {folder / STRESS_TABLE}; figure: {folder / STRESS_FIGURE}")


def _print_changes(measured: "pd.DataFrame", title: str) -> None:
    """Print a row for each change, in several tables if the terminal is too narrow for one.

    Args:
        measured: columns `change`, `n`, `metric` and `value`, as `boneage.run.stress.stress` gives.
        title: of each table.
    """
    from rich.console import Console
    from rich.table import Table

    from boneage.evaluation.numbers import FEW_NOTE, is_few, number
    from boneage.run.stress import LABELS, OF_STAGES
    from boneage.terminal import plain_markup

    all_metrics = measured["metric"].unique()
    of_ages = [metric for metric in all_metrics if metric not in OF_STAGES]
    joint = "mae_months" in of_ages and len(of_ages) < len(all_metrics)  # too wide for one table
    parts = [of_ages, [*OF_STAGES]] if joint else [[*all_metrics]]
    console, endless = Console(), Console(width=1000)
    while parts:
        metrics = parts.pop(0)
        unit = " (ages in months)" * any("months" in metric for metric in metrics)
        table = Table(title=plain_markup(title) + unit, box=None, collapse_padding=True)
        table.add_column("change", no_wrap=True)
        for heading in ("n", *(LABELS[metric] for metric in metrics)):
            table.add_column(fill(heading, HEADING), justify="right", no_wrap=True)
        for change, rows in measured.groupby("change", sort=False):
            values = rows.set_index("metric")["value"]
            cells = [number(values[m], "months" * ("months" in m)) for m in metrics]
            mark = "†" * is_few(dict(rows.iloc[0]))
            table.add_row(str(change), f"{rows['n'].iloc[0]}{mark}", *cells)
            if mark:
                table.caption = FEW_NOTE
        half = len(metrics) // 2
        if half and endless.measure(table).maximum > console.width:
            parts = [metrics[:half], metrics[half:], *parts]
        else:
            console.print(table)
