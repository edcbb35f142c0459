"""Commands on radiographs: predict, explain, app."""

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boneage.cli.models import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from boneage.predict.answer import Answer

SHOWN = 50  # radiographs in a table of the terminal
SEX = "<female|male|unknown>"


def predict(
    images: Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")],
    checkpoint: Checkpoints = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions.csv and .json; without it they are shown."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="csv or xlsx: id, sex, and chronological_age_years or chronological_age_months."
        ),
    ] = None,
    sex: Annotated[
        str | None,
        typer.Option(
            metavar=SEX, help="Of all (or F, M); by default as the table or the DICOM header says."
        ),
    ] = None,
    chronological_age: Annotated[
        str | None,
        typer.Option(
            metavar="<years>", help="Of all, 0 to 25, for the SD score; by default as for --sex."
        ),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average with the mirror image.")
    ] = False,
    gate: Annotated[
        Literal["flag", "strict"],
        typer.Option(help="strict withholds the answer of what looks wrong; flag only says so."),
    ] = "flag",
    overlays: Annotated[
        bool, typer.Option("--overlays", help="A picture of each, with its Grad-CAM map.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="A page with a card for each, to scan and print.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a call that was stopped.")
    ] = False,
) -> None:
    """Predict the bone age (and stage) of new radiographs.

    Without --checkpoint the built-in model answers. It was trained on the RSNA 2017 data; its
    weights are licensed for research, education and other non-commercial use (CC BY-NC 4.0).
    Research use only: not a medical device.
    """
    from boneage.data.radiographs import find_radiographs
    from boneage.errors import UserError
    from boneage.predict.answer import corrections_line
    from boneage.predict.ensemble import Ensemble
    from boneage.predict.patients import patient_given
    from boneage.predict.predict import answers_of
    from boneage.predict.predict import predict as predict_files

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    strict = gate == "strict"
    given = patient_given(sex, chronological_age)
    if out is None:
        if overlays or report or resume:
            raise UserError("pictures, pages and --resume need a folder: give --out")
        files = find_radiographs(images)
        if len(files) > SHOWN:
            raise UserError(f"{len(files):,} radiographs are too many to show: give --out")
        _show(answers_of(files, Ensemble(checkpoint or (), mirror), table, given, strict))
        return
    try:
        answers = predict_files(
            images, Ensemble(checkpoint or (), mirror), out, table, given, strict, resume,
            overlays or report, report,
        )  # fmt: skip
    except KeyboardInterrupt:
        sys.exit(f"Stopped. What is done is kept in {out}: continue with --resume.")
    failed = sum(answer.status == "error" for answer in answers)
    flagged = sum(bool(answer.flags) for answer in answers)
    typer.echo(
        f"Radiographs: {len(answers):,}; {failed:,} could not be read, {flagged:,} have flags; "
        f"see {out / 'predictions.csv'}"
    )
    for line in corrections_line(answers):
        typer.echo(line)
    if report:
        typer.echo(f"Page: {out / 'report.html'}")
    typer.echo("Research use only: not a medical device.")
    if failed == len(answers):
        sys.exit(1)


def _show(answers: list["Answer"]) -> None:
    """Print one answer as lines, several as a table."""
    from rich.console import Console

    from boneage.errors import UserError
    from boneage.predict.answer import corrections_line, lines_of, terminal_table

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
    typer.echo("Research use only: not a medical device.")
    if all(answer.status == "error" for answer in answers):
        sys.exit(1)


def explain(
    images: Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")],
    out: Annotated[
        Path, typer.Option(help="Folder for pictures and arrays, without earlier ones.")
    ],
    checkpoint: Checkpoint = None,
    method: Annotated[
        Literal["gradcam", "guided_gradcam", "integrated_gradients", "occlusion"],
        typer.Option(help="Captum's method."),
    ] = "gradcam",
    sex: Annotated[
        str | None,
        typer.Option(
            metavar=SEX, help="Of all (or F, M); by default what checkpoint or DICOM header know."
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Measure the maps on a table of boxes, or a phantom's folder of masks: of the "
            "radiographs, only those with boxes that were held out are read."
        ),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Other trainings of the setting, for the spread.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Whose boxes count, where several people drew.")
    ] = None,
    check: Annotated[
        int,
        typer.Option(
            help="Check the maps on at most so many of the radiographs, best 20 or more: re-draw "
            "layers, remove pixels.",
            min=0,
        ),
    ] = 0,
) -> None:
    """Draw what raises and what lowers the prediction, and keep the maps as arrays."""
    from boneage.data.sexes import read_sex
    from boneage.errors import plural
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.explain import Explained, localise
    from boneage.run.explain import explain as draw
    from boneage.run.process import quieten_lightning

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quieten_lightning()
    sex = None if sex is None else read_sex(sex)
    explained = draw(checkpoint or builtin_file(), images, out, method, sex, boxes, annotator)
    typer.echo(f"{plural(len(explained.files), 'radiograph')} explained in {out}")
    if check > 0:
        from boneage.run.explain import check_maps

        for sentence in check_maps(explained, out, method, check):
            typer.echo(sentence)
    if boxes is not None:
        models = [
            explained,
            *(Explained(other, images, sex, boxes, annotator) for other in also or ()),
        ]
        for sentence in localise(models, boxes, out, method, annotator):
            typer.echo(sentence)
        typer.echo(f"Wrote {out / 'localisation.csv'}")


def app(
    checkpoint: Checkpoints = None,
    port: Annotated[
        int | None, typer.Option(help="Of the page; by default a free one.", min=1, max=65535)
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open a page on this machine to drop radiographs on; nothing is stored or sent."""
    from boneage.predict.app import serve
    from boneage.predict.ensemble import Ensemble

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up
    serve(
        Ensemble(checkpoint or ()),
        port,
        browser,
        lambda address: typer.echo(f"The page is at {address} (Ctrl-C ends it)"),
    )
