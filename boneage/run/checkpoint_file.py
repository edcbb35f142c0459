"""Find the checkpoint file of a path, and identify files of other kinds, without torch."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from boneage.errors import UserError, join_first
from boneage.run_files import CHECKPOINTS, METRICS, runs_below, why_failed
from boneage.terminal import require_file
from boneage.weights import BUILTIN, BUILTIN_NAME

LIGHTNING = "pytorch-lightning_version"
ANOTHER_PROJECT = "a Lightning checkpoint of another project"
OWN_RECORD = b"X\x07\0\0\0boneage"  # the key, as pickled
TORCH_EXPORT = "a program of torch.export; give the checkpoint, or export it as .onnx"
MEMBERS = (  # files in PyTorch archives of other kinds
    ("constants.pkl", "a TorchScript model"),
    ("archive_format", TORCH_EXPORT),
    ("serialized_exported_program.json", TORCH_EXPORT),
)
STARTS = (
    (bytes(64), "filled with zeros, perhaps after a crash or on a full disk"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, perhaps of Keras"),
    (b"version https://git-lfs", "a Git LFS pointer: get the file itself with git lfs pull"),
    (b"<", "an HTML or XML page, perhaps of a failed download"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x1f\x8b", "a gzip archive"),
)
TORCH_STARTS = (b"PK\x03\x04", b"\x80")  # of archives and pickles
ONNX_FIELDS = range(0x12, 0x43, 8)  # protobuf: fields that can follow the format's version


class IntactCheckpoint(UserError):
    """A checkpoint that is not damaged: another version wrote it, or it cannot be opened now."""


def checkpoint_file(path: Path, name: str = "best") -> Path:
    """Return the checkpoint file of a path, for all commands.

    Args:
        path: a checkpoint file, the folder of a run, or its folder of checkpoints; "builtin" is
            the built-in model.
        name: of the checkpoint in a folder, "best" or "last".

    Raises:
        UserError: if a folder does not contain it (the message names what it contains), or the path
            is a pipe or a device.
    """
    if str(path) == BUILTIN_NAME:
        return BUILTIN
    if not os.path.isdir(path):  # unlike Path.is_dir, False for a name that is too long
        require_file(path)
        return path
    for folder in (path / CHECKPOINTS, path):
        if (file := folder / f"{name}.ckpt").is_file():
            return file
    if others := [*path.glob(f"{CHECKPOINTS}/*.ckpt"), *path.glob("*.ckpt")]:
        advice = f"it has no {name}.ckpt; give one of {join_first(sorted(map(str, others)))}"
    elif runs := runs_below(path, f"{CHECKPOINTS}/{name}.ckpt"):
        advice = f"give one of the runs in it: {join_first(runs)}"
    else:
        advice = _advice_without_checkpoints(path)
    raise UserError(f"{path} contains no checkpoint: {advice}")


def _advice_without_checkpoints(path: Path) -> str:
    """Return what to give in place of an ensemble, a test, or a run that failed."""
    try:
        metrics = json.loads((path / METRICS).read_text(encoding="utf-8"))
        if runs := metrics.get("ensemble"):
            return f"it is an ensemble: give its runs: {', '.join(runs)}"
        if tested := metrics["options"].get("ckpt_path"):
            return f"it is a test of a checkpoint: give that: {tested}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not a finished run
    if (reason := why_failed(path)) is not None:
        return f"its training failed: {reason}"
    return (
        "give a checkpoint file, or the folder of a run with checkpoints; for an ensemble, give "
        "its runs"
    )


def require_weights(file: Path) -> None:
    """Check by its first bytes that a file may be a checkpoint.

    Raises:
        UserError: if it is not.
        IntactCheckpoint: if it cannot be opened.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
        if not start:
            raise UserError(f"checkpoint {file} cannot be loaded: the file is empty")
        if not start.startswith(TORCH_STARTS):
            raise UserError(f"{file} is not a boneage checkpoint: it is {what_it_is(file)}")
    except (OSError, ValueError) as error:  # the second for an impossible name
        reason = error.strerror if isinstance(error, OSError) else error
        raise IntactCheckpoint(f"checkpoint {file} cannot be loaded: {reason}") from error


def what_it_is(path: Path) -> str | None:
    """Return the kind of a file that `torch.load` refuses; None for a damaged PyTorch file.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    for prefix, what in STARTS:
        if start.startswith(prefix):
            return what
    if start.startswith(TORCH_STARTS[0]):
        return _archive(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        return "a safetensors file: only weights, without the record of their model"
    if len(start) > 2 and start[0] == 8 and start[1] < 32 and start[2] in ONNX_FIELDS:
        return "an ONNX model"
    if start.startswith(b"\x80"):
        return _pickle(path.read_bytes())
    text = start.decode(errors="ignore")
    if len(text.encode()) > len(start) - 4 and "".join(text.split()).isprintable():
        return "a text file"
    return "a file of another kind"


def what_it_contains(loaded: Any) -> str:  # noqa: ANN401 - any content
    """Return the kind of the content of a PyTorch file without a record of this project."""
    from torch import Tensor

    if not isinstance(loaded, dict):
        return f"a PyTorch file that contains a {type(loaded).__name__}"
    if LIGHTNING in loaded:
        return ANOTHER_PROJECT
    if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        return "a state_dict: only weights, without the record of their model"
    return f"a file of another program ({join_first([str(key) for key in loaded]) or 'empty'})"


def _archive(path: Path) -> str | None:
    """Return the kind of a zip archive; None for a damaged one of PyTorch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist()}
            for name, what in MEMBERS:
                if name in names:
                    return what
            if "data.pkl" not in names:
                return "a zip archive"
            if archive.testzip() is not None:
                return None
            code = "a pickle of another program, which would run its own code when loaded"
            return _pickle(archive.read(names["data.pkl"])) or code
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None  # incomplete or damaged


def _pickle(content: bytes) -> str | None:
    """Return the kind of a pickle with more than weights and plain containers; None if unknown."""
    if OWN_RECORD in content:
        return "one with foreign objects, which would run their own code when loaded"
    if LIGHTNING.encode() in content:
        return ANOTHER_PROJECT
    if b"_parameters" in content and b"_modules" in content:
        return "a pickled model, which would run its own code when loaded"
    return None
