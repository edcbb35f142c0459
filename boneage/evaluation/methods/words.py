"""Words that the methods of a run are written with."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from boneage.errors import plural
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import number
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import Stages
from boneage.weights import BUILTIN, BUILTIN_NAME

Options = Mapping[str, Any]
UNITS = ("day", "hour", "minute", "second")  # of a time limit
KNOWN_PACKAGES = ("", "boneage", "torch", "albumentations")  # of the classes that sentences know
LETTER = r"[^/\\,\[\]\"']"  # of a name in a path
ABSOLUTE = re.compile(
    r"(?:^|(?<=[,\[\"']))(?:file://)?"
    rf"(?:~{LETTER}*|[A-Za-z]:)?[/\\](?:{LETTER}+[/\\])*({LETTER}+)[/\\]?"
)


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


def stages_of(stages: Stages) -> str:
    """Return the stages with their ages, as in "child, under 10 years"."""
    if not stages.edges:
        return f"{stages.names[0]}, all ages"
    edges = [f"{edge:g}" for edge in stages.edges]
    parts = [f"{stages.names[0]}, under {edges[0]} years"]
    for k, name in enumerate(stages.names[1:-1]):
        parts.append(f"{name}, {edges[k]} to under {edges[k + 1]}")
    return "; ".join([*parts, f"{stages.names[-1]}, {edges[-1]} or older"])


def time_limit(options: Options) -> str:
    """Return the limit of the time in words, given as DD:HH:MM:SS or by unit; empty without one."""
    given = str(options.get("trainer.max_time") or "").split(":")
    by_unit = [options.get(f"trainer.max_time.{unit}s") for unit in UNITS]
    numbers = map(int, given) if len(given) == len(UNITS) else by_unit
    return join([plural(n, unit) for n, unit in zip(numbers, UNITS, strict=True) if n])


def augmentation(options: Options) -> str:
    """Return the sentence on augmentation, with the parameters of each transform."""
    transforms = options.get("augment.transforms")
    if transforms is None:
        return "[fill in: augmentation]"
    if not transforms:
        return "Training radiographs were not augmented."
    return f"Augmentation (albumentations): {'; '.join(map(_transform, transforms))}."


def _transform(node: Mapping[str, Any]) -> str:
    name = class_name(node.get("_target_", "?"))
    inner = node.get("transforms")
    values = {k: v for k, v in node.items() if k not in ("_target_", "transforms")}
    parts = [f"{key} {_value(value)}" for key, value in values.items()]
    if inner:
        parts.insert(0, f"of {', '.join(map(_transform, inner))}")
    return f"{name} ({', '.join(parts)})" if parts else name


def _value(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(str(part) for part in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {part}" for key, part in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _monitor(options: Options) -> str:
    """Return the metric that chooses the epoch, such as `age/mae_years`; empty without one."""
    return str(options.get("monitor", "")).removeprefix("val/")


def monitored(options: Options) -> str:
    """Return the name of the validation metric that chooses the epoch."""
    metric = _monitor(options)
    if not metric:
        return "validation metric"
    task, _, name = metric.rpartition("/")
    if name == "loss":
        return f"loss of the {task}" if task else "total loss"
    described = describe(metric)
    return f"{described.label} in {described.unit}" if described.unit else described.label


def chosen_epoch(run: FinishedRun) -> str:
    """Return the sentence on which weights were tested."""
    options, metrics = run.metrics["options"], run.metrics
    if metrics.get("best_validation", 0) is None:
        return "No epoch was validated: the weights after the last step were tested."
    best = {"min": "lowest", "max": "highest"}.get(str(options.get("mode")), "best")
    score = metrics.get("best_validation")
    value = "" if score is None else f" ({number(score, describe(_monitor(options)).unit)})"
    validated = "epoch" if options.get("trainer.val_check_interval") in (None, 1.0) else "step"
    return (
        f"The weights of the {validated} with the {best} {monitored(options)} in the validation "
        f"fold{value} were tested."
    )
