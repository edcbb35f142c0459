"""Run variants of a benchmark in alternation, each in its own process, and report medians."""

import json
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

PROJECT = Path(__file__).parent.parent
RESULTS = PROJECT / "outputs" / "benchmarks"


def compose(*overrides: str):  # noqa: ANN201 - a DictConfig
    """Compose an experiment of the project."""
    import hydra

    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def in_turns(script: str, variants: list[list[str]], rounds: int = 5) -> dict[str, list[float]]:
    """Return the last number printed by each variant; alternation spreads drift over all variants.

    Args:
        script: the script, called with the arguments of a variant.
        variants: arguments of each variant.
        rounds: number of rounds over all variants.
    """
    numbers: dict[str, list[float]] = {" ".join(words): [] for words in variants}
    for number in track(range(rounds * len(variants)), script, console=Console(stderr=True)):
        words = variants[number % len(variants)]
        done = subprocess.run(
            [sys.executable, script, *words], stdout=subprocess.PIPE, text=True, check=True
        )
        numbers[" ".join(words)].append(float(done.stdout.split()[-1]))
        print(*words, done.stdout.split()[-1], file=sys.stderr)
    return numbers


def medians(numbers: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each variant."""
    return {variant: statistics.median(values) for variant, values in numbers.items()}


def show(name: str, unit: str, numbers: dict[str, list[float]], ratios: dict[str, float]) -> None:
    """Print medians, ranges and ratios, and write them as JSON."""
    table = Table("variant", f"median ({unit})", "range", "n", title=f"{name}, {date.today()}")
    for variant, median in medians(numbers).items():
        values = numbers[variant]
        span = f"{_short(min(values))} to {_short(max(values))}"
        table.add_row(variant, _short(median), span, str(len(values)))
    for ratio, value in ratios.items():
        table.add_row(ratio, f"{value:.2f}", "", "", style="bold")
    Console().print(table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"date": str(date.today()), "unit": unit, "numbers": numbers, "ratios": ratios}
    text = json.dumps(content, indent=2) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def _short(value: float) -> str:
    """Return a number with about three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
