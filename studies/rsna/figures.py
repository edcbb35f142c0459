"""Draw the figures of results.md, lab_notes.md and the README from the records.

python studies/rsna/figures.py
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from records import Record, read
from rows import PROJECT, PUBLISHED, STEPS, base_of
from run import BUILTIN, RUNS, STRESSED
from sweeps import read as read_sweeps
from sweeps import size_studies, sizes_and_errors
from tables import scored, written

from boneage.evaluation.comparison.sizes import curve_of
from boneage.evaluation.figures.comparison import draw_curve, draw_errors, forest, label_sizes
from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    OLDEST_YEARS,
    ORANGE,
    one_axes,
    styled,
)
from boneage.evaluation.metrics import metric_label
from boneage.evaluation.numbers import FEW, is_few
from boneage.evaluation.run_folder import read_run
from boneage.run_files import METRICS
from boneage.stages import BANDS

FOLDER = PROJECT / "docs/results"
COLORS = dict(zip(STRESSED, (ORANGE, BLUE), strict=True))
SCATTERED = {"default": ("default network", ORANGE), BUILTIN: ("built-in model", BLUE)}
PANELS = {
    "classification": ("stage/balanced_accuracy", "stage/recall_child", "stage/recall_adult"),
    "best": ("age/mae_months", "stage/accuracy"),
}
LADDER = "ladder/age/"
STARTS = {  # label of each study of training sizes
    "sizes/scratch": "slim_resnet, from scratch",
    "sizes/pretrained": "EfficientNet-Lite0, from ImageNet",
}
CHANGES = {  # label of each step of the ladder
    "paper_regression": "setting of the reference study",
    "01_residual": "residual network, AdamW, 10 epochs",
    "02_stretch": "contrast stretched",
    "03_hand": "cropped to the hand",
    "04_sex": "sex as an input",
    "05_smooth": "smooth L1 loss",
    "06_average": "averaged weights",
    "07_mirror": "mean with the mirror image",
    "08_linear": "linear head",
    "09_batch": "smaller batches",
    "10_geometric": "geometric augmentation",
    "11_robust": "robust augmentation",
    "12_distribution": "age as a distribution",
    "13_192px": "192 px instead of 128",
}


def ladder(records: dict[str, Record]) -> Figure:
    """Draw the MAE of each step of the ladder, and its difference from the previous step."""
    names = [name for name in STEPS["regression"] if name in records]
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    metric = "age/mae_months"
    for y, name in enumerate(names):
        _point(left, y, records[name]["metrics"]["test"][metric], BLUE)
        difference = records[name]["less"].get(base_of(name), {}).get(metric)
        if difference is not None:
            certain = difference["low"] * difference["high"] > 0
            _point(right, y, difference, BLUE if certain else GREY)
    right.axvline(0, color=BLACK, linewidth=0.8)
    left.set_xlabel(f"MAE (months), n = {records[names[0]]['metrics']['n']['test']:,}", fontsize=11)
    right.set_xlabel("change of the MAE (months)", fontsize=11)
    left.set_yticks(range(len(names)), [_step(name, names[:y]) for y, name in enumerate(names)])
    left.set_ylim(len(names) - 0.5, -0.5)
    for axes in (left, right):
        axes.tick_params(labelsize=11)
    return figure


def _step(name: str, before: list[str]) -> str:
    """Return the label of a step, with the step that it changes if that is not the previous one."""
    short = name.removeprefix(LADDER)
    number, base = short.partition("_")[0], base_of(name)
    if base is None:
        return CHANGES[short]
    origin = f" (from {base.removeprefix(LADDER)[:2]})" if base != before[-1] else ""
    return f"{number}  {CHANGES[short]}{origin}"


def _point(axes: Axes, y: float, result: Record, color: str) -> None:
    axes.hlines(y, result["low"], result["high"], color=color, linewidth=2.5)
    axes.plot(result["value"], y, "o", color=color, markersize=6)


def steps(family: str, records: dict[str, Record]) -> Figure:
    """Draw the rows of a table with intervals; dotted lines are published values."""
    names = [name for name in STEPS[family] if name in records]
    panels, hollow = {}, {}
    for metric in PANELS[family]:
        found = [scored(records[name]["metrics"], metric) or {} for name in names]
        values = [[result.get(k) for k in ("value", "low", "high")] for result in found]
        panels[metric_label(metric)] = np.array(values, float)
        hollow[metric_label(metric)] = np.array([is_few(result) for result in found])
    reference = {
        metric_label(metric): PUBLISHED[metric] for metric in PANELS[family] if metric in PUBLISHED
    }
    return forest(names, panels, hollow, reference)


def by_band(records: dict[str, Record]) -> Figure:
    """Draw MAE and bias by age band and sex, for the reference study's setting and best_128."""
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, sex in zip(grid.T, ("female", "male"), strict=True):
        for axes, metric in zip(column, ("mae", "bias"), strict=True):
            for shift, name in ((-0.12, STRESSED[0]), (0.12, STRESSED[1])):
                if name in records:
                    _band_points(axes, records[name], sex, f"age/{metric}_months", shift, name)
            axes.axhline(0, color=BLACK, linewidth=0.8)
        column[0].set_title({"female": "girls", "male": "boys"}[sex])
        column[1].set_xlabel("true bone age (years), and number of radiographs")
    grid[0, 0].set_ylabel("MAE (months)")
    grid[1, 0].set_ylabel("predicted - true (months)")
    grid[0, 0].legend(loc="upper center")
    return figure


def _band_points(
    axes: Axes, record: Record, sex: str, metric: str, shift: float, name: str
) -> None:
    rows = {r["band"]: r for r in record["subgroups"] if (r["sex"], r["metric"]) == (sex, metric)}
    color = COLORS[name]
    for i, band in enumerate(BANDS.names):
        row = rows[band]
        if row["value"] is None:
            continue
        if row["low"] is not None:
            axes.vlines(i + shift, row["low"], row["high"], color=color, linewidth=2)
        face = "white" if row["n"] < FEW else color
        label = name if band == "5-10" else None
        axes.plot(i + shift, row["value"], "o", color=color, markerfacecolor=face, label=label)
    axes.set_xticks(range(len(BANDS.names)), [f"{b}\n{rows[b]['n']}" for b in BANDS.names])


def stress(records: dict[str, Record]) -> Figure:
    """Draw the MAE for each change of the image, for the reference study's setting and best_128."""
    runs = {name: records[name]["stress"] for name in STRESSED if name in records}
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for shift, (name, measured) in zip((-0.15, 0.15), runs.items(), strict=False):
        rows = [row for row in measured if row["metric"] == "mae_months"]
        y = np.arange(len(rows)) + shift
        low, high, value = (np.array([r[k] for r in rows], float) for k in ("low", "high", "value"))
        axes.hlines(y, low, high, color=COLORS[name], linewidth=2)
        axes.plot(value, y, "o", color=COLORS[name], markersize=4, label=name)
        axes.axvline(value[0], color=COLORS[name], linestyle="--", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{row['change']} (n = {row['n']:,})" for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="MAE (months)", xlim=(0, None))
    axes.legend(loc="lower right")
    return figure


def sizes(studies: dict[str, list[Record]]) -> Figure:
    """Draw the MAE by the number of training radiographs, with fitted power laws."""
    figure, axes = one_axes(6.4, 4.2)
    for (study, rows), color in zip(studies.items(), (BLUE, ORANGE), strict=True):
        n, mae = sizes_and_errors(rows)
        draw_errors(axes, n, mae, color, STARTS[study])
        draw_curve(axes, n, curve_of(n, mae), color)
    label_sizes(axes, n)
    axes.set_ylim(0, None)
    return figure


def scatters() -> Figure:
    """Draw predicted against true age, for the default network and the built-in model."""
    figure = Figure(figsize=(3.7 * len(SCATTERED), 4.2), layout="constrained")
    panels = figure.subplots(1, len(SCATTERED), sharey=True)
    for axes, (name, (label, color)) in zip(panels, SCATTERED.items(), strict=True):
        run = read_run(RUNS / name)
        table, mae = run.predictions, run.metrics["test"]["age/mae_months"]
        for edge in run.stages.edges:
            axes.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
        axes.scatter(table["age_years"], table["age_years_predicted"], s=5, color=color, alpha=0.5)
        axes.plot([0, OLDEST_YEARS], [0, OLDEST_YEARS], color=BLACK, linewidth=1)
        axes.set_title(f"{label}: MAE {written(mae['value'], 'age/mae_months')} months")
        axes.set(xlabel="true bone age (years)", aspect="equal")
        axes.set(xlim=(0, OLDEST_YEARS), ylim=(0, OLDEST_YEARS))
        axes.xaxis.set_major_locator(MultipleLocator(4))
        axes.yaxis.set_major_locator(MultipleLocator(4))
    figure.axes[0].set_ylabel("predicted bone age (years)")
    return figure


if __name__ == "__main__":
    records = read()
    with styled():
        families = [f for f in PANELS if any(name in records for name in STEPS[f])]
        drawn = {family: steps(family, records) for family in families}
        drawn |= {"ladder": ladder(records), "by_band": by_band(records), "stress": stress(records)}
        if studies := size_studies(read_sweeps()):
            drawn["sizes"] = sizes(studies)
        if all((RUNS / name / METRICS).is_file() for name in SCATTERED):  # otherwise it stays
            drawn["scatter"] = scatters()
        for name, figure in drawn.items():
            figure.savefig(FOLDER / f"{name}.png")
