"""Sentences on the losses, for the methods of a run."""

from collections.abc import Mapping
from typing import Any

from boneage.evaluation.methods.network import class_of, tasks_of
from boneage.evaluation.methods.words import class_name, fill_in, join
from boneage.options import TABLE

Options = Mapping[str, Any]
LOSS_NAMES = {
    "MSELoss": "the squared error",
    "L1Loss": "the absolute error",
    "SmoothL1Loss": "the smooth L1 loss",
    "HuberLoss": "the Huber loss",
}


def describe_losses(options: Options) -> list[str]:
    """Return sentences on the loss of each task, and on how these were combined."""
    return [
        *(_loss(options, task) for task in tasks_of(options)),
        _soft_targets(options),
        _weighting(options),
    ]


def _loss(options: Options, task: str) -> str:
    kind = class_of(options, task)
    if kind in ("AgeRegression", "AgeDistribution"):
        error = _age_loss(options, task)
        if kind == "AgeRegression":
            return f"The loss of the age was {error}."
        defaults = {row.name: row.default for row in TABLE}
        sigma, share = (
            options.get(f"tasks.{task}.{name}", defaults[f"tasks.*.{name}"])
            for name in ("sigma", "share")
        )
        return (
            f"The loss of the age was {share:g} times the cross-entropy with a normal distribution "
            f"around the true age (SD {sigma:g} months) plus {1 - share:g} times {error}."
        )
    if kind in ("StageClassification", "OrdinalStages"):
        balance, focal = (options.get(f"tasks.{task}.{name}") for name in ("balance", "focal"))
        weighted = f", weighted by the inverse frequency of the stage to the power {balance:g}"
        focused = f", focal with exponent {focal:g}"
        return (
            f"The loss of the stage was the cross-entropy{weighted if balance else ''}"
            f"{focused if focal else ''}."
        )
    if kind == "SexClassification":
        return "The loss of the sex was the binary cross-entropy of radiographs of known sex."
    return fill_in(f"the loss of the task {task}")


def _age_loss(options: Options, task: str) -> str:
    node = f"tasks.{task}.loss"
    node = "loss" if options.get(node) == "${loss}" else node
    kind = class_name(options.get(f"{node}._target_"))
    if kind not in LOSS_NAMES:
        return fill_in("the loss of the age")
    bend = [
        f" ({p} {options[f'{node}.{p}']:g})" for p in ("beta", "delta") if f"{node}.{p}" in options
    ]
    unit = "standard deviations of the training ages"
    if options.get("start_from"):  # a trained head has those of its first training
        unit = "standardised units"
    return f"{LOSS_NAMES[kind]}{''.join(bend)} in {unit}"


def _soft_targets(options: Options) -> str:
    """Say that ages were learned from another model's predictions too."""
    if not options.get("data.soft_targets"):
        return ""
    shares = {options.get(f"tasks.{task}.soft_weight") for task in tasks_of(options)} - {None}
    share = f"{next(iter(shares)):g}" if len(shares) == 1 else "some"
    return (
        f"Where another model had predicted the age of a training radiograph, that prediction had "
        f"a share of {share} in the age that was learned."
    )


def _weighting(options: Options) -> str:
    tasks = tasks_of(options)
    if len(tasks) < 2:
        return ""
    shares = join([f"{task} {options.get(f'tasks.{task}.weight', 1):g}" for task in tasks])
    kind = class_name(options.get("weighting._target_", "FixedWeighting"))
    sentence = {
        "FixedWeighting": f"The total loss was the weighted sum of these ({shares}).",
        "UncertaintyWeighting": "The weights of these losses were learned (Kendall et al. 2018), "
        f"beginning with {shares}.",
        "LossScaleWeighting": "Each loss was divided by its running mean; the total was the "
        f"weighted sum ({shares}).",
    }.get(kind)
    return sentence or fill_in("how the losses were combined")
