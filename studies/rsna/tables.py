"""Rebuild the tables of results.md, and of the README, from the records.

python studies/rsna/tables.py
"""

import re
from collections.abc import Sequence
from pathlib import Path

from records import AGE, STAGE, Record, read
from rows import AVERAGED, POOLED, PROJECT, PUBLISHED, STEPS, base_of, overrides
from run import AUGMENTED, BUILTIN, MAIN, STRESSED

from boneage.evaluation.metrics import named
from boneage.evaluation.numbers import interval, number
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


def steps(family: str, known: dict[str, Record]) -> list[Row]:
    """Return the table of a family: each run less the one that it builds on."""
    names = [name for name in STEPS[family] if name in known]
    main = MAIN[family == "classification"]
    head = ["experiment", "n", *map(named, SHOWN[family])]
    head += ["builds on", f"{named(main)} less that", "parameters", "epochs"]
    head += ["images/s", "minutes", "device"]
    rows = [head]
    for name in names:
        record, m = known[name], known[name]["metrics"]
        base = base_of(name)
        rows.append(
            [
                f"`{' '.join(overrides(name))}`", f"{m['n']['test']:,}",
                *(said(scored(m, metric)) for metric in SHOWN[family]),
                f"`{base}`" if base else "", said(record["less"].get(base, {}).get(main)),
                *spent(record, name in POOLED or name in AVERAGED),
            ]
        )  # fmt: skip
    return rows


def spent(record: Record, pooled: bool) -> Row:
    """Return parameters, epochs, images/s, minutes and device; of several runs the sums."""
    m = record["metrics"]
    size, minutes = f"{m['parameters'] / 1e6:.2f} M", f"{m['seconds'] / 60:.0f}"
    speed = "" if pooled else f"{m['images_per_second']:,.0f}"
    return [size, str(record["epochs"]), speed, minutes, "; ".join(record["devices"])]


def headline(known: dict[str, Record]) -> list[Row]:
    """Return the published numbers beside the project's own, one row a metric."""
    names = [n for n in ("paper_regression", "best_128", "best_ensemble", "best_256") if n in known]
    rows = [["", "student report, published", *(f"`{name}`" for name in names)]]
    for metric in HEADLINE:
        published = number(PUBLISHED[metric]) if metric in PUBLISHED else ""
        cells = [said(scored(known[name]["metrics"], metric)) for name in names]
        rows.append([named(metric), published, *cells])
    return rows


def builtin(record: Record, shown: Sequence[str]) -> list[Row]:
    """Return what the built-in model reaches, one row a metric, next to the constant guess."""
    metrics = record["metrics"]
    constant = metrics["baselines"]["constant"]
    rows = [["metric", f"built-in model, n = {metrics['n']['test']:,}", "constant guess"]]
    for metric in shown:
        known = constant.get(metric)
        cells = [said(scored(metrics, metric)), "" if known is None else number(known["value"])]
        rows.append([named(metric), *cells])
    covered = metrics["coverage"][ALL]["covered"]
    return [*rows, ["share of readings within the 90 % interval", said(covered), ""]]


def stressed(known: dict[str, Record], names: Sequence[str]) -> list[Row]:
    """Return the MAE of the changed test fold of runs, and how far its predictions moved."""
    runs = {name: known[name]["stress"] for name in names if name in known}
    head = [f"`{name}`: {what}" for name in runs for what in ("MAE", "less unchanged", "change")]
    rows = [["change", "n", *head]]
    metrics = ("mae_months", "mae_months_difference", "change_months")
    cells: dict[str, Row] = {}
    for measured in runs.values():
        for row in measured:
            if row["metric"] in metrics:
                cells.setdefault(row["change"], [row["change"], str(row["n"])]).append(said(row))
    return rows + list(cells.values())


def bands(known: dict[str, Record], names: Sequence[str]) -> list[Row]:
    """Return MAE and bias of runs by age band and sex."""
    names = [name for name in names if name in known]
    head = [f"`{name}`: {what}" for name in names for what in ("MAE", "bias")]
    rows = [["years", "sex", "n", *head]]
    found = {
        (name, row["band"], row["sex"], row["metric"]): row
        for name in names
        for row in known[name]["subgroups"]
    }
    for band in BANDS.names:
        for sex in (ALL, "female", "male") if names else ():
            keys = [
                (name, band, sex, f"age/{what}_months")
                for name in names
                for what in ("mae", "bias")
            ]
            cells = [found[key] for key in keys]
            rows.append([band, sex, str(cells[0]["n"]), *map(said, cells)])
    return rows


def contrasts(known: dict[str, Record]) -> list[Row]:
    """Return the MAE of films of low contrast beside that of the others."""
    rows = [["experiment", "low contrast", "n", "others", "n"]]
    for name, record in known.items():
        if found := record["by_contrast"]:
            parts = [cell for part in found.values() for cell in (said(part), f"{part['n']:,}")]
            rows.append([f"`{name}`", *parts])
    return rows


def scored(metrics: Record, metric: str) -> Record | None:
    """Return a metric of a run; of its stages those cut from its age, where it has no others."""
    test = metrics["test"]
    found: Record | None = test.get(metric) or test.get(metric.replace("stage/", "stage_from_age/"))
    return found


def said(result: Record | None) -> str:
    """Return a value with its interval."""
    if result is None:
        return ""
    limits = interval(result)  # type: ignore[arg-type]
    return f"{number(result['value'])} ({limits})" if limits else number(result["value"])


def fill(page: Path, name: str, rows: list[Row]) -> None:
    """Put a table between its marks in a page."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    marked = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, found = re.subn(marked, lambda m: m[1] + table + m[2], page.read_text(), flags=re.S)
    if found != 1:
        raise ValueError(f"{page}: no place for the table {name}")
    page.write_text(text)


def rebuild(results: Path, readme: Path, card: Path) -> None:
    """Rebuild every table of the three pages."""
    known = read()
    for family in STEPS:
        if any(row in known for row in STEPS[family]):
            fill(results, family, steps(family, known))
    fill(results, "stressed", stressed(known, STRESSED))
    fill(results, "augmented", stressed(known, AUGMENTED))
    fill(results, "bands", bands(known, STRESSED))
    fill(results, "contrasts", contrasts(known))
    fill(readme, "headline", headline(known))
    if BUILTIN in known:
        fill(readme, "builtin", builtin(known[BUILTIN], IN_README))
        fill(card, "builtin", builtin(known[BUILTIN], IN_CARD))
        fill(card, "bands", bands(known, [BUILTIN]))
        fill(card, "stressed", stressed(known, [BUILTIN]))


if __name__ == "__main__":
    rebuild(PROJECT / "docs/results.md", PROJECT / "README.md", PROJECT / "docs/model.md")
