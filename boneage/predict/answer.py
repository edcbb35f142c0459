"""The answer for one radiograph, as lines, as a table and as a data frame."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from textwrap import wrap
from typing import Literal

import pandas as pd
from rich.cells import cell_len, set_cell_size

from boneage.errors import plural, without_controls
from boneage.evaluation.numbers import output
from boneage.stages import PROBABILITY

RESEARCH_ONLY = "Research use only: not a medical device."
MAPPINGS = ("stage_probabilities", "outputs")  # fields that have several columns in the csv
COLUMN_GAP = "  "  # between the columns of a terminal


@dataclass(frozen=True)
class Answer:
    """The prediction for one radiograph.

    Args:
        file: the file as given.
        id: its name without the suffix.
        status: "ok"; "error" if it cannot be read; "withheld" if the gate is strict and there are
            flags of the image or of the models (those of sex and age withhold nothing).
        reason: why there is no prediction, else empty.
        sex: the sex used: "female", "male" or "unknown".
        sex_from: "option", "table", "header", or empty.
        chronological_age_years: None if unknown.
        chronological_age_from: "option", "table", "header", or empty.
        age_years: predicted bone age.
        age_text: the same in years and months.
        outputs: other predictions, by column of `predictions.csv`: those of tasks other than age
            and stage.
        site_correction_years: years that the site correction added; None if no model is fitted to a
            site.
        interval_low_years, interval_high_years: 90 % interval of the reference reading.
        sd_score: of the bone age at the chronological age (Brush Foundation).
        stage: most probable maturity stage, or the stage of the bone age.
        stage_probabilities: by stage, if the model predicts them.
        ensemble_sd_years: standard deviation of the bone ages of several models.
        novelty: distance from the training radiographs; above 1 it is unusual.
        flags: anomalies of the radiograph or of the prediction.
        picture: path of its image, relative to the folder of the predictions; empty if none.
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
    picture: str = ""
    site_correction_years: float | None = None
    outputs: dict[str, float] = field(default_factory=dict)

    @property
    def interval_years(self) -> tuple[float, float] | None:
        """The 90 % interval of the reference reading, None if unknown."""
        low, high = self.interval_low_years, self.interval_high_years
        return None if low is None or high is None else (low, high)

    @property
    def no_sd_score(self) -> str:
        """Why a bone age with a chronological age has no SD score; else empty."""
        ages = (self.age_years, self.chronological_age_years)
        if None in ages or self.sd_score is not None:
            return ""
        return "without the sex" if self.sex == "unknown" else "at this age"


def years_and_months(years: float) -> str:
    """Return an age in years and months: 12.27 years are "12 y 3 m"."""
    months = max(0, round(12 * years))
    return f"{months // 12} y {months % 12} m"


def lines_of(answer: Answer) -> list[str]:
    """Return an answer as lines for a terminal."""
    lines = []
    if answer.age_years is not None:
        lines.append(f"bone age   {answer.age_text} ({answer.age_years:.2f} years)")
        if answer.interval_low_years is not None:
            ends = f"{answer.interval_low_years:.1f} to {answer.interval_high_years:.1f} years"
            lines.append(f"interval   {ends} (90 %)")
        if answer.site_correction_years:
            lines.append(
                f"site       the age is corrected by {answer.site_correction_years:+z.2f} y"
            )
        age = f"{answer.chronological_age_years or 0:.1f} years"
        if answer.sd_score is not None:
            lines.append(f"SD score   {answer.sd_score:+z.1f} at a chronological age of {age}")
        if answer.no_sd_score:
            lines.append(f"SD score   none {answer.no_sd_score} (chronological age {age})")
    if answer.stage:
        shares = [f"{name} {100 * p:.0f} %" for name, p in answer.stage_probabilities.items()]
        lines.append(f"stage      {answer.stage}" + (f" ({', '.join(shares)})" if shares else ""))
    lines += [f"{name:<10} {output(value)}" for name, value in answer.outputs.items()]
    if answer.status == "withheld":
        lines.append("withheld   by the strict gate")
    lines.append(f"sex        {answer.sex}" + (f" ({answer.sex_from})" if answer.sex_from else ""))
    if answer.ensemble_sd_years is not None:
        lines.append(f"models     differ by {answer.ensemble_sd_years:.2f} years (SD)")
    lines += [f"flag       {flag}" for flag in answer.flags]
    return [*lines, RESEARCH_ONLY]


def corrections_line(answers: Sequence[Answer]) -> list[str]:
    """Return one line on the ages that are corrected for a site; an empty list without any."""
    years = [a.site_correction_years for a in answers if a.site_correction_years]
    if not years:
        return []
    ends = " to ".join(dict.fromkeys(f"{end:+z.2f}" for end in (min(years), max(years))))
    return [f"Corrected for the model's site: {plural(len(years), 'age')}, by {ends} years"]


def terminal_table(answers: Sequence[Answer], width: int) -> list[str]:
    """Return answers as the lines of a table for a terminal.

    Files of one name are shown with their folders. A name that does not fit has its own line above
    the row; flags have lines below it. Without ages, the columns are the stage or, without stages
    too, the outputs of other tasks.

    Args:
        answers: the answers.
        width: of the terminal in columns; at least 40 are used.
    """
    width = max(width, 40)
    with_sd = any(answer.sd_score is not None for answer in answers)
    aged, staged = any(a.age_text for a in answers), any(a.stage for a in answers)
    outputs = list(dict.fromkeys(name for answer in answers for name in answer.outputs))
    heading = ["bone age", "90 % interval", *["stage"] * staged, *["SD score"] * with_sd]
    if not aged and (staged or outputs):
        heading = ["stage"] if staged else outputs
    rows = [[*heading, "sex"]]
    names, remarks = ["radiograph"], [[""]]
    common = Counter(Path(answer.file).name for answer in answers)
    for answer in answers:
        ends = answer.interval_years
        texts = {name: output(answer.outputs.get(name)) for name in heading} | {
            "bone age": answer.age_text or answer.status,
            "90 % interval": "" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f} y",
            "stage": answer.stage,
            "SD score": f"{answer.sd_score:+z.1f}" if answer.sd_score is not None else "",
        }
        cells = [texts[name] for name in heading]
        if answer.status != "ok":
            cells[0] = answer.status
        rows.append([*cells, "" if answer.status == "error" else answer.sex])
        name = Path(answer.file).name
        names.append(without_controls(answer.file if common[name] > 1 else name))
        remarks.append([answer.reason] if answer.status == "error" else answer.flags)
    columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = width - sum(columns) - len(COLUMN_GAP) * len(columns)
    room = max(0, min(left, max(map(cell_len, names))))
    lines = []
    for name, row, remark in zip(names, rows, remarks, strict=True):
        if cell_len(name) > room:
            lines.append(name)
            name = ""
        *cells, sex = (cell.rjust(own) for cell, own in zip(row, columns, strict=True))
        lines.append(COLUMN_GAP.join([set_cell_size(name, room), *cells, sex.strip()]).rstrip())
        lines += wrap(
            "; ".join(remark), width,
            initial_indent=2 * COLUMN_GAP, subsequent_indent=2 * COLUMN_GAP,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def table_of(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return one row per answer.

    Each probability and each output is a column; flags are joined to one text.
    """
    rows = []
    for answer in answers:
        row = asdict(answer)
        probabilities = row.pop("stage_probabilities")
        row["flags"] = "; ".join(answer.flags)
        outputs = row.pop("outputs")
        rows.append(outputs | row | {PROBABILITY + name: p for name, p in probabilities.items()})
    columns = [f.name for f in fields(Answer) if f.name not in MAPPINGS]
    others = dict.fromkeys(name for row in rows for name in row if name not in columns)
    return pd.DataFrame(rows, columns=[*columns, *others])
