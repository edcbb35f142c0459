"""The table that the terminal and the log end with."""

import io
import logging
import os
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from boneage.evaluation.bootstrap import Results
from boneage.evaluation.glossary import describe
from boneage.evaluation.numbers import FEW, interval, is_few, number, resampled

log = logging.getLogger(__name__)  # of the log file alone

WIDTH = 80  # columns of the table in the log


def print_results(metrics: dict[str, Any], run_dir: Path) -> None:
    """Print and log the headline metrics beside the baselines, as a table for 80 columns."""
    others: dict[str, Results] = metrics["baselines"]
    table = Table(
        title=f"{metrics['task']}: {metrics['n']['test']:,} test radiographs of {metrics['data']}",
        caption=_caption(metrics, run_dir),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for baseline in others:
        table.add_column(baseline.replace("_", " "), justify="right", style="dim", min_width=8)
    section = ""
    for name, result in metrics["test"].items():
        if not describe(name).headline:
            continue
        prefix, metric = name.split("/", 1)
        if prefix != section:
            table.add_section()
            table.add_row(f"[bold]{prefix}")
            section = prefix
        table.add_row(
            f" {metric}",
            number(result["value"]) + "†" * is_few(result),
            interval(result),
            f"{result['n']:,}",
            *(_baseline(other, name) for other in others.values()),
        )
    Console().print(table)
    plain = Console(file=io.StringIO(), width=WIDTH)
    plain.print(table)
    log.info("Results\n%s", plain.file.getvalue())  # type: ignore[attr-defined]


def _baseline(results: Results, name: str) -> str:
    result = results.get(name.replace("stage_from_age/", "stage/"))
    return number(result["value"]) if result else ""


def _caption(metrics: dict[str, Any], run_dir: Path) -> str:
    speed = metrics["images_per_second"]
    trained = f", trained on {speed:,.0f} images/s" if speed else ""
    return (
        f"Intervals: 95 % bootstrap over {resampled(metrics)}. † fewer than {FEW} of them.\n"
        f"{metrics['parameters']:,} parameters{trained}, {metrics['seconds']:,.0f} s in all.\n"
        f"Everything is in {os.path.relpath(run_dir)}"
    )
