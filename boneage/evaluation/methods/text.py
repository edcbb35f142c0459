"""The methods of a run as text for a paper: every sentence follows from the run's folder."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from boneage import run_files
from boneage.data.atomic import AGAIN, write_file, writing
from boneage.data.decode import STRETCH_PERCENTILES
from boneage.data.hand import HAND_MARGIN
from boneage.data.tables.columns import LABEL
from boneage.data.tables.readings import LEAST_SHARED
from boneage.errors import UserError, plural
from boneage.evaluation.gaps import compared_columns, errors_of
from boneage.evaluation.intervals import DRAWS, WIDENED_BELOW
from boneage.evaluation.methods import words
from boneage.evaluation.numbers import FEW, in_months, plain, with_limits
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.options import TABLE, kind_of

FILE = "methods.md"
MISSING = {
    "data.missing": "ids without an image, images without a row",
    "data.unreadable": "damaged files",
}
TREATED = {
    "drop": f"Left out ({run_files.LOG} has the number)",
    "error": "None; the software refuses",
}


def write_methods(run_dir: Path) -> Path:
    """Write the methods of a finished run into its folder, and return the file.

    Raises:
        UserError: when the run is not finished, its folder cannot be written, or has another text
            of this name, which somebody may have filled in.
    """
    run = read_run(run_dir)
    file, text = run.path / FILE, methods(run)
    with writing(file, AGAIN):
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{file} is there already with another text: rename it to keep it, or remove it"
            )
        write_file(file, text)
    return file


def methods(run: FinishedRun) -> str:
    """Return the methods of a run and its answers to CLAIM 2024, as Markdown.

    What the folder of a run cannot tell is marked "[fill in: ...]".
    """
    options = run.metrics["options"]
    tasks = sorted({key.split(".")[1] for key in options if key.startswith("tasks.")})

    def of_tasks(option: str, default: float | None = None) -> list[Any]:
        """Return the values of an option of the tasks."""
        return [options.get(f"tasks.{task}.{option}", default) for task in tasks]

    return _environment().get_template("methods.md.j2").render(
        run=run,
        metrics=run.metrics,
        options=options,
        tasks=tasks,
        of_tasks=of_tasks,
        classes=dict(zip(tasks, map(words.class_name, of_tasks("_target_")), strict=True)),
        sexes=[f"{n:,} {sex}" for sex, n in run.predictions["sex"].value_counts().items()],
        readers=", ".join(run.metrics.get("readers", [])),
        differing=_differing(run),
        baselines=_baselines(run),
        missing=_missing(run),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "and_join": words.join,
        "in_months": in_months,
        "numbered": _numbered,
        "plain": plain,
        "plural": plural,
        "sentences": _sentences,
        "thousands": "{:,}".format,
        "with_limits": with_limits,
    }
    functions = (
        compared_columns,
        errors_of,
        words.augmentation,
        words.chosen_epoch,
        words.class_name,
        words.monitored,
        words.name_of,
        words.stages_of,
        words.time_limit,
        words.without_folders,
        zip,
    )
    environment.globals |= {function.__name__: function for function in functions} | {
        "defaults": {row.name: row.default for row in TABLE},
        "draws": DRAWS,
        "few": FEW,
        "files": run_files,
        "hand_margin": HAND_MARGIN,
        "least_shared": LEAST_SHARED,
        "stretch_percentiles": STRETCH_PERCENTILES,
        "widened_below": WIDENED_BELOW,
    }
    return environment


def _sentences(text: str) -> str:
    """Return the lines of a template as one paragraph."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def _numbered(text: str) -> str:
    """Return the rows of a table with a number for each: from "- topic: answer"."""
    items = (item.partition(":") for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:])
    cells = ((topic, " ".join(answer.split()).replace("|", r"\|")) for topic, _, answer in items)
    return "\n".join(f"| {k} | {topic} | {answer} |" for k, (topic, answer) in enumerate(cells, 1))


def _differing(run: FinishedRun) -> list[str] | None:
    """Return the options in which the models of an ensemble differ; None for an older version.

    A choice covers what is below it.
    """
    if (differing := run.metrics.get("differing")) is None:
        return None
    keys = [key for key in differing if kind_of(key) != "bookkeeping"]
    return [key for key in keys if not any(key.startswith(f"{other}.") for other in keys)]


def _baselines(run: FinishedRun) -> list[str]:
    """Return the predictions without a radiograph that the run was compared with."""
    baselines = run.metrics["baselines"]
    used = {
        "age": ["the mean age", "the median age of each sex"],
        "stage": ["the most frequent stage"],
        "sex": ["the share of boys"],
    }
    if "best_constant" in baselines:  # the training fold is unknown
        used |= {"age": ["the median age"], "sex": []}
    groups = {name.partition("/")[0] for name in run.metrics["test"]} if baselines else set()
    return [what for group, own in used.items() if group in groups for what in own]


def _missing(run: FinishedRun) -> str:
    """Return what is missing from the data, and what was done about it."""
    options, parts = run.metrics["options"], []
    for choice, treated in TREATED.items():
        if chosen := [what for name, what in MISSING.items() if options.get(name) == choice]:
            parts.append(f"{treated}: {', '.join(chosen)}")
    if unknown := int((run.predictions["sex"] == "unknown").sum()):
        parts.append(f"The sex of {plural(unknown, 'test radiograph')} is unknown")
    for name, empty in run.predictions.filter(regex=f"^{LABEL}").isna().sum().items():
        if empty:
            without = str(name).removeprefix(LABEL)
            parts.append(f"{plural(empty, 'test radiograph')} without {without}")
    return ". ".join(parts)
