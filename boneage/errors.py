"""Errors that users see as one line, and helpers for their messages."""

import difflib
import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

FRAMEWORK = (  # packages of the extra `train`, which exported models do not need
    "torch", "torchvision", "lightning", "torchmetrics", "hydra", "omegaconf", "albumentations",
    "captum", "tensorboard", "timm", "huggingface_hub", "onnx", "yaml", "typing_extensions",
    "scipy", "matplotlib",
)  # fmt: skip
PLAIN_PATH = re.compile(  # paths that Hydra reads as text
    r"(?!(null|true|false|nan|inf)\Z)([a-z]:/|\.{0,2}/|[a-z_])[\w./-]*", re.ASCII | re.IGNORECASE
)
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
FLAT_LIST = re.compile(r"\[([^][{}]*)\]")
WINDOWS = os.name == "nt"
CONTROL_CODES = re.compile(  # all but the tab: terminals obey some; line ends, right-to-left marks
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


class UserError(Exception):
    """An error that the user can fix: its message says what is wrong, where, and what to do.

    A file's name in it may contain control characters, which are replaced.
    """

    def __str__(self) -> str:
        return without_controls(super().__str__())


class MissingPackage(UserError):
    """A file needs a package that is not installed; the file itself is not at fault."""


class InaccessibleFile(UserError):
    """A file that the system could not read, perhaps only for now; its content is unknown."""


class FailedRun(UserError):
    """An error that occurs after training has begun; the run's folder records it."""


@contextmanager
def framework() -> Iterator[None]:
    """Raise UserError if a package of the training framework is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in FRAMEWORK:
            raise
        raise UserError(
            f"this needs the framework, but {error.name} is not installed: {install('train')}"
        ) from error


def install(extra: str) -> str:
    """Return the instruction for installing an extra of the package."""
    return f'in a clone of boneage, pip install ".[{extra}]"'  # marks of every shell


def require_choice(option: str, value: object, *choices: str) -> None:
    """Raise UserError unless the value of an option is one of its choices."""
    if value not in choices:
        raise UserError(f"{option}={value}: must be {' or '.join(choices)}")


def require_call(what: str, function: Callable[..., object], *given: str, **named: str) -> None:
    """Raise UserError if code of the user's own cannot be called with the arguments that it gets.

    Args:
        what: the option that chose it.
        function: a function or method.
        given: the names of the arguments by position.
        named: those by name, with any value.
    """
    signature = inspect.signature(function)
    function = getattr(function, "func", function)  # of functools.partial
    if inspect.isclass(function):
        raise UserError(f"{what}: {function.__name__} is a class: leave out its _partial_")
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        raise UserError(
            f"{what}: {name}({', '.join(signature.parameters)}) is called with "
            f"({', '.join([*given, *named])}): define it with these arguments"
        ) from error


def require_part(what: str, part: object, base: str, advice: str = "") -> None:
    """Raise UserError if a part is not of a base class, or a method has other arguments than there.

    Args:
        what: the option that chose it.
        part: the part.
        base: the name of the base class, with its module.
        advice: the end of the message on another class.
    """
    kind = resolve_name(base)
    if not isinstance(part, kind):
        raise UserError(f"{what}: {type(part).__name__} is no subclass of {base}{advice}")
    for name, method in vars(kind).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            parameters = list(inspect.signature(method).parameters.values())[1:]
            if given := [each.name for each in parameters if each.default is each.empty]:
                require_call(what, getattr(part, name), *given)


def plural(n: int, noun: str) -> str:
    """Return a number with its noun: "1 id", "1,200 ids"."""
    return f"{n:,} {noun}" + "s" * (n != 1)


def join_first(items: list[str], separator: str = ", ") -> str:
    """Return the first five items as a readable list, with dots if there are more."""
    return separator.join([*items[:5], *["..."] * (len(items) > 5)])


def amount(n_bytes: float) -> str:
    """Return a number of bytes with a unit: "4.2 MB", "310 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.{0 if n_bytes >= 10 * size else 1}f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def without_controls(text: str) -> str:
    """Return a text for one line of a terminal, with a question mark for a control character."""
    return CONTROL_CODES.sub("?", text)


def one_line(error: BaseException) -> str:
    """Return the message of another program's error without line breaks."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """Return the first line of another program's message, else the type of the error."""
    return str(error).strip().partition("\n")[0].rstrip(":") or type(error).__name__


def shell_line(*words: str) -> str:
    """Return the words of a command as one types them in a shell of this system."""
    if not WINDOWS:
        return shlex.join(words)
    return " ".join(w if shlex.quote(w) == w else _in_marks(w, '"') for w in words)


def _in_marks(text: str, mark: str) -> str:
    """Return a text in quotation marks, as Hydra reads it, and Windows a word of a command."""
    text = re.sub(rf"\\+(?={mark}|\Z)", r"\g<0>\g<0>", text)  # backslashes before a mark
    return mark + text.replace(mark, f"\\{mark}") + mark


def option_word(option: str, path: object) -> str:
    """Return `option=path` for a command line of train.py, quoted for Hydra and for the shell."""
    text = path.as_posix() if isinstance(path, PurePath) else str(path)
    if not PLAIN_PATH.fullmatch(text):
        text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no reference to another option
    return quoted_option(option, text)


def quoted_option(option: str, text: str) -> str:
    """Return `option=text` as `option_word` does, where `${` refers to another option."""
    if not PLAIN_PATH.fullmatch(text):
        text = _in_marks(text, "'" if WINDOWS else '"')  # other marks than the shell's
    return shell_line(f"{option}={text}")


def value_advice(option: str, value: str) -> str:
    """Return how to write a value that Hydra reads as something else."""
    if DECIMAL_COMMA.fullmatch(value):
        return f"; a decimal number has a point: {option}={value.replace(',', '.')}"
    if value.startswith(('"', "'")):
        return ": its quotation marks do not match"
    if (path := os.path.expanduser(value)) != value:  # no shell expands ~ after option=
        return f": write the home folder out: {option_word(option, path)}"
    if entries := FLAT_LIST.fullmatch(value):
        quoted = ",".join(_in_marks(entry.strip(" \"'"), '"') for entry in entries[1].split(","))
        return f": if this is a list, quote its entries: {shell_line(f'{option}=[{quoted}]')}"
    return f": if this is one value, quote it: {quoted_option(option, value)}"


def first_damage(error: "ValidationError") -> str:
    """Return the first key that a schema requires, or refuses, as the end of a sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"lacks {where}"
    return f"is damaged: {where} has the wrong format ({first['msg']})"


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return the nearest valid name as a question, else all valid names."""
    near = difflib.get_close_matches(name, valid, n=1)
    return f": did you mean {near[0]}?" if near else f": there are {', '.join(valid)}"
