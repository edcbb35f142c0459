"""The report's claim about attention, answered from measured maps."""

import pandas as pd

CONTROLS = ("random_weights", "blob", "edges")
CARPALS, MCP = ("Wrist", "carpals"), ("MCP",)
CLAIMS = (("child", CARPALS, MCP), ("adolescent", MCP, CARPALS))


def claims(summary: pd.DataFrame) -> list[str]:
    """Return a sentence on each half of "carpals in the younger, MCP joints in adolescents".

    A model looks at a region only if the whole interval of its enrichment lies above all three
    controls: random weights, a centred blob, and the edges of the picture.

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
    return sentences


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
