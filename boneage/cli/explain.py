"""boneage explain: what a checkpoint looks at on any radiographs."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from boneage.cli.checkpoint import Checkpoint


def explain(
    images: Annotated[list[Path], typer.Argument(help="Radiograph files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures and arrays.")],
    checkpoint: Checkpoint = None,
    method: Annotated[
        Literal["gradcam", "guided_gradcam", "integrated_gradients", "occlusion"],
        typer.Option(help="Captum's method."),
    ] = "gradcam",
    sex: Annotated[
        Literal["female", "male", "unknown"] | None,
        typer.Option(help="Sex of all; by default what checkpoint or DICOM header know."),
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
            help="Check the maps on so many radiographs: re-draw layers, remove pixels.", min=0
        ),
    ] = 0,
) -> None:
    """Draw what raises and what lowers the prediction, and keep the maps as arrays."""
    from boneage.predict.onnx_model import builtin_file
    from boneage.run.explain import Explained
    from boneage.run.explain import explain as draw
    from boneage.run.localise import localise
    from boneage.run.quiet import quieten_lightning

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quieten_lightning()
    explained = draw(checkpoint or builtin_file(), images, out, method, sex, boxes, annotator)
    typer.echo(f"{len(explained.files)} radiographs explained in {out}")
    if check > 0:
        from boneage.run.check_maps import check_maps

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
