"""Sentences on preprocessing, network and losses, for the methods of a run."""

from collections.abc import Mapping
from typing import Any

from boneage.data.decode import STRETCH_PERCENTILES
from boneage.data.hand import HAND_MARGIN
from boneage.evaluation.methods.words import (
    class_name,
    fill_in,
    is_ensemble,
    join,
    knows_training,
    name_of,
)
from boneage.evaluation.run_folder import FinishedRun
from boneage.options import TABLE
from boneage.stages import Stages

Options = Mapping[str, Any]
LOSS_NAMES = {
    "MSELoss": "the squared error",
    "L1Loss": "the absolute error",
    "SmoothL1Loss": "the smooth L1 loss",
    "HuberLoss": "the Huber loss",
}
FITS = {
    "squash": "Images were resized to {size} x {size} pixels; the aspect ratio was not kept.",
    "pad": "Images were resized to {size} pixels of the longer side and padded with black to a "
    "square.",
}


def describe_preprocessing(options: Options) -> list[str]:
    """Return sentences on how a radiograph becomes what the network sees."""
    crop, contrast = options.get("data.crop"), options.get("data.contrast")
    sentences = []
    if crop == "hand":
        sentences.append(
            "A small segmentation network found the hand, and the radiograph was cropped to the "
            f"bounding box of the hand and a margin of {100 * HAND_MARGIN:.0f} % of its sides; "
            "where no hand was found, the whole radiograph was used."
        )
    fit, size = FITS.get(str(options.get("data.fit"))), options.get("data.size")
    if fit is None or size is None:
        sentences.append(fill_in("how images were resized"))
    else:
        sentences.append(fit.format(size=size))
    low, high = STRETCH_PERCENTILES
    if contrast == "stretch":
        of = " (the upper one of the hand alone, where it was found)" if crop == "hand" else ""
        sentences.append(
            f"Grey values between the percentiles {low} and {high} of the image{of} were mapped "
            "linearly to 8 bits."
        )
    elif contrast == "none":
        sentences.append("Grey values were mapped linearly to 8 bits.")
    return sentences


def describe_model(run: FinishedRun) -> list[str]:
    """Return sentences on the network: backbone, sex, heads, and its initial weights."""
    options, parameters = run.metrics["options"], run.metrics.get("parameters")
    name = options.get("backbone.name") or options.get("backbone")
    name = name or class_name(options.get("backbone._target_"))
    together = " of all models together" if is_ensemble(run) else ""
    sentences = [
        f"The backbone was {name}." if name else fill_in("the backbone"),
        f"There were {parameters:,} parameters{together}." if parameters else "",
    ]
    if (factor := options.get("backbone.enlarge", 1)) != 1:
        sentences.append(f"The network enlarged its images by a factor of {factor} first.")
    sentences.append(_sex(options))
    sentences += [_head(options, task, run.stages) for task in _tasks_of(options)]
    return [*sentences, initial_weights(options)]


def _sex(options: Options) -> str:
    kind = class_name(options.get("sex._target_")) or str(options.get("sex"))
    if kind in ("NoSex", "none"):
        return "Sex was not an input."
    if kind not in ("SexEmbedding", "embedding"):
        return fill_in("whether and how the sex is an input")
    width, drop = options.get("sex.dim"), options.get("sex.drop")
    said = "Sex (female, male or unknown) was an input: a learned embedding"
    said += f" of {width} numbers" if width else ""
    said += ", which was joined to the features of the image."
    return said + (f" In training it was hidden at random with probability {drop}." if drop else "")


def _tasks_of(options: Options) -> list[str]:
    """Return the names of the tasks of a run."""
    return sorted({key.split(".")[1] for key in options if key.startswith("tasks.")})


def _class_of(options: Options, task: str) -> str:
    """Return the name of the class of a task."""
    return class_name(options.get(f"tasks.{task}._target_"))


def _head(options: Options, task: str, stages: Stages) -> str:
    """Return what a task predicts, and with which head."""
    ages = "ages standardised by the mean and standard deviation of the training fold"
    if options.get("start_from"):  # a trained head has those of its first training
        ages = "standardised ages"
    predicted = {
        "AgeRegression": f"Bone age was predicted as one number, on {ages},",
        "AgeDistribution": "Bone age was predicted as the expectation of a distribution over "
        "months",
        "StageClassification": f"The stage ({stages_of(stages)}) was predicted as one of "
        f"{len(stages)} classes",
        "OrdinalStages": f"The stage ({stages_of(stages)}) was predicted as one maturity with "
        "learned thresholds (cumulative logits)",
        "SexClassification": "The sex was predicted as one of two classes",
    }.get(_class_of(options, task))
    if predicted is None:
        return fill_in(f"what the task {task} predicts")
    hidden, dropout = (options.get(f"tasks.{task}.{name}") for name in ("hidden", "dropout"))
    if hidden is None:
        return f"{predicted.rstrip(',')}."
    if not hidden:
        return f"{predicted} by a linear head."
    dropout = dropout or []
    widths = join([str(width) for width in hidden])
    layers = f"{'a hidden layer' if len(hidden) == 1 else 'hidden layers'} of {widths} units"
    drop = f" (dropout {join([str(p) for p in dropout])})" if any(dropout) else ""
    return f"{predicted} by a head with {layers}{drop}."


def stages_of(stages: Stages) -> str:
    """Return the stages with their ages, as in "child, under 10 years"."""
    if not stages.edges:
        return f"{stages.names[0]}, all ages"
    edges = [f"{edge:g}" for edge in stages.edges]
    parts = [f"{stages.names[0]}, under {edges[0]} years"]
    for k, name in enumerate(stages.names[1:-1]):
        parts.append(f"{name}, {edges[k]} to under {edges[k + 1]}")
    return "; ".join([*parts, f"{stages.names[-1]}, {edges[-1]} or older"])


def initial_weights(options: Options) -> str:
    """Return the sentence on what training started from."""
    if start := options.get("start_from"):
        return (
            f"Training started from the weights of {name_of(start)}; parts that it lacks or has of "
            "other shapes, if any, were initialised at random."
        )
    if not knows_training(options):
        return fill_in("what the training started from")
    if options.get("backbone.pretrained"):
        return "The backbone started from ImageNet weights; all else was initialised at random."
    return "All weights were initialised at random."


def describe_losses(options: Options) -> list[str]:
    """Return sentences on the loss of each task, and on how these were combined."""
    return [
        *(_loss(options, task) for task in _tasks_of(options)),
        _soft_targets(options),
        _weighting(options),
    ]


def _loss(options: Options, task: str) -> str:
    kind = _class_of(options, task)
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
    shares = {options.get(f"tasks.{task}.soft_weight") for task in _tasks_of(options)} - {None}
    share = f"{next(iter(shares)):g}" if len(shares) == 1 else "some"
    return (
        f"Where another model had predicted the age of a training radiograph, that prediction had "
        f"a share of {share} in the age that was learned."
    )


def _weighting(options: Options) -> str:
    tasks = _tasks_of(options)
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
