"""The one exception that is meant for the user, and the words of its messages."""

from collections.abc import Iterator
from contextlib import contextmanager

FRAMEWORK = (  # what the extra `train` brings, and prediction with exported models does not need
    "torch", "torchvision", "lightning", "torchmetrics", "hydra", "omegaconf", "albumentations",
    "captum", "tensorboard", "timm", "huggingface_hub", "onnx", "filelock", "platformdirs",
    "pydantic", "yaml", "typing_extensions", "scipy", "matplotlib",
)  # fmt: skip


class UserError(Exception):
    """A mistake that the user can mend: its message says what, where, and what to do."""


class MissingPackage(UserError):
    """A file needs a package that is not installed: not the file is at fault."""


class FailedRun(UserError):
    """A mistake that shows only once training has begun: the run's folder is marked with it."""


@contextmanager
def framework() -> Iterator[None]:
    """Say in one line that something needs the framework, where that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in FRAMEWORK:
            raise
        raise UserError(
            f"this needs the framework, of which {error.name} is missing: {install('train')}"
        ) from error


def install(extra: str) -> str:
    """Return how an extra of the package is installed."""
    return f"in a clone of boneage, pip install '.[{extra}]'"


def plural(n: int, noun: str) -> str:
    """Return a number with its noun: "1 id", "1,200 ids"."""
    return f"{n:,} {noun}" + "s" * (n != 1)


def first_five(items: list[str]) -> str:
    """Return at most five items as a readable list, with dots where more were left out."""
    return ", ".join(items[:5]) + (", ..." if len(items) > 5 else "")
