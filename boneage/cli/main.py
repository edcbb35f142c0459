"""The `boneage` command."""

import sys
from functools import partial

import typer

from boneage.cli.command import Command, Group
from boneage.cli.datasets import download, phantom, verify
from boneage.cli.models import calibrate, export, stress
from boneage.cli.radiographs import app as page
from boneage.cli.radiographs import explain, predict
from boneage.cli.runs import compare, dashboard, ensemble, report
from boneage.errors import UserError, framework, without_controls
from boneage.terminal import (
    check_temporary_folder,
    check_working_directory,
    collect_garbage_less_often,
    exit_on_sigterm,
    prepare_output,
)

app = typer.Typer(
    cls=Group,
    name="boneage",
    help="Predict bone ages, and work with data and runs. Train models with python train.py.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command = partial(app.command, cls=Command)
command()(predict)
command("app")(page)
command()(calibrate)
command()(explain)
command()(stress)
command()(export)
command()(report)
command()(compare)
command()(ensemble)
command()(dashboard)
command()(download)
command()(verify)
command()(phantom)


def main() -> None:
    """Run the command; report a user error, or a file that cannot be used, in one line."""
    collect_garbage_less_often()
    exit_on_sigterm()  # temporary files of radiographs are removed
    prepare_output(required=True)
    try:
        check_working_directory()
        with framework():
            app()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        try:
            check_temporary_folder()  # which libraries need
        except UserError as missing:
            sys.exit(f"error: {missing}")
        if error.strerror is None:  # not of the system
            raise
        named = [str(error.filename)] if error.filename else []
        sys.exit("error: " + without_controls(": ".join([*named, error.strerror])))
