"""A published study, named by a run, whose values are shown next to those of the run."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from boneage.errors import UserError, first_damage


class Claim(BaseModel):
    """A claim of a study about where attribution maps lie.

    Args:
        stage: stage of the radiographs in question.
        regions: names of the region in tables of boxes or folders of masks.
        others: regions with less of the maps.
    """

    model_config = ConfigDict(extra="forbid")
    stage: str
    regions: list[str]
    others: list[str] = []


class Reference(BaseModel):
    """The results that a study published.

    Args:
        label: short name of the study.
        note: what its values were measured on, in a few words.
        published: values by metric, named as in `metrics.json`.
        claims: its claims about attribution maps.
    """

    model_config = ConfigDict(extra="forbid")
    label: str
    note: str
    published: dict[str, float] = {}
    claims: list[Claim] = []


def reference_of(metrics: Mapping[str, Any]) -> Reference | None:
    """Return the study that a run names.

    It is None for synthetic radiographs, whose numbers say nothing about patients.

    Args:
        metrics: the content of `metrics.json`, or the record of a checkpoint.

    Raises:
        UserError: when its format is wrong.
    """
    content = metrics.get("reference")
    if content is None or metrics.get("synthetic"):
        return None
    try:
        return Reference.model_validate(content)
    except ValidationError as error:
        raise UserError(f"its reference {first_damage(error)}") from error


def first_reference(runs: Iterable[Mapping[str, Any]]) -> Reference | None:
    """Return the study of the first run that names one."""
    return next((study for metrics in runs if (study := reference_of(metrics))), None)
