"""boneage app: try a model in the browser."""

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer


def app(
    checkpoint: Annotated[
        list[Path], typer.Argument(help="Checkpoint, or folder of a run; several are averaged.")
    ],
    port: Annotated[
        int | None, typer.Option(help="Of the page; by default a free one.", min=1, max=65535)
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open a page on this machine to drop radiographs on; nothing is stored or sent."""
    from boneage.predict.app import serve
    from boneage.predict.model import Predictor
    from boneage.run.quiet import quieten_lightning

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    quieten_lightning()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up
    serve(
        Predictor(checkpoint),
        port,
        browser,
        lambda address: typer.echo(f"The page is at {address} (Ctrl-C ends it)"),
    )
