"""boneage app: try a model in the browser."""

import logging
import signal
import sys
from typing import Annotated

import typer

from boneage.cli.checkpoint import Checkpoints


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
