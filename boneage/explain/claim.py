"""The report's claims about attention, answered from measured maps."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from boneage.explain.background import BACKGROUND, MARKER
from boneage.stages import ALL

CONTROLS = ("random_weights", "blob", "edges")
CARPALS, MCP = ("Wrist", "carpals"), ("MCP",)
TOLERATED = {"years": 1 / 12, "probability": 0.02}  # what a marker may move a prediction by
CLAIMS = (("child", CARPALS, MCP), ("adolescent", MCP, CARPALS))


def claims(summary: pd.DataFrame) -> list[str]:
    """Return a sentence on each half of "carpals in the younger, MCP joints in adolescents".

    A model looks at a region if the whole interval of its enrichment lies above all three controls:
    random weights, a centred blob, and the edges of the picture; it does not if the whole interval
    lies below the best of them; anything else, as a single radiograph, is not clear. Then come the
    sentences on "not relying on background artefacts or tags".

    Args:
        summary: rows of `summarise` with `task` and `checkpoint`.
    """
    rows = summary[summary["metric"] == "enrichment"]
    sentences = []
    for task, of_task in rows.groupby("task", sort=False):
        for group, regions, others in CLAIMS:
            here = of_task[of_task["group"] == group]
            if here["region"].isin(regions).any():
                sentences.append(f"{task}: {_sentence(here, group, regions, others)}")
    return sentences + background_claims(summary)


def _sentence(
    here: pd.DataFrame, group: str, regions: tuple[str, ...], others: tuple[str, ...]
) -> str:
    region = here["region"][here["region"].isin(regions)].iloc[0]
    models = [part for _, part in here.groupby("checkpoint", sort=False)]
    above, below, first, n, said = 0, 0, 0, [], []
    for part in models:
        of_region = part[part["region"] == region].set_index("source")
        if "model" not in of_region.index:  # nothing raises the prediction anywhere
            below += 1
            n.append("0")
            said.append("none")
            continue
        own = of_region.loc["model"]
        best = of_region["value"].reindex(list(CONTROLS)).max()
        above += bool(own["low"] > best)
        below += bool(own["high"] < best)
        n.append(f"{own['n']:.0f}")
        rival = part[part["region"].isin(others) & (part["source"] == "model")]["value"]
        first += bool(len(rival) and own["value"] > rival.max())
        limits = f" ({own['low']:.2f} to {own['high']:.2f})" if own["low"] < own["high"] else ""
        said.append(f"{own['value']:.2f}{limits}")
    of_region = here[here["region"] == region].groupby("source")["value"].mean()
    controls = ", ".join(
        f"{name.replace('_', ' ')} {of_region[name]:.2f}" if name in of_region else f"no {name}"
        for name in CONTROLS
    )
    k = len(models)
    verdict = "holds" if above == k else "does not hold" if below == k else "is not clear"
    rivals = sorted(set(here["region"]) & set(others))
    more = f", {first} of {k} look there more than at {' or '.join(rivals)}" if rivals else ""
    return (
        f"that the model looks at the region {region} in the stage {group} {verdict}: enrichment "
        f"{', '.join(said)} beside {controls} (1 is chance; "
        f"n = {', '.join(n)}); {above} of {k} models above all controls{more}."
    )


def background_claims(summary: pd.DataFrame) -> list[str]:
    """Return, for each task, how much of the maps lies beside the hand and what the marker does.

    Args:
        summary: rows of `measure_model`, with `checkpoint`.
    """
    rows = summary[summary["group"] == ALL]
    sentences = []
    for task, of_task in rows.groupby("task", sort=False):
        for region, what in ((BACKGROUND, "outside the hand"), (MARKER, "on the marker")):
            here = of_task[(of_task["region"] == region) & (of_task["metric"] == "energy")]
            own = here[here["source"] == "model"]
            if len(own):
                controls = here[here["source"] != "model"].groupby("source", sort=False)["value"]
                beside = ", ".join(
                    f"{name} {100 * value:.1f} %"
                    for name, value in controls.mean().rename(_readable).items()
                )
                shares = ", ".join(_percent(row) for row in own.to_dict("records"))
                area = of_task[(of_task["region"] == region) & (of_task["metric"] == "area")]
                sentences.append(
                    f"{task}: {shares} of the map lies {what}, which is "
                    f"{100 * area['value'].mean():.1f} % of the picture (beside {beside}; "
                    f"n = {own['n'].max():.0f})."
                )
        moved = of_task[of_task["metric"] == "moved"]
        if len(moved):
            sentences.append(f"{task}: {_moved(moved)}")
    return sentences


def _moved(moved: pd.DataFrame) -> str:
    by_source = {name: part.to_dict("records") for name, part in moved.groupby("source")}
    models = by_source["difference"]
    unit = str(moved["unit"].iloc[0])
    tolerated = TOLERATED[unit]
    limits = [_limits(row) for row in models]
    more = sum(1 for low, _ in limits if low > tolerated)
    less = sum(1 for _, high in limits if high < tolerated)
    values = {
        name: ", ".join(f"{row['value']:.2g}" for row in part) for name, part in by_source.items()
    }
    k = len(models)
    verdict = "holds" if less == k else "does not hold" if more == k else "is not clear"
    return (
        f"that the model does not rely on the marker {verdict}: painting it over moves the "
        f"prediction by {values['model']} {unit} on average, an equal patch of "
        f"background by {values['elsewhere']} (n = {moved['n'].max():.0f}); the whole "
        f"interval of the difference is above {tolerated:.2g} in {more}, and below in {less}, of "
        f"{k} models."
    )


def _limits(row: dict[Hashable, Any]) -> tuple[float, float]:
    """Return the interval of a row: of equal values there is none, and of one it is endless."""
    if not np.isnan(row["low"]):
        return row["low"], row["high"]
    return (row["value"], row["value"]) if row["n"] > 1 else (-np.inf, np.inf)


def _percent(row: dict[Hashable, Any]) -> str:
    if np.isnan(row["low"]):  # of a single radiograph, say
        return f"{100 * row['value']:.1f} %"
    return f"{100 * row['value']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _readable(name: str) -> str:
    return name.replace("_", " ")
