"""Words that the methods of a run are written with."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from boneage.evaluation.run_folder import FinishedRun
from boneage.run_files import SPLIT
from boneage.weights import BUILTIN, BUILTIN_NAME

KNOWN_PACKAGES = ("", "boneage", "torch", "albumentations")  # of the classes that sentences know
LETTER = r"[^/\\,\[\]\"']"  # of a name in a path
ABSOLUTE = re.compile(
    r"(?:^|(?<=[,\[\"']))(?:file://)?"
    rf"(?:~{LETTER}*|[A-Za-z]:)?[/\\](?:{LETTER}+[/\\])*({LETTER}+)[/\\]?"
)


def fill_in(what: str) -> str:
    """Return a mark for what the authors have to add."""
    return f"[fill in: {what}]"


def join(items: Sequence[str]) -> str:
    """Return items as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def class_name(target: object) -> str:
    """Return the name of a class or function, with its module if it is of another package.

    What that calls by the same name may do something else.
    """
    module, _, name = str(target or "").rpartition(".")
    return name if module.partition(".")[0] in KNOWN_PACKAGES else f"{module}.{name}"


def name_of(path: object) -> str:
    """Return the name of a file, of the run that a checkpoint is of, or of the built-in model."""
    parts = PurePath(str(path).replace("\\", "/")).parts
    if path == BUILTIN_NAME or parts[-3:] == BUILTIN.parts[-3:]:  # wherever it was installed
        return "the built-in model of boneage"
    if len(parts) > 2 and parts[-2] == "checkpoints":
        return parts[-3]
    return parts[-1] if parts else str(path)


def without_folders(command: str) -> str:
    """Return a command whose absolute paths are cut to their names."""
    words = []
    for word in shlex.split(command):
        option, equals, value = word.partition("=")
        words.append(option + equals + ABSOLUTE.sub(r"\1", value) if equals else word)
    return shlex.join(words)


def is_ensemble(run: FinishedRun) -> bool:
    """Tell whether a folder has the mean of several runs."""
    return "ensemble" in run.metrics


def tests_all(run: FinishedRun) -> bool:
    """Tell whether an external test is of all radiographs of its data set, whatever the split."""
    folds = run.table(SPLIT).get("fold")
    return bool(run.metrics.get("external")) and folds is not None and set(folds) == {"test"}


def is_test_alone(run: FinishedRun) -> bool:
    """Tell whether a run only tested a model that was there already."""
    return not run.metrics["options"].get("train", True)


def knows_training(options: Mapping[str, object]) -> bool:
    """Tell whether options include those of the training, which an exported file does not have."""
    return "seed" in options
