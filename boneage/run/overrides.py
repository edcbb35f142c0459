"""Options of the command line that Hydra cannot read, said in one line."""

import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from boneage.errors import UserError

SWEEP = ("-m", "--multirun", "hydra.mode=MULTIRUN")


def check_overrides(arguments: Sequence[str]) -> None:
    """Check that Hydra's grammar can read every `option=value`.

    Brackets, `=`, `;` and the like in a value, such as a folder's name, need quotation marks that
    reach Hydra. A comma is a sweep's.

    Args:
        arguments: of the command line.

    Raises:
        UserError: naming the argument and how to quote it.
    """
    parser = OverridesParser.create()
    sweep = any(argument in SWEEP for argument in arguments)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if not equals or option.startswith("-"):
            continue
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(f"{argument} cannot be read{_advice(option, value)}") from error
        if override.is_sweep_override() and not sweep:
            raise UserError(
                f"{argument} names several values, for a sweep (-m){_advice(option, value)}"
            )


def _advice(option: str, value: str) -> str:
    """Return how to quote a value; nothing where it is quoted already."""
    if value.startswith(('"', "'")):
        return ": its quotation marks do not match"
    quoted = option + '="' + value.replace('"', '\\"') + '"'
    return f": if this is one text, quote it: {shlex.quote(quoted)}"
