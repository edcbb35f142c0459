"""boneage predict: the bone age of new radiographs."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def predict(
    images: Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")],
    checkpoint: Annotated[
        list[Path], typer.Option(help="Checkpoint, or folder of a run; several are averaged.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for predictions.csv and .json; none for one file.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="csv or xlsx: id, sex, and chronological_age_years or chronological_age_months."
        ),
    ] = None,
    sex: Annotated[
        Literal["female", "male", "unknown"] | None,
        typer.Option(help="Of all; by default as the table or the DICOM header says."),
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average with the mirror image.")] = False,
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
) -> None:
    """Predict the bone age (and stage) of new radiographs."""
    from boneage.errors import UserError
    from boneage.predict.model import Predictor
    from boneage.predict.predict import predict as predict_files
    from boneage.predict.predict import predict_one
    from boneage.run.quiet import quieten_lightning

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    quieten_lightning()
    if out is None and (len(images) > 1 or images[0].is_dir() or overlays or report or resume):
        raise UserError("more than one answer, or pictures of it, need a folder: give --out")
    predictor = Predictor(checkpoint, mirror=tta)
    if out is None:
        for line in predict_one(images[0], predictor, table, sex, gate == "strict"):
            typer.echo(line)
        return
    try:
        answers = predict_files(
            images, predictor, out, table, sex, gate == "strict", resume, overlays or report, report
        )
    except KeyboardInterrupt:
        sys.exit(f"Stopped. What is done is kept in {out}: go on with --resume.")
    failed = sum(answer.status == "error" for answer in answers)
    flagged = sum(bool(answer.flags) for answer in answers)
    typer.echo(
        f"Radiographs: {len(answers):,}; {failed:,} could not be read, {flagged:,} have flags; "
        f"see {out / 'predictions.csv'}"
    )
    if report:
        typer.echo(f"Page: {out / 'report.html'}")
    typer.echo("Research use only: not a medical device.")
    if failed == len(answers):
        sys.exit(1)
