"""The comparison as tables in the terminal."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boneage.evaluation.bootstrap import Result
from boneage.evaluation.comparison.group import Group
from boneage.evaluation.comparison.tables import short_names, shown_metrics
from boneage.evaluation.glossary import describe
from boneage.evaluation.numbers import interval, number
from boneage.evaluation.published import LABEL, MARK, PUBLISHED
from boneage.evaluation.subgroups import FEW

COLUMNS = 4  # of options and metrics: more do not fit, and the page has them all


def print_comparison(test_sets: list[list[Group]], skipped: list[str]) -> None:
    """Print a table for each task of each test set, then what was left out."""
    console = Console()
    for groups in test_sets:
        first = groups[0].first
        synthetic = " [bold](synthetic)[/bold]" if first.get("synthetic") else ""
        console.print(
            f"\nTest set {first['test_set']}: {first['n']['test']:,} radiographs of "
            f"{escape(str(first['data']))}{synthetic}"
        )
        for group in groups:
            console.print(_table(group))
    console.print(f"[dim]† fewer than {FEW} radiographs; below each value its 95 % interval[/dim]")
    for line in skipped:
        console.print(f"[dim]left out: {escape(line)}[/dim]", soft_wrap=True)


def _table(group: Group) -> Table:
    table = Table(title=escape(str(group.first["task"])), title_justify="left", box=box.SIMPLE)
    table.add_column("run", overflow="fold", min_width=12)
    for key in group.differing:
        table.add_column(escape(key), overflow="fold")
    metrics = shown_metrics(group)[: max(1, min(3, COLUMNS - len(group.differing)))]
    for name in metrics:
        metric = describe(name)
        label = f"{metric.label}\n({metric.unit})" if metric.unit else metric.label
        table.add_column(label, justify="right", no_wrap=True)
    for name, run in zip(short_names(group.runs), group.runs, strict=True):
        chosen = (escape(group.shown(run, key)) for key in group.differing)
        cells = (_cell(run.metrics["test"].get(metric)) for metric in metrics)
        table.add_row(escape(name), *chosen, *cells)
    if group.first.get("official"):
        values = (number(PUBLISHED.get(name)) for name in metrics)
        table.add_row(f"{LABEL} ({MARK})", *("" for _ in group.differing), *values, style="dim")
    return table


def _cell(result: Result | None) -> str:
    """Return value and interval, two lines; a dagger marks a small n."""
    if result is None:
        return ""
    mark = "†" if int(result["n"] or 0) < FEW else ""
    return f"{number(result['value'])}{mark}\n[dim]{interval(result)}[/dim]"
