"""Commands on finished runs: compare, report, dashboard, ensemble."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer

from boneage.errors import UserError

PINNED = (  # on the first page; TensorBoard skips those that no run has
    "val/age/mae_months",
    "val/stage/balanced_accuracy",
    "train/loss",
    "val/loss",
    "learning_rate",
    "images_per_second",
)


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Runs, or folders with runs below them.")],
    sort: Annotated[
        str | None,
        typer.Option(help="Metric to sort by, such as age/mae_months or test/age/mae_months."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for comparison.csv and comparison.html.", show_default="comparison"
        ),
    ] = None,
    form: Annotated[
        Literal["markdown", "latex", "csv"] | None,
        typer.Option("--format", help="Only print a table for a paper; no file is written."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics of that table, such as age/mae_months,stage/accuracy."),
    ] = None,
) -> None:
    """Compare finished runs: in the terminal, as a table, and as a page."""
    if form is not None:
        if out is not None:
            raise UserError("--format only prints, without --out: write the table with > FILE")
        from boneage.evaluation.comparison.formats import paper_tables, write_tables

        tables, skipped = paper_tables(folders, metrics.split(",") if metrics else [], sort)
        typer.echo(write_tables(tables, form), nl=False)
        for line in skipped:
            typer.echo(f"left out: {line}", err=True)
        return
    if metrics:
        raise UserError("--metrics chooses the columns of a table for a paper: add --format")
    from boneage.evaluation.comparison.page import (
        COMPARISON_PAGE,
        COMPARISON_TABLE,
        write_comparison,
    )
    from boneage.evaluation.comparison.tables import print_comparison

    out = out or Path("comparison")
    test_sets, skipped = write_comparison(folders, out, sort)
    print_comparison(test_sets, skipped)
    typer.echo(f"Wrote {out / COMPARISON_PAGE} and {out / COMPARISON_TABLE}")


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    methods: Annotated[
        bool,
        typer.Option(
            "--methods", help="Only write methods.md: text for a paper, and the CLAIM checklist."
        ),
    ] = False,
) -> None:
    """Redraw the figures and the report page of a finished run."""
    if methods:
        from boneage.evaluation.methods.text import write_methods

        typer.echo(f"Wrote {write_methods(run)}")
        return
    from boneage.data.atomic import AGAIN, writing
    from boneage.evaluation.report.page import write_report

    with writing(run, AGAIN):
        typer.echo(f"Wrote {write_report(run)}")


def dashboard(
    folder: Annotated[Path, typer.Argument(help="Folder with runs below it.")] = Path("outputs"),
    port: Annotated[
        int, typer.Option(help="Port to serve on; 0 picks a free one.", min=0, max=65535)
    ] = 6006,
) -> None:
    """Serve TensorBoard with the most important curves on its first page, and open it."""
    if not any(folder.rglob("events.out.tfevents.*")):
        what = "contains no TensorBoard logs" if folder.is_dir() else "is not a folder"
        raise UserError(
            f"{folder} {what}: give a folder with trained runs in or below it, or train a run with "
            "make train"
        )
    from tensorboard.program import TensorBoard, TensorBoardServerException

    server = TensorBoard()
    server.configure(logdir=str(folder), port=port)
    try:
        address = server.launch()
    except TensorBoardServerException as error:
        raise UserError(f"TensorBoard cannot start: {error}; choose another --port") from error
    page = address + pinned()
    typer.echo(f"TensorBoard: {page}\nStop it with Ctrl-C.")
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        typer.launch(page)
    try:
        threading.Event().wait()  # the server is a thread of this process
    except KeyboardInterrupt:
        typer.echo("Stopped.")


def pinned() -> str:
    """Return the part of TensorBoard's address that pins the most important curves."""
    cards = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
    text = quote(json.dumps(cards, separators=(",", ":")), safe="")
    return f"?pinnedCards={text}&smoothing=0#timeseries"


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Finished runs: folders, or checkpoint files in them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the ensemble, laid out like a run's.")],
) -> None:
    """Average the predictions of several runs; runs of different folds are pooled."""
    from boneage.data.atomic import writing
    from boneage.evaluation.report.page import write_report
    from boneage.run.ensemble import ensemble as average
    from boneage.run.results import print_results

    metrics = average(runs, out)
    with writing(out, f"when this is fixed, continue with boneage report {out}"):
        write_report(out)
    print_results(metrics, out)
