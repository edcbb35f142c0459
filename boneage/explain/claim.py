"""Sentences on where the maps of a model lie, and tests of the claims of a study."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from boneage.evaluation.numbers import count_units, fixed
from boneage.evaluation.reference import Claim
from boneage.evaluation.shares import limits_of_difference
from boneage.explain.localisation import DIFFERENCE
from boneage.explain.regions import BACKGROUND, HAND, MARKER, SOFT_TISSUE
from boneage.stages import ALL

CONTROLS = ("random_weights", "blob", "edges")
MARKER_TOLERANCE = {"years": 1 / 12, "probability": 0.02}  # allowed effect on predictions


def sentences(summary: pd.DataFrame, claims: Sequence[Claim] = ()) -> list[str]:
    """Return sentences on the maps of each task: regions, claims of a study, background and marker.

    A model looks at a region if its enrichment is above that of all three controls: random weights,
    a centred blob, and the edges of the image. It does not if it is below the best of them. The
    whole interval of the difference counts. Otherwise, as for a single radiograph, the result is
    not clear.

    Args:
        summary: rows of `summarise` with `task` and `checkpoint`.
        claims: claims of the study that the run names.
    """
    rows = summary[summary["metric"] == "enrichment"]
    lines = []
    for task, of_task in rows.groupby("task", sort=False):
        lines += [f"{task}: {text}" for text in _regions(of_task[of_task["group"] == ALL])]
        for claim in claims:
            here = of_task[of_task["group"] == claim.stage]
            if here["region"].isin(claim.regions).any():
                lines.append(f"{task}: {_test_claim(here, claim)}")
    lines += background_sentences(summary)
    if lines and (models := summary["checkpoint"].nunique()) > 1:
        lines.insert(0, f"The values of the {models} models are in the given order.")
    return lines


@dataclass
class _Judged:
    """The enrichment of a region in each model: "none" if nothing raises the prediction."""

    above: int
    below: int
    n: list[str]
    values: list[str]

    @property
    def models(self) -> int:
        return len(self.values)

    def verdict(self, yes: str, no: str, unclear: str) -> str:
        return yes if self.above == self.models else no if self.below == self.models else unclear


def _judge(here: pd.DataFrame, region: str) -> _Judged:
    """Compare the enrichment of a region with the controls, model by model."""
    judged = _Judged(0, 0, [], [])
    for _, part in here.groupby("checkpoint", sort=False):
        of_region = part[part["region"] == region].set_index("source")
        if "model" not in of_region.index:
            judged.below += 1
            judged.n.append("0")
            judged.values.append("none")
            continue
        own = of_region.loc["model"].to_dict()
        controls = of_region[of_region.index.isin(CONTROLS)].to_dict("records")
        judged.above += bool(controls) and all(_difference(own, c)[0] > 0 for c in controls)
        best = max(controls, key=itemgetter("value"), default=None)
        judged.below += best is not None and _difference(own, best)[1] < 0
        judged.n.append(f"{own['n']:.0f}")
        limits = f" ({own['low']:.2f} to {own['high']:.2f})" * (own["low"] < own["high"])
        judged.values.append(fixed(own["value"], 2) + limits)
    return judged


def _difference(own: dict[Hashable, Any], control: dict[Hashable, Any]) -> tuple[float, float]:
    """Return the 95 % limits of the difference of two rows, own minus control, as independent.

    A control without an interval is the same on all radiographs.
    """
    return limits_of_difference(
        (control["value"], *_limits(control)), (own["value"], own["low"], own["high"])
    )


def _regions(here: pd.DataFrame) -> list[str]:
    """Return one sentence on all drawn regions; empty without any."""
    detected = (HAND, SOFT_TISSUE, BACKGROUND, MARKER)
    drawn = [region for region in dict.fromkeys(here["region"]) if region not in detected]
    groups: dict[str, list[str]] = {}
    for region in drawn:
        judged = _judge(here, region)
        where = judged.verdict("above all controls in", "below the best control in", "not clear in")
        groups.setdefault(where, []).append(f"{region} {' and '.join(judged.values)}")
    if not drawn:
        return []
    verdicts = "; ".join(f"{where} {', '.join(regions)}" for where, regions in groups.items())
    own = here[(here["source"] == "model") & here["region"].isin(drawn)]
    n = own["n"].max() if len(own) else 0
    return [f"enrichment of the maps, 1 is chance (n = {n:.0f}): {verdicts}."]


def _test_claim(here: pd.DataFrame, claim: Claim) -> str:
    """Return a sentence on whether a claim holds."""
    region = here["region"][here["region"].isin(claim.regions)].iloc[0]
    judged = _judge(here, region)
    own = here[here["source"] == "model"]
    first = 0
    for _, part in own.groupby("checkpoint", sort=False):
        value = part.loc[part["region"] == region, "value"].max()
        rival = part.loc[part["region"].isin(claim.others), "value"].max()
        first += bool(value > rival)  # NaN if there is none
    of_region = here[here["region"] == region].groupby("source")["value"].mean()
    controls = ", ".join(
        f"{_readable(name)} {of_region[name]:.2f}" if name in of_region else f"no {name}"
        for name in CONTROLS
    )
    k = judged.models
    rivals = sorted(set(here["region"]) & set(claim.others))
    more = f", {first} of {k} look there more than at {' or '.join(rivals)}" if rivals else ""
    return (
        f"the claim that the model looks at the region {region} in the stage {claim.stage} "
        f"{judged.verdict('holds', 'does not hold', 'is not clear')}: enrichment "
        f"{', '.join(judged.values)}, compared with {controls} (1 is chance; "
        f"n = {', '.join(judged.n)}); {judged.above} of {k} models above all controls{more}."
    )


def background_sentences(summary: pd.DataFrame) -> list[str]:
    """Return, for each task, sentences on the maps outside the hand and on the marker."""
    rows = summary[summary["group"] == ALL]
    lines = []
    for task, of_task in rows.groupby("task", sort=False):
        for region, what in ((BACKGROUND, "outside the hand"), (MARKER, "on the marker")):
            here = of_task[(of_task["region"] == region) & (of_task["metric"] == "energy")]
            own = here[here["source"] == "model"]
            if len(own):
                controls = here[here["source"] != "model"].groupby("source", sort=False)["value"]
                compared = ", ".join(
                    f"{name} {100 * value:.1f} %"
                    for name, value in controls.mean().rename(_readable).items()
                )
                shares = ", ".join(_percent(row) for row in own.to_dict("records"))
                area = of_task[(of_task["region"] == region) & (of_task["metric"] == "area")]
                lines.append(
                    f"{task}: {shares} of the map lies {what}, which is "
                    f"{100 * area['value'].mean():.1f} % of the image (controls: {compared}; "
                    f"n = {own['n'].max():.0f})."
                )
        moved = of_task[of_task["metric"] == "moved"]
        if len(moved):
            lines.append(f"{task}: {_moved(moved)}")
    return lines


def _moved(moved: pd.DataFrame) -> str:
    by_source = {name: part.to_dict("records") for name, part in moved.groupby("source")}
    models = by_source[DIFFERENCE]
    unit = str(moved["unit"].iloc[0])
    tolerance = MARKER_TOLERANCE.get(unit)
    limits = [_limits(row) for row in models]
    values = {
        name: ", ".join(f"{row['value']:.2g}" for row in part) for name, part in by_source.items()
    }
    changes = (
        f"changes the prediction by {values['model']} {unit} on average, an equal patch of "
        f"background by {values['elsewhere']} (n = {moved['n'].max():.0f})."
    )
    if tolerance is None:  # a new task's unit: nobody has said what is little
        return f"painting the marker over {changes}"
    more = sum(low > tolerance for low, _ in limits)
    less = sum(high < tolerance for _, high in limits)
    k = len(models)
    verdict = "holds" if less == k else "does not hold" if more == k else "is not clear"
    if less == k and any(row["value"] < tolerance for row in by_source["spread"]):
        verdict = (
            f"cannot be tested, as the predictions hardly vary between radiographs (mean absolute "
            f"deviation {values['spread']} {unit})"
        )
    return (
        f"the claim that the model does not rely on the marker {verdict}: painting it over "
        f"{changes} The interval of the difference is above {tolerance:.2g} in {more} of {k} "
        f"models, and below in {less}."
    )


def _limits(row: dict[Hashable, Any]) -> tuple[float, float]:
    """Return the interval of a row: the value itself if all are equal, infinite for one patient.

    Where patients are unknown, it is infinite for one radiograph.
    """
    if not np.isnan(row["low"]):
        return row["low"], row["high"]
    return (row["value"], row["value"]) if count_units(row) > 1 else (-np.inf, np.inf)


def _percent(row: dict[Hashable, Any]) -> str:
    if np.isnan(row["low"]):  # for example, of a single radiograph
        return f"{100 * row['value']:.1f} %"
    return f"{100 * row['value']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _readable(name: str) -> str:
    return name.replace("_", " ")
