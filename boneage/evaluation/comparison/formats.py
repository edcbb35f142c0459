"""The metrics of a comparison as tables for a paper: Markdown, LaTeX or csv."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from boneage.errors import plural, without_controls
from boneage.evaluation.comparison.group import Group, find_runs, group_runs, require_metrics
from boneage.evaluation.comparison.tables import (
    MOST_METRICS,
    name_of_seeds,
    seed_rows,
    short_names,
    shown_metrics,
)
from boneage.evaluation.intervals import Result
from boneage.evaluation.metrics import describe, metric_labels
from boneage.evaluation.numbers import DASH, FEW_NOTE, is_few, number, resampled

Format = Literal["markdown", "latex", "csv"]
MAX_COLUMNS = {"markdown": 7, "latex": 4}  # of a table on a page, with the names of the runs
COLUMNS_OF_CSV = (
    "test_set", "task", "run", "options", "metric", "unit", "value", "low", "high", "sd", "n",
)  # fmt: skip
BREAK = "\u200b"  # zero-width space
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    BREAK: r"\allowbreak{}", "†": r"\textdagger{}", "±": r"$\pm$", "[": "{[}", "]": "{]}",
} | {character: f"\\{character}" for character in "&%$#_{}"}  # fmt: skip


class Row(NamedTuple):
    """A row of a table.

    Args:
        name: of a run, of several seeds, or of a study.
        options: "option=value" for each that differs between the runs.
        results: by metric; means over seeds have `sd`.
    """

    name: str
    options: list[str]
    results: dict[str, Result]


@dataclass(frozen=True)
class PaperTable:
    """The runs of one task on one test set, with some metrics.

    Args:
        group: the runs.
        metrics: names of the metrics, a column each.
        rows: runs, then means over seeds, then the published values of a study.
    """

    group: Group
    metrics: list[str]
    rows: list[Row]

    @property
    def caption(self) -> str:
        """What the table shows, and of which radiographs."""
        first = self.group.first
        kind = "synthetic radiograph" if first.get("synthetic") else "radiograph"
        units = " or ".join(dict.fromkeys(resampled(run.metrics) for run in self.group.runs))
        said = (
            f"{str(first['task']).capitalize()} on {first['data']}, test set {first['test_set']}: "
            f"{plural(first['n']['test'], kind)}. In brackets 95 % intervals over {units}."
        )
        results = [result for row in self.rows for result in row.results.values()]
        if any("sd" in result for result in results):
            said += " ±: standard deviation over seeds."
        if self.group.limit_of_readers and any("age/mae" in name for name in self.metrics):
            said += f" {self.group.limit_of_readers}"
        if any(map(is_few, results)):
            said += f" {FEW_NOTE}."
        return said

    def cell(self, result: Result | None, metric: str) -> str:
        """Return a value with its interval, and with its n where that is not of the whole fold."""
        if result is None:
            return ""
        value = rounded(result["value"], metric)
        if not value:
            return DASH
        value += "†" * is_few(result)
        if "sd" in result:
            return f"{value} ± {rounded(result['sd'], metric)}"
        low, high = (rounded(result[side], metric) for side in ("low", "high"))
        notes = [f"{low} to {high}"] if low and high else []
        if result["n"] not in (None, self.group.first["n"]["test"]):
            notes.append(f"n = {result['n']:,}")
        return f"{value} ({'; '.join(notes)})" if notes else value


def rounded(value: float | None, metric: str) -> str:
    """Return a value of a metric as text; empty where it is undefined."""
    if value is None or value != value:
        return ""
    return number(value, describe(metric).unit)


def paper_tables(
    folders: Sequence[Path], metrics: Sequence[str], sort: str | None
) -> tuple[list[PaperTable], list[str]]:
    """Return a table for each task of each test set of the finished runs in and below folders.

    Args:
        folders: run folders, or folders that contain some at any depth.
        metrics: names such as `age/mae_months`; none shows those of the comparison in the terminal.
        sort: metric to sort by; see `group_runs`.

    Returns:
        The tables, and why some folders were left out, a line each.

    Raises:
        UserError: when there is no run, or no run has one of the metrics.
    """
    runs, skipped = find_runs(folders)
    chosen = list(dict.fromkeys(name.strip().removeprefix("test/") for name in metrics))
    require_metrics("--metrics", chosen, runs)
    tables = []
    for groups in group_runs(runs, sort):
        members = [run for group in groups for run in group.runs]
        names = zip(members, short_names(members), strict=True)
        name_of = {run.path: name for run, name in names}
        tables += [_table(group, chosen or shown_metrics(group)[:MOST_METRICS], name_of)
                   for group in groups]  # fmt: skip
    return [table for table in tables if table.metrics], skipped


def _table(group: Group, metrics: Sequence[str], name_of: dict[Path, str]) -> PaperTable:
    tests = [run.metrics["test"] for run in group.runs]
    known = [name for name in metrics if any(name in test for test in tests)]
    rows = [
        Row(
            name_of[run.path],
            group.named(run, group.differing),
            {name: test[name] for name in known if name in test},
        )
        for run, test in zip(group.runs, tests, strict=True)
    ]
    for row in seed_rows(group, known):
        means: dict[str, Result] = {
            name: {"value": over["mean"], "low": None, "high": None}
            | {part: over[part] for part in ("sd", "n", "patients") if part in over}
            for name, over in row["metrics"].items()
        }
        rows.append(
            Row(name_of_seeds(row["setting"], name_of), list(row["setting"].options), means)
        )
    if (study := group.reference) is not None:
        published: dict[str, Result] = {
            name: {"value": study.published[name], "low": None, "high": None, "n": None}
            for name in known
            if name in study.published
        }
        rows.append(Row(f"{study.label} ({study.note})", [], published))
    return PaperTable(group, known, rows)


def write_tables(tables: Sequence[PaperTable], form: Format) -> str:
    """Return tables as text.

    Args:
        tables: from `paper_tables`.
        form: "markdown" and "latex" (with booktabs): a value with its interval in one cell, a table
            of more columns than a page has room for is cut; "csv": a row for each value, the parts
            of it in columns of their own.
    """
    if form == "csv":
        rows = [row for table in tables for row in _csv_rows(table)]
        table = pd.DataFrame(rows, columns=list(COLUMNS_OF_CSV))
        return table.to_csv(index=False, lineterminator="\n")  # which printing translates
    write = {"markdown": _markdown, "latex": _latex}[form]
    width = MAX_COLUMNS[form] - 1
    parts = [
        write(table, table.metrics[start : start + width])
        for table in tables
        for start in range(0, len(table.metrics), width)
    ]
    return "\n".join(parts)


def _csv_rows(table: PaperTable) -> list[dict[str, object]]:
    first = table.group.first
    return [
        {
            "test_set": first["test_set"],
            "task": first["task"],
            "run": row.name,
            "options": "; ".join(row.options),
            "metric": metric,
            "unit": describe(metric).unit,
            **{
                part: rounded(row.results[metric].get(part), metric)
                for part in ("value", "low", "high", "sd")
            },
            "n": "" if row.results[metric]["n"] is None else str(row.results[metric]["n"]),
        }
        for row in table.rows
        for metric in table.metrics
        if metric in row.results
    ]


def _cells(table: PaperTable, metrics: Sequence[str]) -> list[list[str]]:
    """Return the rows of a table, the heading first."""
    body = [
        [_named(row, table.group), *(table.cell(row.results.get(m), m) for m in metrics)]
        for row in table.rows
    ]
    titles = dict(zip(table.metrics, metric_labels(table.metrics), strict=True))
    return [["run", *(titles[name] for name in metrics)], *body]


def _named(row: Row, group: Group) -> str:
    """Return the name of a row, with the options that differ if it lacks them and they are few."""
    lacking = [option for option in row.options if option not in row.name]
    return f"{row.name} ({', '.join(lacking)})" if lacking and group.beside_names else row.name


def _markdown(table: PaperTable, metrics: Sequence[str]) -> str:
    heading, *body = (
        f"| {' | '.join(map(_escape_markdown, row))} |" for row in _cells(table, metrics)
    )
    rule = "| --- |" + " ---: |" * len(metrics)
    return "\n".join([_escape_markdown(table.caption), "", heading, rule, *body, ""])


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~$#])", r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return without_controls(" ".join(text.split()))


def _latex(table: PaperTable, metrics: Sequence[str]) -> str:
    heading, *body = (
        " & ".join([_name_in_latex(name), *map(_cell_in_latex, cells)]) + r" \\"
        for name, *cells in _cells(table, metrics)
    )
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            r"\footnotesize",
            f"\\caption{{{_escape_latex(table.caption)}}}",
            f"\\begin{{tabular}}{{p{{0.27\\linewidth}}{'r' * len(metrics)}}}",
            r"\toprule",
            heading,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _name_in_latex(name: str) -> str:
    """Return the name of a run, which may be broken after every sign."""
    return _escape_latex(re.sub(r"([^\w\s]|_)", rf"\1{BREAK}", name))


def _cell_in_latex(text: str) -> str:
    """Return a value, and what is in brackets below it."""
    value, opening, rest = text.partition(" (")
    if not opening:
        return _escape_latex(text)
    lines = rf"{_escape_latex(value)}\\{_escape_latex('(' + rest)}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{lines}\end{{tabular}}"


def _escape_latex(text: str) -> str:
    """Return text as LaTeX shows it: no character is a command, two hyphens are no dash."""
    escaped = "".join(LATEX.get(character, character) for character in _one_line(text))
    escaped = re.sub(r"-(?=-)", "-{}", escaped)
    return re.sub(r"(?<![\w.}-])-(?=\d)", "$-$", escaped)  # a minus sign
