"""The `boneage` command: options are given once and with a value; help is in paragraphs."""

import os
import re
import sys
from collections import Counter
from functools import partial
from shlex import quote
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

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


def _flags_without_values(params: list[Any]) -> list[Any]:
    """Return the parameters; flags take no value, so help names none."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


MODEL = "--checkpoint"
OTHER_WORDS = {  # what other programs call it
    **dict.fromkeys(("train", "fit"), "models are trained with python train.py, in a clone"),
    **dict.fromkeys(("test", "evaluate", "eval"), "test with python train.py train=false"),
    **dict.fromkeys(("infer", "inference"), "did you mean boneage predict?"),
}


class Group(TyperGroup):
    """The command that contains all others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - differs by version
        """Return the command that a word names.

        Raises:
            UserError: for a word that other programs use.
        """
        if args[0] in OTHER_WORDS:
            raise UserError(f"there is no command {args[0]}: {OTHER_WORDS[args[0]]}")
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - differs by version
        return _flags_without_values(super().get_params(ctx))


class Command(TyperCommand):
    """A command that refuses options which the parser would take without a word."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - differs by version
        super().__init__(*args, **options)
        if self.help:  # the lines of a docstring are not those of a terminal
            self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", self.help)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - differs by version
        return _flags_without_values(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - differs by version
        """Parse the arguments.

        Raises:
            UserError: for an option given twice, of which the parser takes the last value, for an
                empty value, such as that of an unset variable, for an option in place of one, and
                for a path without the option that takes it.
        """
        names = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        values, extra, order = self.make_parser(ctx).parse_args(args=list(args))
        if MODEL in names and not values.keys() & {"checkpoint", "help"}:
            for path in filter(os.path.exists, extra):
                raise UserError(f"{path} is given without an option: write {MODEL} {quote(path)}")
        rest = super().parse_args(ctx, args)
        for param, times in Counter(order).items():
            name, value = param.opts[0], values[param.name]
            several = isinstance(value, list | tuple)
            texts = list(value) if several else [value]
            if "" in texts:
                raise UserError(f"{name} is empty: give a value (an unset variable is empty)")
            if not isinstance(param, TyperOption) or param.is_flag:
                continue
            if times > 1 and not several:
                raise UserError(f"{name} is given more than once")
            if others := [text for text in texts if text in names]:
                raise UserError(f"{name} has no value: it is followed by {others[0]}")
        return rest


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
