"""Commands on radiographs: predict, explain, app."""

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boneage.cli import Checkpoint, Checkpoints, Images, Names

if TYPE_CHECKING:
    from boneage.predict.answer import Answer

MAX_ROWS = 50  # radiographs in a terminal table
SEX = "<female|male|unknown>"


def predict(
    images: Images,
    checkpoint: Checkpoints = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=f"Folder for predictions.csv and .json; without it up to {MAX_ROWS} are printed."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="csv or xlsx: id, sex, and chronological_age_years (or _months)."),
    ] = None,
    column: Names = None,
    sex: Annotated[
        str | None,
        typer.Option(
            metavar=SEX,
            help="Sex of all radiographs, also F or M; by default from the table or DICOM header.",
        ),
    ] = None,
    chronological_age: Annotated[
        str | None,
        typer.Option(
            metavar="<years>",
            help="Age of all patients, 0 to 25, for the SD score; by default from the table or "
            "DICOM header.",
        ),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average with the mirror image.")
    ] = False,
    gate: Annotated[
        Literal["flag", "strict"],
        typer.Option(help="strict withholds predictions for anomalous images; flag reports them."),
    ] = "flag",
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write each radiograph as an image with its map.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write a page with a card per radiograph.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a stopped call, or add radiographs.")
    ] = False,
) -> None:
    """Predict the bone age (and stage) of new radiographs.

    Without --checkpoint the built-in model is used. It was trained on the RSNA 2017 data; its
    weights are licensed for research, education and other non-commercial use (CC BY-NC 4.0).
    Research use only: not a medical device.
    """
    from boneage.data.radiographs import find_radiographs
    from boneage.data.tables.columns import Columns
    from boneage.errors import UserError, plural
    from boneage.predict.answer import RESEARCH_ONLY, corrections_line
    from boneage.predict.ensemble import Ensemble
    from boneage.predict.page import summarise
    from boneage.predict.patients import AGE_COLUMNS, patient_given
    from boneage.predict.predict import answers_of
    from boneage.predict.predict import predict as predict_files

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    strict = gate == "strict"
    given = patient_given(sex, chronological_age)
    columns = Columns.given(column or ())
    if column and table is None:
        raise UserError(f"--column {column[0]} names a column of a table: give --table")
    if columns.age:
        raise UserError(
            f"--column age={columns.age}: predict reads no bone age; call the column of a "
            f"chronological age {' or '.join(AGE_COLUMNS)}"
        )
    if out is None:
        if overlays or report or resume:
            raise UserError("--overlays, --report and --resume need a folder: give --out")
        files = find_radiographs(images)
        if len(files) > MAX_ROWS:
            raise UserError(f"{len(files):,} radiographs are too many to print: give --out")
        ensemble = Ensemble(checkpoint or (), mirror)
        _show(answers_of(files, ensemble, table, given, strict, columns))
        return
    try:
        answers = predict_files(
            images, Ensemble(checkpoint or (), mirror), out, table, given, strict=strict,
            resume=resume, pictures=overlays or report, pages=report, columns=columns,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"Stopped. Finished predictions are in {out}: continue with --resume.", err=True)
        sys.exit(128 + signal.SIGINT)
    failed = sum(answer.status == "error" for answer in answers)
    flagged = sum(bool(answer.flags) for answer in answers)
    typer.echo(
        f"{plural(len(answers), 'radiograph')}: {failed:,} could not be read, {flagged:,} flagged; "
        f"see {out / 'predictions.csv'}"
    )
    for line in corrections_line(answers):
        typer.echo(line)
    for ages in summarise(answers).ages[:1]:
        low, median, high = ages.quantiles[1:4]
        typer.echo(
            f"Predicted ages: median {median:.1f} years, middle half {low:.1f} to {high:.1f}"
        )
    if report:
        typer.echo(f"Page: {out / 'report.html'}")
    typer.echo(RESEARCH_ONLY)
    if failed == len(answers):
        sys.exit(1)


def _show(answers: list["Answer"]) -> None:
    """Print one answer as lines, several as a table."""
    from rich.console import Console

    from boneage.errors import UserError
    from boneage.predict.answer import (
        RESEARCH_ONLY,
        corrections_line,
        lines_of,
        terminal_table,
    )

    if len(answers) == 1:
        if answers[0].status == "error":
            raise UserError(answers[0].reason)
        for line in lines_of(answers[0]):
            typer.echo(line)
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print("\n".join(terminal_table(answers, console.width)))
    for line in corrections_line(answers):
        typer.echo(line)
    typer.echo(RESEARCH_ONLY)
    if all(answer.status == "error" for answer in answers):
        sys.exit(1)


def explain(
    images: Images,
    out: Annotated[Path, typer.Option(help="Folder for images and arrays, without earlier maps.")],
    checkpoint: Checkpoint = None,
    method: Annotated[
        Literal["gradcam", "guided_gradcam", "integrated_gradients", "occlusion"],
        typer.Option(help="Captum method."),
    ] = "gradcam",
    sex: Annotated[
        str | None,
        typer.Option(
            metavar=SEX,
            help="Sex of all radiographs, also F or M; by default from checkpoint or DICOM header.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Table of boxes, or a phantom's folder of masks, to measure the maps on; only "
            "held-out radiographs with boxes are read."
        ),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Other runs of the same setting, for the spread.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Annotator to use, if there are several.")
    ] = None,
    check: Annotated[
        int,
        typer.Option(
            help="Maximum number of radiographs to check the maps on, by randomising layers and "
            "removing pixels; 20 or more recommended, 0: no checks.",
            min=0,
        ),
    ] = 0,
) -> None:
    """Draw maps of what raises and lowers the prediction, and save them as arrays."""
    from boneage.data.tables.sexes import read_sex
    from boneage.errors import UserError, plural
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.checkpoint_file import checkpoint_file
    from boneage.run.explain import Explained, check_out
    from boneage.run.explain import explain as draw
    from boneage.run.process import quieten_lightning
    from boneage.weights import require_distinct

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quieten_lightning()
    sex = None if sex is None else read_sex(sex)
    if boxes is None and (also or annotator):
        raise UserError("--also and --annotator are for maps measured on boxes: give --boxes")
    check_out(out)
    models = [checkpoint_file(path) for path in (checkpoint or builtin_file(), *(also or ()))]
    require_distinct(models)
    explained, *others = [Explained(model, images, sex, boxes, annotator) for model in models]
    draw(explained, out, method)
    typer.echo(f"{plural(len(explained.files), 'radiograph')} explained in {out}")
    if check > 0:
        from boneage.run.map_checks import check_maps

        for sentence in check_maps(explained, out, method, check):
            typer.echo(sentence)
    if boxes is not None:
        from boneage.explain.attention import LOCALISATION_TABLE
        from boneage.run.map_checks import localise

        for sentence in localise([explained, *others], boxes, out, method, annotator):
            typer.echo(sentence)
        typer.echo(f"Wrote {out / LOCALISATION_TABLE}")


def app(
    checkpoint: Checkpoints = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the page; by default a free one.", min=1, max=65535)
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open a local page to drop radiographs on, up to 100 MB each; nothing is stored or sent."""
    from boneage.predict.app import serve
    from boneage.predict.ensemble import Ensemble

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    serve(
        Ensemble(checkpoint or ()),
        port,
        browser,
        lambda address: typer.echo(f"The page is at {address} (stop it with Ctrl-C)"),
    )
