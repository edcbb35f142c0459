"""A published study that a run names, to have its values shown next to the run's own."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from boneage.errors import UserError


class Claim(BaseModel):
    """Where a study says that attribution maps lie.

    Args:
        stage: stage of the radiographs that it speaks of.
        regions: the region, by each name that it has in tables of boxes or folders of masks.
        others: regions where the maps lie less.
    """

    model_config = ConfigDict(extra="forbid")
    stage: str
    regions: list[str]
    others: list[str] = []


class Reference(BaseModel):
    """What a study published.

    Args:
        label: what to call it.
        note: what its values were measured on, in a few words.
        published: values by metric, named as in `metrics.json`.
        claims: what it says about attribution maps.
    """

    model_config = ConfigDict(extra="forbid")
    label: str
    note: str
    published: dict[str, float] = {}
    claims: list[Claim] = []


def reference_of(metrics: Mapping[str, Any]) -> Reference | None:
    """Return the study that a run names.

    None is shown next to synthetic radiographs: their numbers say nothing about patients.

    Args:
        metrics: what `metrics.json` contains, or the record of a checkpoint.

    Raises:
        UserError: when it is not what a run writes.
    """
    found = metrics.get("reference")
    if found is None or metrics.get("synthetic"):
        return None
    try:
        return Reference.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["reference", *map(str, first["loc"])])
        raise UserError(f"{where} is not what a run writes: {first['msg']}") from error


def first_reference(runs: Iterable[Mapping[str, Any]]) -> Reference | None:
    """Return the study that the first run with one names, of the metrics of several."""
    return next((found for metrics in runs if (found := reference_of(metrics))), None)
