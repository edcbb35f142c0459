"""Exported models: keys of their metadata, and the model in the package.

The terms of its weights are in README.md.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from boneage.errors import UserError

KEY = "boneage"  # of the contract
SITE_KEY = "boneage.site"  # of what `boneage calibrate` adds
CONTRACT_SCHEMA = 1  # of the contract: raised when an older version could not read it correctly
BUILTIN_NAME = "builtin"  # in place of a path
BUILTIN = Path(__file__).parent / "rsna.onnx"


def name_of(file: Path) -> str:
    """Return the name of a model in messages: its file, or the built-in model."""
    return "the built-in model" if file == BUILTIN else str(file)


def is_exported(file: Path) -> bool:
    """Tell an exported model from a checkpoint of training, by its name."""
    return file.suffix.lower() == ".onnx"


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def find_copy(files: Sequence[Path]) -> tuple[Path, Path] | None:
    """Return the first file with the content of an earlier one, and that one; None without any."""
    digests = [sha256(file) for file in files]
    for i, digest in enumerate(digests):
        if (earlier := digests.index(digest)) < i:
            return files[i], files[earlier]
    return None


def require_distinct(checkpoints: Sequence[Path]) -> None:
    """Raise UserError if a checkpoint has the content of an earlier one: it would count twice.

    It is also raised if one of several cannot be read.
    """
    try:
        copies = find_copy(checkpoints) if len(checkpoints) > 1 else None
    except OSError as error:
        raise UserError(
            f"checkpoint {error.filename} cannot be loaded: {error.strerror}"
        ) from error
    if copies:
        copy, earlier = copies
        raise UserError(
            f"a checkpoint is given twice: {name_of(copy)} has the content of {name_of(earlier)}"
        )
