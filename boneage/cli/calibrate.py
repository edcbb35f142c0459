"""boneage calibrate: fit a model to a hospital."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from boneage.cli.checkpoint import Checkpoint


def calibrate(
    images: Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")],
    table: Annotated[
        Path, typer.Option(help="csv or xlsx: id, bone age and, as far as known, sex and patient.")
    ],
    out: Annotated[Path, typer.Option(help="The fitted model to write, such as site.onnx.")],
    checkpoint: Checkpoint = None,
    age_unit: Annotated[
        Literal["months", "years"] | None,
        typer.Option(help="Of the ages; by default as the column's name says, else months."),
    ] = None,
) -> None:
    """Fit a model to a site with 30 to 300 radiographs of known bone age.

    Estimates a correction of the predicted ages and says by cross-validation whether it helps;
    refits the intervals where they do not hold. boneage predict --checkpoint takes the result.
    """
    from boneage.predict.ensemble import Ensemble
    from boneage.predict.site import calibrate as fit
    from boneage.predict.site import sentences

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    ensemble = Ensemble([checkpoint] if checkpoint else ())
    for line in sentences(fit(images, table, ensemble, out, age_unit)):
        typer.echo(line)
    typer.echo(f"Wrote {out}")
