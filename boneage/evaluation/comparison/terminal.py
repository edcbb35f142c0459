"""The comparison as tables in the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boneage.evaluation.bootstrap import Result
from boneage.evaluation.comparison.group import Group
from boneage.evaluation.comparison.tables import short_names, shown_metrics
from boneage.evaluation.glossary import named
from boneage.evaluation.numbers import FEW, interval, is_few, number
from boneage.evaluation.published import LABEL, MARK, PUBLISHED

COLUMN = 16  # characters: what does not fit the terminal is left to the page
METRICS = 3


def print_comparison(test_sets: Sequence[dict[str, Any]], skipped: list[str]) -> None:
    """Print a table for each task of each test set, then what was left out.

    Args:
        test_sets: from `write_comparison`.
        skipped: why folders were left out, a line each.
    """
    console = Console()
    for shown in test_sets:
        first, name_of = shown["first"], shown["name_of"]
        synthetic = " [bold](synthetic)[/bold]" if first.get("synthetic") else ""
        console.print(
            f"\nTest set {first['test_set']}: {first['n']['test']:,} radiographs of "
            f"{escape(str(first['data']))}{synthetic}\n"
            f"[dim]stages (years): {escape(shown['stages'])}[/dim]"
        )
        for part in shown["groups"]:
            group = part["group"]
            room = console.width // COLUMN - 1  # beside the name of the run
            options = group.differing[: max(room - METRICS, room // 2)]
            metrics = shown_metrics(group)[: max(1, min(METRICS, room - len(options)))]
            console.print(_table(group, options, metrics))
            if left_out := len(group.differing) - len(options):
                console.print(f"[dim]  options that differ, in the page only: {left_out}[/dim]")
            for row in part["seeds"]:
                console.print(_pooled(group, row, name_of), soft_wrap=True)
            for row in part["differences"]:
                console.print(_difference(row, name_of), soft_wrap=True)
        for row in shown["across"]:
            console.print(_difference(row, name_of), soft_wrap=True)
    units = " or ".join(dict.fromkeys(shown["resampled"] for shown in test_sets))
    few = f"† fewer than {FEW} radiographs, or patients where these are known"
    console.print(f"[dim]{few}; below each value its 95 % interval over {units}[/dim]")
    for line in skipped:
        console.print(f"[dim]left out: {escape(line)}[/dim]", soft_wrap=True)


def _table(group: Group, options: Sequence[str], metrics: Sequence[str]) -> Table:
    table = Table(title=escape(str(group.first["task"])), title_justify="left", box=box.SIMPLE)
    table.add_column("run", overflow="fold", min_width=12)
    for key in options:
        table.add_column(escape(key), overflow="fold")
    for name in metrics:
        table.add_column(named(name).replace(" (", "\n("), justify="right", no_wrap=True)
    for name, run in zip(short_names(group.runs), group.runs, strict=True):
        chosen = (escape(group.shown(run, key)) for key in options)
        cells = (_cell(run.metrics["test"].get(metric)) for metric in metrics)
        table.add_row(escape(name), *chosen, *cells)
    if group.first.get("official"):
        values = (number(PUBLISHED.get(name)) for name in metrics)
        table.add_row(f"{LABEL} ({MARK})", *("" for _ in options), *values, style="dim")
    return table


def _pooled(group: Group, row: dict[str, Any], name_of: dict[Path, str]) -> str:
    """Return mean and spread over the seeds of a setting on one line."""
    over = row["metrics"][group.sort]
    names = [name_of[run.path] for run in row["runs"]]
    setting = row["setting"] if len(row["setting"]) < len(names) else names
    of = f" of {', '.join(setting)}" if setting else ""
    return escape(
        f"  {len(names)} seeds{of}: {named(group.sort)} "
        f"{number(over['mean'])} ± {number(over['sd'])}"
    )


def _difference(row: dict[str, Any], name_of: dict[Path, str]) -> str:
    """Return how much a run differs from another on one line."""
    difference = row["difference"]
    return escape(
        f"  {name_of[row['run'].path]} minus {name_of[row['reference'].path]}: "
        f"{named(row['metric'])} {number(difference['value'])} "
        f"({interval(difference)}), p {number(difference['p'])}"
    )


def _cell(result: Result | None) -> str:
    """Return value and interval, two lines; a dagger marks a small n."""
    if result is None:
        return ""
    mark = "†" if is_few(result) else ""
    return f"{number(result['value'])}{mark}\n[dim]{interval(result)}[/dim]"
