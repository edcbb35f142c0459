"""The commands: options each given once, and with a value; help in paragraphs."""

import re
from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from boneage.errors import UserError


def _flags_without_values(params: list[Any]) -> list[Any]:
    """Return the parameters; flags take no value, so help names none."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


class Group(TyperGroup):
    """The command that contains all others."""

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
                empty value, such as that of an unset variable, and for an option in place of one.
        """
        given = list(args)
        rest = super().parse_args(ctx, args)
        values, _, order = self.make_parser(ctx).parse_args(args=given)
        names = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
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
