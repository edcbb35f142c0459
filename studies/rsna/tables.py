"""Fill the tables of results.md, lab_notes.md, model.md and the README from the records.

python studies/rsna/tables.py
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev

from quality import OUT as FLAWS
from records import AGE, STAGE, Record, read
from rows import AVERAGED, POOLED, PROJECT, PUBLISHED, STEPS, base_of, overrides
from run import AUGMENTED, BUILTIN, MAIN, STRESSED
from sweeps import MAE, size_studies, sizes_and_errors
from sweeps import read as read_sweeps

from boneage.data.quality import COMPRESSED, NOISY
from boneage.evaluation.comparison.sizes import curve_of
from boneage.evaluation.metrics import metric_label
from boneage.evaluation.numbers import number, with_limits
from boneage.run.stress import LABELS
from boneage.stages import ALL, BANDS

Row = list[str]
STAGES_IN_SHORT = ("stage/accuracy", "stage/recall_child", "stage/recall_adult")
SHOWN = {
    "regression": AGE,
    "classification": STAGE,
    "best": (*AGE, *STAGES_IN_SHORT),
}
IN_CARD = (*AGE, "age/bias_months", *STAGES_IN_SHORT)
IN_README = ("age/mae_months", "age/r2", "stage/accuracy")
HEADLINE = (*AGE[:1], *AGE[2:], *STAGES_IN_SHORT)
HEADLINE_ROWS = ("paper_regression", "default", BUILTIN)
PUBLISHED_BY = "reference study, published"
GUESS = "constant guess"
CHANGES = ("mae_months", "mae_months_difference", "change_months")  # of changed radiographs
FLAGS = ("flagged", "mae_months_not_flagged")
MAIN_ROWS = {
    "paper_regression": "`experiment=paper_regression`",
    "default": "`data=rsna`, the defaults",
    "best_128": "`experiment=best_128`",
    "best_256": "`experiment=best_256`",
    BUILTIN: "built-in model",
}
LEARNED = {
    "regression": "age", "multitask": "age, stage", "age_sex": "age, sex",
    "age_stage_sex": "age, stage, sex",
}  # fmt: skip
STAGE_ROWS = (
    "paper_classification", "ladder/stage/01_residual", "ladder/stage/04_sampling",
    "ladder/stage/05_both", "ladder/stage/09_folds", "best_stages",
)  # fmt: skip
STAGE_COLUMNS = (
    "stage/accuracy", "stage/balanced_accuracy", "stage/recall_child", "stage/recall_adult",
    "stage/precision_adult",
)  # fmt: skip


def steps(family: str, records: dict[str, Record]) -> list[Row]:
    """Return the table of a family, with the difference of each row from its base row."""
    names = [name for name in STEPS[family] if name in records]
    compared = MAIN[family == "classification"]
    head = ["experiment", "n", *map(metric_label, SHOWN[family])]
    head += ["builds on", f"{metric_label(compared)}, difference", "parameters", "epochs"]
    head += ["images/s", "minutes", "device"]
    rows = [head]
    for name in names:
        record, m = records[name], records[name]["metrics"]
        base = base_of(name)
        difference = record["less"].get(base, {}).get(compared)
        rows.append(
            [
                f"`{' '.join(overrides(name))}`", f"{m['n']['test']:,}",
                *(cell(scored(m, metric), metric) for metric in SHOWN[family]),
                f"`{base}`" if base else "", cell(difference, compared),
                *spent(record, name in POOLED or name in AVERAGED),
            ]
        )  # fmt: skip
    return rows


def spent(record: Record, pooled: bool) -> Row:
    """Return parameters, epochs, images/s, minutes and device; sums for several runs."""
    m = record["metrics"]
    size, minutes = f"{m['parameters'] / 1e6:.2f} M", f"{m['seconds'] / 60:.0f}"
    speed = "" if pooled else f"{m['images_per_second']:,.0f}"
    return [size, str(record["epochs"]), speed, minutes, "; ".join(record["devices"])]


def main(
    records: dict[str, Record],
    metrics: Sequence[str] = SHOWN["best"],
    names: Iterable[str] = MAIN_ROWS,
) -> list[Row]:
    """Return the main results next to a constant guess and the published numbers."""
    rows = [["model", *map(metric_label, metrics)]]
    runs = {MAIN_ROWS[name]: records[name] for name in names if name in records}
    if runs:
        first = next(iter(runs.values()))
        rows.append([GUESS, *(cell(guessed(first, metric), metric) for metric in metrics)])
    rows.append([PUBLISHED_BY, *map(published, metrics)])
    for label, record in runs.items():
        rows.append([label, *(cell(scored(record["metrics"], m), m) for m in metrics)])
    return rows


def stages(records: dict[str, Record]) -> list[Row]:
    """Return the table on rare stages."""
    rows = [["experiment", "n", *map(metric_label, STAGE_COLUMNS)]]
    for name in STAGE_ROWS:
        if name in records:
            metrics = records[name]["metrics"]
            cells = [cell(scored(metrics, metric), metric) for metric in STAGE_COLUMNS]
            rows.append([f"`{name}`", f"{metrics['n']['test']:,}", *cells])
    return rows


def published(metric: str) -> str:
    """Return the published value of a metric; empty if there is none."""
    return written(PUBLISHED[metric], metric) if metric in PUBLISHED else ""


def guessed(record: Record, metric: str) -> Record | None:
    """Return the result of predicting the mean age and most frequent stage of the training fold."""
    baseline = "constant" if metric.startswith("age/") else "majority_class"
    found: Record | None = record["metrics"]["baselines"][baseline].get(metric)
    return found


def builtin(record: Record, shown: Sequence[str]) -> list[Row]:
    """Return the results of the built-in model and the constant guess, one row per metric."""
    metrics = record["metrics"]
    rows = [["metric", f"built-in model, n = {metrics['n']['test']:,}", GUESS]]
    for metric in shown:
        cells = [cell(scored(metrics, metric), metric), cell(guessed(record, metric), metric)]
        rows.append([metric_label(metric), *cells])
    covered = metrics["coverage"][ALL]["covered"]
    return [*rows, ["Share of readings within the 90 % interval", cell(covered, "covered"), ""]]


def stressed(
    records: dict[str, Record], names: Sequence[str], metrics: Sequence[str] = CHANGES
) -> list[Row]:
    """Return metrics of runs on the changed test fold, by the heads of their columns."""
    runs = {name: records[name]["stress"] for name in names if name in records}
    rows = [["change", "n", *labelled(list(runs), [LABELS[name] for name in metrics])]]
    cells: dict[str, Row] = {}
    for measured in runs.values():
        for row in measured:
            if row["metric"] in metrics:
                cells.setdefault(row["change"], [row["change"], str(row["n"])]).append(
                    cell(row, row["metric"])
                )
    return rows + list(cells.values())


def bands(records: dict[str, Record], names: Sequence[str]) -> list[Row]:
    """Return MAE and bias of runs by age band and sex."""
    names = [name for name in names if name in records]
    rows = [["years", "sex", "n", *labelled(names, ("MAE", "bias"))]]
    found = {
        (name, row["band"], row["sex"], row["metric"]): row
        for name in names
        for row in records[name]["subgroups"]
    }
    for band in BANDS.names:
        for sex in (ALL, "female", "male") if names else ():
            keys = [
                (name, band, sex, f"age/{what}_months")
                for name in names
                for what in ("mae", "bias")
            ]
            results = [found[key] for key in keys]
            cells = [cell(found[key], key[-1]) for key in keys]
            rows.append([band, sex, str(results[0]["n"]), *cells])
    return rows


def sizes(rows: Sequence[Record]) -> list[Row]:
    """Return the table of training sizes, with what is fitted to each study."""
    studies = size_studies(rows)
    table = [["training radiographs", *(f"`{name}`: MAE (months)" for name in studies)]]
    if len({len(found) for found in studies.values()}) > 1:
        sys.exit("The studies of training sizes are incomplete: run studies/rsna/sweeps.py")
    for same in zip(*studies.values(), strict=True):
        cells = [cell(row["runs"][0][MAE], MAE) for row in same]
        table.append([f"{same[0]['train']:,}", *cells])
    curves = [curve_of(*sizes_and_errors(rows)) for rows in studies.values()]
    fits = [f"{c.floor:.2f} + {c.scale:.1f} n^-{c.exponent:.2f}" for c in curves]
    ends = [(c.doubling, *c.doubling_limits) for c in curves]
    gains = [cell(dict(zip(("value", "low", "high"), end, strict=True)), MAE) for end in ends]
    table.append(["fitted power law", *fits])
    return [*table, ["gain of twice the largest", *gains]]


def joint(rows: Sequence[Record]) -> list[Row]:
    """Return the table on joint training: means over the seeds, changes from the age alone."""
    shown = ("stage/accuracy", "sex/auroc")
    head = ["learns", "sex as an input", "weights", "MAE (months), mean and SD of the seeds"]
    table = [[*head, "change from the age alone", "accuracy of the stage", "AUROC of the sex"]]
    for row in rows:
        if row["study"] == "joint":
            mae, *others = (_values(row, metric) for metric in (MAE, *shown))
            cells = [written(fmean(v), m) if v else "" for v, m in zip(others, shown, strict=True)]
            spread = written(fmean(mae), MAE)
            if len(mae) > 1:
                spread += f" ± {written(stdev(mae), MAE)}"
            weights = {"fixed": "fixed", "uncertainty": "learned"}[row["weighting"]]
            weights = "" if row["task"] == "regression" else weights
            sex = "yes" if row["sex"] == "embedding" else "no"
            change = cell(row["difference"], MAE)
            table.append([LEARNED[row["task"]], sex, weights, spread, change, *cells])
    return table


def _values(row: Record, metric: str) -> list[float]:
    return [run[metric]["value"] for run in row["runs"] if metric in run]


def labelled(names: Sequence[str], columns: Sequence[str]) -> Row:
    """Return the column heads of each run, with its name if there are several."""
    if len(names) == 1:
        return list(columns)
    return [f"`{name}`: {column}" for name in names for column in columns]


def contrasts(records: dict[str, Record]) -> list[Row]:
    """Return the MAE of films of low contrast and of all others."""
    rows = [["experiment", "MAE, low contrast", "n", "MAE, others", "n"]]
    for name, record in records.items():
        if found := record["by_contrast"]:
            row = [f"`{name}`"]
            for part in found.values():
                row += [cell(part, "age/mae_months"), f"{part['n']:,}"]
            rows.append(row)
    return rows


def flaws(measured: dict[str, Record]) -> list[Row]:
    """Return the errors of noisy and compressed radiographs, and the shares flagged."""
    shares = {NOISY: NOISY, COMPRESSED: COMPRESSED, "covered": "within the 90 % interval"}
    rows = [["change", "n", "MAE (months)", *shares.values(), "MAE if not flagged", "n"]]
    for change, found in measured.items():
        kept = found.get("mae_not_flagged")
        row = [change, str(found["mae"]["n"]), cell(found["mae"], "months")]
        row += [cell(found[share], share) for share in shares]
        rows.append([*row, cell(kept, "months"), str(kept["n"] if kept else 0)])
    return rows


def scored(metrics: Record, metric: str) -> Record | None:
    """Return a metric of a run; without a stage head, stages are taken from the age."""
    test = metrics["test"]
    found: Record | None = test.get(metric) or test.get(metric.replace("stage/", "stage_from_age/"))
    return found


def cell(result: Record | None, metric: str) -> str:
    """Return a value with its interval as text."""
    return "" if result is None else with_limits(result, unit(metric))


def written(value: float | None, metric: str) -> str:
    """Return a value of a metric as text; a dash if it is undefined."""
    return number(value, unit(metric))


def unit(metric: str) -> str:
    """Return "months", or nothing for a share."""
    return "months" if "months" in metric else ""


def fill(page: Path, name: str, rows: list[Row]) -> None:
    """Write a table between its marks in a page."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    marked = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text = page.read_text(encoding="utf-8")
    text, found = re.subn(marked, lambda m: m[1] + table + m[2], text, flags=re.S)
    if found != 1:
        raise ValueError(f"{page}: no place for the table {name}")
    page.write_text(text, encoding="utf-8")


def rebuild(results: Path, notes: Path, card: Path, readme: Path) -> None:
    """Fill every table of the four pages."""
    records = read()
    fill(results, "main", main(records))
    fill(results, "stages", stages(records))
    for family in STEPS:
        if any(row in records for row in STEPS[family]):
            fill(notes, family, steps(family, records))
    fill(notes, "stressed", stressed(records, STRESSED))
    fill(notes, "augmented", stressed(records, AUGMENTED))
    fill(notes, "bands", bands(records, STRESSED))
    fill(notes, "contrasts", contrasts(records))
    fill(notes, "flaws", flaws(json.loads(FLAWS.read_text(encoding="utf-8"))))
    if sweeps := read_sweeps():
        fill(notes, "joint", joint(sweeps))
        fill(notes, "sizes", sizes(sweeps))
    fill(readme, "headline", main(records, HEADLINE, HEADLINE_ROWS))
    if BUILTIN in records:
        fill(readme, "builtin", builtin(records[BUILTIN], IN_README))
        fill(card, "builtin", builtin(records[BUILTIN], IN_CARD))
        fill(card, "bands", bands(records, [BUILTIN]))
        fill(card, "stressed", stressed(records, [BUILTIN], (*CHANGES, *FLAGS)))


if __name__ == "__main__":
    docs = PROJECT / "docs"
    rebuild(docs / "results.md", docs / "lab_notes.md", docs / "model.md", PROJECT / "README.md")
