"""The methods of a run as text for a paper, and the items of a checklist that it answers."""

from collections.abc import Mapping
from typing import Any

from boneage.evaluation.intervals import DRAWS
from boneage.evaluation.run_folder import FinishedRun

Options = Mapping[str, Any]
FILL = "[fill in: {}]"
SOURCES = "source, dates, eligibility, approval, and who read the bone ages and how"
AUTHORS = "[fill in]"
SOURCE = "Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300"
FITS = {"squash": "resized to a square", "pad": "padded to a square and resized"}
CONTRASTS = {
    "none": "Grey values were scaled to 8 bits",
    "stretch": "Contrast was stretched between percentiles of each radiograph, to 8 bits",
}
SAMPLINGS = {
    "shuffle": "Each training radiograph was seen once an epoch.",
    "balanced": "Training radiographs were drawn so that all stages were equally frequent.",
    "ages": "Training radiographs were drawn with a probability inverse to the square root of the "
    "frequency of their year of age and sex.",
}


def methods(run: FinishedRun) -> str:
    """Return the methods of a run and its answers to CLAIM 2024, as Markdown.

    Every sentence follows from the folder of the run. What it cannot know is marked "[fill in: ]".
    """
    parts = {
        "Data": _data(run),
        "Preprocessing": _preprocessing(run.metrics["options"]),
        "Model": _model(run),
        "Training": _training(run),
        "Statistics": _statistics(run),
        "Software": _software(run),
    }
    text = "\n\n".join(f"**{name}.** {' '.join(said)}" for name, said in parts.items())
    rows = "\n".join(
        f"| {number} | {item} | {answer} |" for number, (item, answer) in enumerate(_claim(run), 1)
    )
    return (
        f"# Methods\n\n{text}\n\n# CLAIM 2024\n\n{SOURCE}; items in short.\n\n"
        f"| item | topic | answer |\n| --- | --- | --- |\n{rows}\n"
    )


def _data(run: FinishedRun) -> list[str]:
    n, options = run.metrics["n"], run.metrics["options"]
    if run.metrics.get("external"):
        return [_external_data(run), _bone_ages(run), FILL.format(SOURCES)]
    total = sum(int(count) for count in n.values())
    what = f"{total:,} hand radiographs ({run.metrics['data']})"
    if run.metrics.get("synthetic"):
        what = f"{total:,} synthetic hand radiographs, drawn by the software itself"
    return [
        f"We used {what}: {int(n.get('train', 0)):,} for training, {int(n.get('val', 0)):,} for "
        f"validation and {int(n['test']):,} for testing.",
        _split(run, options),
        _bone_ages(run),
        FILL.format(SOURCES),
    ]


def _bone_ages(run: FinishedRun) -> str:
    age = run.predictions["age_years"]
    sexes = run.predictions["sex"].value_counts()
    parts = [f"{count:,} {name}" for name, count in sexes.items()]
    return (
        f"Bone age in the {_tested(run)} had a mean of {age.mean():.1f} years (SD {age.std():.1f}, "
        f"range {age.min():.1f} to {age.max():.1f}); sex: {', '.join(parts)}."
    )


def _tested(run: FinishedRun) -> str:
    return "external set" if run.metrics.get("external") else "test fold"


def _external_data(run: FinishedRun) -> str:
    n, split = run.metrics["n"], run.table("split.csv")
    others = 0 if split.empty else len(split) - int(n["test"])
    rest = f"; {others:,} others of it were not tested" if others else ""
    return (
        f"A model that was trained on {int(n.get('train', 0)):,} radiographs "
        f"({run.metrics.get('trained_on') or FILL.format('name of the data set')}), and chosen on "
        f"{int(n.get('val', 0)):,}, was tested on {int(n['test']):,} radiographs of another data "
        f"set ({run.metrics['data']}){rest}."
    )


def _split(run: FinishedRun, options: Options) -> str:
    by_patient = "patients" in run.metrics
    level = "patient" if by_patient else "radiograph"
    if options.get("data.split_file"):
        return f"The folds were given by a table ({options['data.split_file']})."
    own = [name for name in ("val_table", "test_table") if options.get(f"data.{name}")]
    if own:
        return (
            "Separate tables named the radiographs of "
            + " and ".join(name.removesuffix("_table").replace("val", "validation") for name in own)
            + "."
        )
    folds = int(options.get("data.folds", 10))
    sentence = (
        f"The split was random at the level of the {level}, stratified by bone age and sex "
        f"(seed {options.get('data.split_seed', 0)}): of {folds} parts one was the test fold and "
        "one the validation fold, unless the data set named its own."
    )
    if not by_patient:
        sentence += " No table said which radiographs are of one patient."
    return sentence


def _preprocessing(options: Options) -> list[str]:
    size = options.get("data.size", "?")
    fit = FITS.get(str(options.get("data.fit")), "resized")
    crop = ""
    if options.get("data.crop") == "hand":
        crop = "The hand was found by a small segmentation network and cropped to its outline. "
    return [
        f"{crop}{CONTRASTS.get(str(options.get('data.contrast')), 'Grey values became 8 bits')}.",
        f"Radiographs were {fit} of {size} x {size} pixels.",
    ]


def _model(run: FinishedRun) -> list[str]:
    options = run.metrics["options"]
    backbone = options.get("backbone") or options.get("backbone._target_", "?")
    name = options.get("backbone.name", backbone)
    sentences = [
        f"A convolutional network ({name}) had {run.metrics.get('parameters', 0):,} "
        f"trainable parameters."
    ]
    sexless = str(options.get("sex._target_", options.get("sex"))).endswith(("NoSex", "none"))
    sentences.append(
        "Sex was not an input."
        if sexless
        else "Sex entered as an embedding that was added to the features of the image."
    )
    tasks = sorted({key.split(".")[1] for key in options if key.startswith("tasks.")})
    sentences.append(f"It learned: {', '.join(tasks)}.")
    start = options.get("start_from")
    if start:
        sentences.append(f"Training started from the weights of another model ({start}).")
    elif options.get("backbone.pretrained"):
        sentences.append("The backbone started from ImageNet weights.")
    else:
        sentences.append("Weights were initialised at random.")
    return sentences


def _training(run: FinishedRun) -> list[str]:
    options, metrics = run.metrics["options"], run.metrics
    optimizer = str(options.get("optimizer._target_", "?")).rsplit(".", 1)[-1]
    decay = options.get("optimizer.weight_decay")
    schedule = str(options.get("scheduler", "constant")).replace("_", " ")
    epochs = metrics.get("epochs", "?")
    sentences = [
        f"We trained for {epochs} epochs with {optimizer} (learning rate "
        f"{options.get('optimizer.lr', '?')}"
        + (f", weight decay {decay}" if decay else "")
        + f", schedule: {schedule}) in batches of {options.get('data.batch_size', '?')}.",
        SAMPLINGS.get(str(options.get("data.sampling")), ""),
        _augmentation(options.get("augment.transforms")),
        _losses(options),
        f"The checkpoint with the best {_named(options.get('monitor'))} was tested.",
    ]
    if options.get("callbacks.ema._target_") or str(options.get("callbacks")) == "default":
        sentences.append("Validation and testing used a moving average of the weights.")
    if options.get("mirror_test"):
        sentences.append("Predictions are the mean of each radiograph's and its mirror image's.")
    sentences.append(f"Seed {metrics['seed']}; {metrics.get('device', '?')}.")
    return [sentence for sentence in sentences if sentence]


def _augmentation(transforms: Any) -> str:  # noqa: ANN401 - a list of a config, or its name
    if not isinstance(transforms, list) or not transforms:
        return "Training radiographs were not augmented."
    names = [str(one.get("_target_", "?")).rsplit(".", 1)[-1] for one in transforms]
    return f"Augmentation (albumentations): {', '.join(names)}."


def _losses(options: Options) -> str:
    named = {
        key.split(".")[1]: value
        for key, value in options.items()
        if key.startswith("tasks.") and key.endswith(".loss")
    }
    told = [f"{loss} on {task}" for task, loss in named.items() if isinstance(loss, str)]
    return f"Loss: {', '.join(told)}." if told else ""


def _named(monitor: object) -> str:
    return str(monitor or "loss").removeprefix("val/").replace("/", " ").replace("_", " ") + (
        " of the validation fold"
    )


def _statistics(run: FinishedRun) -> list[str]:
    unit = "patients" if "patients" in run.metrics else "radiographs"
    return [
        f"All metrics are of the {_tested(run)}, with 95 % percentile intervals from "
        f"{DRAWS:,} bootstrap draws of {unit}; shares of exactly 0 or 1 have exact intervals.",
        "They are compared with predictors that see no radiograph: the mean training age, the "
        "median by sex, and the most frequent stage.",
    ]


def _software(run: FinishedRun) -> list[str]:
    versions = run.metrics.get("versions", {})
    return [", ".join(f"{name} {version}" for name, version in versions.items()) + "."]


def _claim(run: FinishedRun) -> list[tuple[str, str]]:
    """Return the topic of each of the 44 items, and what the run answers."""
    options, metrics = run.metrics["options"], run.metrics
    page = "Page of the run (report.html)"
    split = "patient" if "patients" in metrics else "radiograph; patients are not known"
    pretrained = options.get("start_from") or (
        "ImageNet" if options.get("backbone.pretrained") else "random"
    )
    saliency = any(key.startswith("callbacks.grad_cam") for key in options)
    return [
        ("Title names the technology", AUTHORS),
        ("Structured abstract", AUTHORS),
        ("Background and intended use", AUTHORS),
        ("Aims and hypotheses", AUTHORS),
        ("Prospective or retrospective", AUTHORS),
        ("Goal of the study", AUTHORS),
        ("Data sources", f"{metrics['data']}; {AUTHORS}"),
        ("Eligibility", AUTHORS),
        ("Preprocessing", "Preprocessing, above"),
        ("Selection of subsets", _partial(metrics)),
        ("De-identification", AUTHORS),
        ("Missing data", _missing(options)),
        ("Image acquisition", AUTHORS),
        ("Definition of the reference standard", AUTHORS),
        ("Rationale of the reference standard", AUTHORS),
        ("Who annotated", AUTHORS),
        ("Annotation of the test set", AUTHORS),
        ("Variability of readers", AUTHORS),
        ("Assignment to partitions", "Data, above"),
        ("Level of disjointness", split),
        ("Size of the test set", f"{metrics['n']['test']:,}; rationale {AUTHORS}"),
        ("Architecture", "Model, above; Architecture on the page"),
        ("Software", "Software, above"),
        ("Initial weights", str(pretrained)),
        (
            "Training",
            f"Training, above; all options in metrics.json; {metrics.get('command') or ''}",
        ),
        ("Choice of the final model", f"Best {_named(options.get('monitor'))}"),
        ("Ensembles", "One model" if "members" not in metrics else "Mean of several models"),
        ("Metrics", page),
        ("Uncertainty", "Statistics, above"),
        ("Robustness", "boneage stress, if run (stress.csv)"),
        ("Explanations", "Grad-CAM on the page" if saliency else "Not applied"),
        ("Internal testing", AUTHORS if metrics.get("external") else page),
        ("External testing", page if metrics.get("external") else AUTHORS),
        ("Registration of a trial", AUTHORS),
        ("Numbers included and excluded", f"train.log; {AUTHORS}"),
        ("Characteristics by partition", f"Folds on the page; {AUTHORS}"),
        ("Performance, by subgroup too", "metrics.json, subgroups.csv"),
        ("Estimates with intervals", page),
        ("Analysis of failures", "Largest errors and confusion matrix on the page"),
        ("Limitations", f"What these data cannot show, on the page; {AUTHORS}"),
        ("Implications", AUTHORS),
        ("Protocol", AUTHORS),
        ("Availability", AUTHORS),
        ("Funding", AUTHORS),
    ]


def _partial(metrics: Mapping[str, Any]) -> str:
    partial = metrics.get("partial") or []
    return f"The run was kept from all data by {', '.join(partial)}" if partial else "None"


def _missing(options: Options) -> str:
    dropped = [name for name in ("missing", "unreadable") if options.get(f"data.{name}") == "drop"]
    if not dropped:
        return "None: ids without an image or row, and damaged files, end a run"
    return "Left out (train.log has the number): " + " and ".join(dropped)
