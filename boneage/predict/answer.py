"""The answer for one radiograph, and how answers are written (schema version 1)."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from boneage.errors import UserError

SCHEMA = 1


@dataclass(frozen=True)
class Answer:
    """What is predicted for a radiograph.

    Args:
        file: the file as it was given.
        id: its name without the suffix.
        status: "ok"; "error" where it cannot be read; "withheld" where the gate is strict and there
            are flags.
        reason: why there is no answer, else empty.
        sex: the sex used: "female", "male" or "unknown".
        sex_from: "option", "table", "header", or empty.
        chronological_age_years: where it is known.
        chronological_age_from: "table", "header", or empty.
        age_years: bone age.
        age_text: the same in years and months.
        interval_low_years, interval_high_years: hold the reference reading in 9 of 10 radiographs.
        sd_score: bone age beside the chronological age (Brush Foundation).
        stage: most probable maturity stage, or that of the bone age.
        stage_probabilities: by stage, where the model has such a task.
        ensemble_sd_years: standard deviation of the models' bone ages, where there are several.
        novelty: distance from the training radiographs; above 1 it is unusual.
        flags: what is odd about the radiograph, or about the answer.
    """

    file: str
    id: str
    status: Literal["ok", "error", "withheld"] = "ok"
    reason: str = ""
    sex: str = "unknown"
    sex_from: str = ""
    chronological_age_years: float | None = None
    chronological_age_from: str = ""
    age_years: float | None = None
    age_text: str = ""
    interval_low_years: float | None = None
    interval_high_years: float | None = None
    sd_score: float | None = None
    stage: str = ""
    stage_probabilities: dict[str, float] = field(default_factory=dict)
    ensemble_sd_years: float | None = None
    novelty: float | None = None
    flags: list[str] = field(default_factory=list)


def years_and_months(years: float) -> str:
    """Return an age as people say it: 12.27 years are "12 y 3 m"."""
    months = max(0, round(12 * years))
    return f"{months // 12} y {months % 12} m"


def lines_of(answer: Answer) -> list[str]:
    """Return an answer as lines to read in a terminal."""
    lines = []
    if answer.age_years is not None:
        lines.append(f"bone age   {answer.age_text} ({answer.age_years:.2f} years)")
        if answer.interval_low_years is not None:
            ends = f"{answer.interval_low_years:.1f} to {answer.interval_high_years:.1f} years"
            lines.append(f"90 % of    {ends}")
        if answer.sd_score is not None:
            at = f"{answer.chronological_age_years:.1f} years"
            lines.append(f"SD score   {answer.sd_score:+.1f} at a chronological age of {at}")
    if answer.stage:
        chances = [f"{name} {100 * p:.0f} %" for name, p in answer.stage_probabilities.items()]
        lines.append(f"stage      {answer.stage}" + (f" ({', '.join(chances)})" if chances else ""))
    if answer.status == "withheld":
        lines.append("withheld   by the strict gate")
    lines.append(f"sex        {answer.sex}" + (f" ({answer.sex_from})" if answer.sex_from else ""))
    if answer.ensemble_sd_years is not None:
        lines.append(f"models     differ by {answer.ensemble_sd_years:.2f} years (SD)")
    lines += [f"flag       {flag}" for flag in answer.flags]
    return [*lines, "Research use only: not a medical device."]


class Answers:
    """The answers of one call, kept line by line so that a stopped call can go on.

    Args:
        folder: where `predictions.csv` and `predictions.json` will be.
        about: what the answers rest on: the checkpoints and options.
        resume: go on with what an earlier call with the same `about` has left.

    Raises:
        UserError: when the folder holds answers already, or cannot be written.
    """

    def __init__(self, folder: Path, about: dict[str, Any], resume: bool) -> None:
        self.folder, self.about = folder, about
        self.lines = folder / "predictions.part"
        self.done: dict[str, Answer] = {}
        if not resume and any(
            (folder / name).exists() for name in ("predictions.csv", self.lines.name)
        ):
            raise UserError(
                f"{folder} holds predictions already: go on with --resume, or choose another --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume and self.lines.exists():
                self._read()
            with self.lines.open("w") as file:
                file.write(json.dumps(about) + "\n")
                file.writelines(json.dumps(asdict(answer)) + "\n" for answer in self.done.values())
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from error

    def _read(self) -> None:
        """Take the whole lines of an earlier call; a cut one is left out."""
        first, *rest = self.lines.read_text().splitlines() or [""]
        try:
            about = json.loads(first)
        except ValueError:
            return
        if about != self.about:
            raise UserError(
                f"{self.folder} holds predictions of other checkpoints or options: choose another "
                "--out"
            )
        for line in rest:
            try:
                answer = Answer(**json.loads(line))
            except (ValueError, TypeError):
                continue
            if answer.status != "error":
                self.done[answer.file] = answer

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep some more answers."""
        with self.lines.open("a") as file:
            for answer in answers:
                self.done[answer.file] = answer
                file.write(json.dumps(asdict(answer)) + "\n")

    def write(self, files: Sequence[str]) -> list[Answer]:
        """Write both files, in the order of the files given; return the answers."""
        answers = [self.done[file] for file in files]
        document = {"schema": SCHEMA, **self.about, "predictions": [asdict(a) for a in answers]}
        for name, text in (
            ("predictions.json", json.dumps(document, indent=1) + "\n"),
            ("predictions.csv", table_of(answers).to_csv(index=False)),
        ):
            part = self.folder / f"{name}.new"
            part.write_text(text)
            os.replace(part, self.folder / name)
        self.lines.unlink()
        return answers


def table_of(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return one row an answer; probabilities become columns, flags one text."""
    rows = []
    for answer in answers:
        row = asdict(answer)
        chances = row.pop("stage_probabilities")
        row["flags"] = "; ".join(answer.flags)
        rows.append(row | {f"stage_probability_{name}": p for name, p in chances.items()})
    columns = [f.name for f in fields(Answer) if f.name != "stage_probabilities"]
    table = pd.DataFrame(rows)
    return table[[*columns, *(c for c in table if c not in columns)]]
