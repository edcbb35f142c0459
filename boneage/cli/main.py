"""The `boneage` command."""

import sys

import typer

from boneage.cli.app import app as page
from boneage.cli.calibrate import calibrate
from boneage.cli.compare import compare
from boneage.cli.dashboard import dashboard
from boneage.cli.download import download
from boneage.cli.ensemble import ensemble
from boneage.cli.explain import explain
from boneage.cli.export import export
from boneage.cli.phantom import phantom
from boneage.cli.predict import predict
from boneage.cli.report import report
from boneage.cli.stress import stress
from boneage.cli.verify import verify
from boneage.errors import UserError, framework

app = typer.Typer(
    name="boneage",
    help="Work on finished runs and checkpoints; python train.py trains them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(compare)
app.command()(report)
app.command()(dashboard)
app.command()(predict)
app.command()(calibrate)
app.command()(explain)
app.command()(ensemble)
app.command()(stress)
app.command()(export)
app.command("app")(page)
app.command()(phantom)
app.command()(download)
app.command()(verify)


def main() -> None:
    """Run the command; say a user's mistake in one line."""
    try:
        with framework():
            app()
    except UserError as error:
        sys.exit(f"error: {error}")
