"""Sentences on training, for the methods of a run."""

from collections.abc import Mapping
from typing import Any

from boneage.errors import plural
from boneage.evaluation.methods.network import describe_losses
from boneage.evaluation.methods.words import (
    class_name,
    fill_in,
    is_ensemble,
    is_test_alone,
    join,
    name_of,
)
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import number
from boneage.evaluation.run_folder import FinishedRun
from boneage.options import kind_of
from boneage.run_files import HISTORY

Options = Mapping[str, Any]
SAMPLINGS = {
    "shuffle": "Each epoch had each training radiograph once, in random order.",
    "balanced": "Each epoch had as many draws as there are training radiographs, with all stages "
    "equally often.",
    "ages": "Each epoch had as many draws as there are training radiographs, each drawn in "
    "proportion to the inverse square root of the number of radiographs of its sex and year of "
    "age.",
}
SCHEDULE_SENTENCES = {
    "constant": "The learning rate stayed the same.",
    "warmup_cosine": "The learning rate rose linearly{warmup} and then fell to zero along half a "
    "cosine.",
}
UNITS = ("day", "hour", "minute", "second")  # of a time limit
REFERENCE = "${precision}"  # of the trainer, unless it has its own
PRECISIONS = {
    "32-true": "single precision",
    "32": "single precision",
    "bf16-mixed": "mixed precision (bfloat16)",
    "16-mixed": "mixed precision (float16)",
}


def describe_training(run: FinishedRun) -> list[str]:
    """Return sentences on how a run was trained, and on what was tested."""
    options = run.metrics["options"]
    if is_test_alone(run):
        model = options.get("ckpt_path")
        only = f"This run only tested a finished model ({name_of(model)})." if model else ""
        its, a_run = ("their", "each run") if is_ensemble(run) else ("its", "the run")
        return [
            "These runs only tested finished models." if is_ensemble(run) else only,
            fill_in(
                f"{its} training, which boneage report --methods writes for {a_run} that trained"
            ),
            *(["Preprocessing and model are those of the first.", _others(run)] * is_ensemble(run)),
            _mirror(options),
        ]
    first = "The following describes the first model."
    return [
        *([first, _others(run)] if is_ensemble(run) else []),
        *_labels(run),
        *_epochs(run),
        *_steps(run),
        SAMPLINGS.get(str(options.get("data.sampling")), fill_in("sampling")),
        augmentation(options),
        *describe_losses(options),
        chosen_epoch(run),
        _average(options),
        *_callbacks(options),
        _mirror(options),
        f"The seed was {run.metrics['seed']}.",
        f"Device: {run.metrics['device']}." if "device" in run.metrics else "",
    ]


def _others(run: FinishedRun) -> str:
    """Say in which options the models of an ensemble differ; a choice covers what is below it."""
    if (differing := run.metrics.get("differing")) is None:  # of an older version
        return fill_in("how the others differ, such as in the seed or the fold")
    keys = [key for key in differing if kind_of(key) != "bookkeeping"]
    named = [key for key in keys if not any(key.startswith(f"{other}.") for other in keys)]
    same = "All models had the same options."
    return f"The models differ in these options: {join(named)}." if named else same


def _labels(run: FinishedRun) -> list[str]:
    """Say of how many training radiographs a task has learned, where the others lack its label."""
    return [
        f"{number:,} of {plural(int(run.metrics['n']['train']), 'training radiograph')} had the "
        f"label of the task {name}. Its loss used only these."
        for name, number in run.metrics.get("train_labels", {}).items()
    ]


def _epochs(run: FinishedRun) -> list[str]:
    options, epochs = run.metrics["options"], run.metrics.get("epochs")
    at_most = options.get("trainer.max_epochs")
    patience = options.get("callbacks.early_stopping.patience")
    of = f" of at most {at_most:,}" if isinstance(at_most, int) and at_most > 0 else ""
    said = [f"Training ran for {plural(epochs, 'epoch')}{of}." if epochs else fill_in("epochs")]
    if (steps := options.get("trainer.max_steps") or -1) > 0:
        said.append(f"It was limited to {plural(steps, 'step')}: its last epoch may be incomplete.")
    if time := _time_limit(options):
        said.append(f"It was limited to a time of {time}: its last epoch may be incomplete.")
    if patience is not None:
        validations = plural(patience, "validation")
        said.append(f"It would stop after {validations} without a better {monitored(options)}.")
    if options.get("ckpt_path"):
        said.append("It continued another run, whose schedule gave the learning rate until then.")
    return said


def _time_limit(options: Options) -> str:
    """Return the limit of the time in words, given as DD:HH:MM:SS or by unit; empty without one."""
    given = str(options.get("trainer.max_time") or "").split(":")
    by_unit = [options.get(f"trainer.max_time.{unit}s") for unit in UNITS]
    numbers = map(int, given) if len(given) == len(UNITS) else by_unit
    return join([plural(n, unit) for n, unit in zip(numbers, UNITS, strict=True) if n])


def _steps(run: FinishedRun) -> list[str]:
    """Return sentences on optimizer, schedule and batches."""
    options = run.metrics["options"]
    optimizer, rate = options.get("optimizer._target_"), options.get("optimizer.lr")
    if not optimizer or rate is None:
        said = [fill_in("optimizer and learning rate")]
    else:
        parts = [f"a learning rate of {rate:g}"]
        parts += [
            f"a {name.replace('_', ' ')} of {options[f'optimizer.{name}']:g}"
            for name in ("momentum", "weight_decay")
            if options.get(f"optimizer.{name}")
        ]
        said = [f"The optimizer was {class_name(optimizer)} with {join(parts)}."]
        schedule = class_name(options.get("scheduler._target_", options.get("scheduler")))
        warmup = options.get("scheduler.warmup")
        share = f" over the first {100 * warmup:g} % of the steps" if warmup else ""
        sentence = SCHEDULE_SENTENCES.get(schedule, fill_in("schedule"))
        said.append(sentence.format(warmup=share))
        history = run.table(HISTORY)
        last = history["learning_rate"].iloc[-1] if len(history) else 0
        if "zero" in sentence and last > 0:
            said.append(f"It was {last:.2g} when training ended.")
    if (size := options.get("data.batch_size")) is not None:
        devices = options.get("trainer.devices", 1)
        each = "" if devices == 1 else " per device"
        batches = options.get("trainer.accumulate_grad_batches", 1)
        step = f", and each step {batches} batches" if batches != 1 else ""
        said.append(f"A batch had {plural(size, 'radiograph')}{each}{step}.")
    if clip := options.get("trainer.gradient_clip_val"):
        by_value = options.get("trainer.gradient_clip_algorithm") == "value"
        what = "Each value" if by_value else "The norm"
        said.append(f"{what} of the gradient was limited to {clip:g}.")
    own = str(options.get("trainer.precision", REFERENCE))
    if precision := str(options.get("precision", "")) if own == REFERENCE else own:
        said.append(f"Training used {PRECISIONS.get(precision, f'precision {precision}')}.")
    return said


def augmentation(options: Options) -> str:
    """Return the sentence on augmentation, with the parameters of each transform."""
    transforms = options.get("augment.transforms")
    if transforms is None:
        return fill_in("augmentation")
    if not transforms:
        return "Training radiographs were not augmented."
    return f"Augmentation (albumentations): {'; '.join(map(_transform, transforms))}."


def _transform(node: Mapping[str, Any]) -> str:
    name = class_name(node.get("_target_", "?"))
    inner = node.get("transforms")
    values = {k: v for k, v in node.items() if k not in ("_target_", "transforms")}
    parts = [f"{key} {_value(value)}" for key, value in values.items()]
    if inner:
        parts.insert(0, f"of {', '.join(map(_transform, inner))}")
    return f"{name} ({', '.join(parts)})" if parts else name


def _value(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(str(part) for part in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {part}" for key, part in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _monitor(options: Options) -> str:
    """Return the metric that chooses the epoch, such as `age/mae_years`; empty without one."""
    return str(options.get("monitor", "")).removeprefix("val/")


def monitored(options: Options) -> str:
    """Return the name of the validation metric that chooses the epoch."""
    metric = _monitor(options)
    if not metric:
        return "validation metric"
    task, _, name = metric.rpartition("/")
    if name == "loss":
        return f"loss of the {task}" if task else "total loss"
    described = describe(metric)
    return f"{described.label} in {described.unit}" if described.unit else described.label


def chosen_epoch(run: FinishedRun) -> str:
    """Return the sentence on which weights were tested."""
    options, metrics = run.metrics["options"], run.metrics
    if metrics.get("best_validation", 0) is None:
        return "No epoch was validated: the weights after the last step were tested."
    best = {"min": "lowest", "max": "highest"}.get(str(options.get("mode")), "best")
    score = metrics.get("best_validation")
    value = "" if score is None else f" ({number(score, describe(_monitor(options)).unit)})"
    validated = "epoch" if options.get("trainer.val_check_interval") in (None, 1.0) else "step"
    return (
        f"The weights of the {validated} with the {best} {monitored(options)} in the validation "
        f"fold{value} were tested."
    )


def _average(options: Options) -> str:
    if "callbacks.ema._target_" not in options:
        return ""
    decay = options.get("callbacks.ema.decay")
    of = f" with a decay of at most {decay:g} a step" if decay is not None else ""
    return f"Validation and test used an exponential moving average of the weights{of}."


def _callbacks(options: Options) -> list[str]:
    """Say what callbacks of Lightning and of the user's own code changed in the training."""
    said = []
    for name, target in options.items():
        parts = name.split(".")
        if parts[0] != "callbacks" or parts[2:] != ["_target_"]:
            continue
        package, kind = str(target).partition(".")[0], str(target).rpartition(".")[2]
        if kind == "BackboneFinetuning":
            until = options.get(f"callbacks.{parts[1]}.unfreeze_backbone_at_epoch", 10)
            most = options.get("trainer.max_epochs")
            never = isinstance(most, int) and 0 <= most <= until
            when = "" if never else f" for the first {plural(until, 'epoch')}"
            said.append(f"The backbone was frozen{when}, except for its batch normalisation.")
        elif package != "boneage" and kind != "LearningRateMonitor":
            said.append(fill_in(f"what the callback {kind} did"))
    return said


def _mirror(options: Options) -> str:
    if not options.get("mirror_test"):
        return ""
    return "Each test prediction is the mean of those of the radiograph and of its mirror image."
