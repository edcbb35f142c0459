"""The report's claims about attention, answered from measured maps."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from boneage.evaluation.subgroups import ALL
from boneage.explain.background import BACKGROUND, MARKER

CONTROLS = ("random_weights", "blob", "edges")
CARPALS, MCP = ("Wrist", "carpals"), ("MCP",)
CLAIMS = (("child", CARPALS, MCP), ("adolescent", MCP, CARPALS))


def claims(summary: pd.DataFrame) -> list[str]:
    """Return a sentence on each half of "carpals in the younger, MCP joints in adolescents".

    A model looks at a region only if the whole interval of its enrichment lies above all three
    controls: random weights, a centred blob, and the edges of the picture. Then come the sentences
    on "not relying on background artefacts or tags".

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
    above, first, said = 0, 0, []
    for part in models:
        of_region = part[part["region"] == region].set_index("source")
        if "model" not in of_region.index:  # nothing raises the prediction anywhere
            said.append("none")
            continue
        own = of_region.loc["model"]
        above += bool(own["low"] > of_region["value"].reindex(list(CONTROLS)).max())
        rival = part[part["region"].isin(others) & (part["source"] == "model")]["value"]
        first += bool(len(rival) and own["value"] > rival.max())
        said.append(f"{own['value']:.2f} ({own['low']:.2f} to {own['high']:.2f})")
    of_region = here[here["region"] == region].groupby("source")["value"].mean()
    controls = ", ".join(
        f"{name.replace('_', ' ')} {of_region[name]:.2f}" if name in of_region else f"no {name}"
        for name in CONTROLS
    )
    k = len(models)
    n = int(here["n"].max())
    verdict = "holds" if above == k else "does not hold" if above == 0 else "is not clear"
    rivals = sorted(set(here["region"]) & set(others))
    more = f", {first} of {k} look there more than at {' or '.join(rivals)}" if rivals else ""
    return (
        f"that the model looks at the region {region} in the stage {group} {verdict}: enrichment "
        f"{', '.join(said)} beside {controls} (1 is chance; n = {n}); {above} of {k} models above "
        f"all controls{more}."
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
    more = sum(1 for row in models if row["low"] is not None and row["low"] > 0)
    values = {
        name: ", ".join(f"{row['value']:.3f}" for row in part) for name, part in by_source.items()
    }
    verdict = "holds" if more == 0 else "does not hold" if more == len(models) else "is not clear"
    return (
        f"that the model does not rely on the marker {verdict}: painting it over moves the "
        f"prediction by {values['model']} {moved['unit'].iloc[0]} on average, an equal patch of "
        f"background by {values['elsewhere']} (n = {moved['n'].max():.0f}); the marker moves it "
        f"more, beyond chance, in {more} of {len(models)} models."
    )


def _percent(row: dict[Hashable, Any]) -> str:
    if row["low"] is None or np.isnan(row["low"]):  # of a single radiograph, say
        return f"{100 * row['value']:.1f} %"
    return f"{100 * row['value']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _readable(name: str) -> str:
    return name.replace("_", " ")
