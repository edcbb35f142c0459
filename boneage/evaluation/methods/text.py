"""The methods of a run as text for a paper: every sentence follows from the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boneage.data.atomic import AGAIN, write_file, writing
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.readings import LEAST_SHARED
from boneage.errors import UserError, plural
from boneage.evaluation.gaps import compared_columns, errors_of
from boneage.evaluation.intervals import DRAWS, WIDENED_BELOW
from boneage.evaluation.methods.checklist import claim
from boneage.evaluation.methods.network import describe_model, describe_preprocessing, stages_of
from boneage.evaluation.methods.training import describe_training
from boneage.evaluation.methods.words import (
    fill_in,
    is_ensemble,
    is_test_alone,
    join,
    name_of,
    tests_all,
)
from boneage.evaluation.numbers import FEW, in_months, with_limits
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.run_files import SPLIT

FILE = "methods.md"


def write_methods(run_dir: Path) -> Path:
    """Write the methods of a finished run into its folder, and return the file.

    Raises:
        UserError: when the run is not finished, its folder cannot be written, or has another text
            of this name, which somebody may have filled in.
    """
    run = read_run(run_dir)
    file, text = run.path / FILE, methods(run)
    with writing(file, AGAIN):
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{file} is there already with another text: rename it to keep it, or remove it"
            )
        write_file(file, text)
    return file


def methods(run: FinishedRun) -> str:
    """Return the methods of a run and its answers to CLAIM 2024, as Markdown.

    What the folder of a run cannot tell is marked "[fill in: ...]".
    """
    parts = {
        "Data": _data(run),
        "Preprocessing": describe_preprocessing(run.metrics["options"]),
        "Model": describe_model(run),
        "Training": describe_training(run),
        "Statistics": _statistics(run),
        "Software": _software(run),
    }
    text = "\n\n".join(f"**{name}.** {' '.join(filter(None, s))}" for name, s in parts.items())
    return f"# Methods\n\n{text}\n\n{claim(run)}"


def _data(run: FinishedRun) -> list[str]:
    metrics = run.metrics
    sentences = [_partial(metrics.get("partial") or []), _radiographs(run)]
    if "patients" in metrics:
        tested = plural(int(metrics["n"]["test"]), "test radiograph")
        sentences.append(f"The {tested} are of {plural(int(metrics['patients']), 'patient')}.")
    sentences += [_split(run), _held_out(metrics["options"]), _sample(run)]
    age, sexes = run.predictions["age_years"], run.predictions["sex"].value_counts()
    spread = f"SD {age.std():.1f}, " if len(age) > 1 else ""
    counts = join([f"{count:,} {sex}" for sex, count in sexes.items()])
    sentences.append(
        f"Bone age in the test fold had a mean of {age.mean():.1f} years ({spread}range "
        f"{age.min():.1f} to {age.max():.1f}); by sex: {counts}."
    )
    if not metrics.get("synthetic"):
        sentences.append(
            fill_in(
                "source and dates of the radiographs, eligibility, ethical approval, and who read "
                "the bone ages by which method"
            )
        )
    return sentences


def _partial(partial: list[str]) -> str:
    if not partial:
        return ""
    return f"This run did not use all data ({', '.join(partial)}): its numbers are not results."


def _radiographs(run: FinishedRun) -> str:
    n = {fold: int(run.metrics["n"].get(fold, 0)) for fold in ("train", "val", "test")}
    what, source = "hand radiograph", f"({run.metrics['data']})"
    if run.metrics.get("synthetic"):
        what, source = "synthetic hand radiograph", "that the software had drawn"
    if is_ensemble(run):
        return (
            f"We combined {plural(len(run.metrics['ensemble']), 'model')} and tested them on "
            f"{plural(n['test'], what)} {source}: the prediction of each is the mean "
            f"over the models that had it in their test fold. The first model had "
            f"{plural(n['train'], 'radiograph')} for training and {n['val']:,} for validation."
        )
    if is_test_alone(run):
        elsewhere = ""
        if run.metrics.get("external"):
            trained_on = run.metrics.get("trained_on") or fill_in("name of the data set")
            drawn = ", synthetic hands" * bool(run.metrics.get("trained_on_synthetic"))
            elsewhere = f" of another data set ({trained_on}{drawn})"
        return (
            f"We tested a finished model on {plural(n['test'], what)} {source}. It had been "
            f"trained on {plural(n['train'], 'radiograph')}{elsewhere}, and "
            f"{plural(n['val'], 'other')} had served for validation; "
            "none of these is in the test fold."
        )
    return (
        f"We used {plural(sum(n.values()), what)} {source}: {n['train']:,} for training, "
        f"{n['val']:,} for validation and {n['test']:,} for testing."
    )


def _split(run: FinishedRun) -> str:
    options = run.metrics["options"]
    if run.metrics.get("external"):
        return _external_split(run)
    if split_file := options.get("data.split_file"):
        return f"A table ({name_of(split_file)}) assigned the radiographs to the folds."
    folds, seed = options.get("data.folds"), options.get("data.split_seed")
    if folds is None:
        return fill_in("how the radiographs were assigned to the folds")
    level = "patient" if "patients" in run.metrics else "radiograph"
    how = f"at the level of the {level}, stratified by bone age and sex (seed {seed})"
    unknown = "" if level == "patient" else " Radiographs of one patient could not be identified."
    if folds == "site":
        sites = sorted(set(run.predictions.get("site", [])))
        site = f"the site {sites[0]}" if len(sites) == 1 else "one site"
        which = "each of the sites in turn" if is_ensemble(run) else site
        return (
            f"The test fold was {which}; about a tenth of the radiographs of the other sites was "
            f"drawn at random {how} for validation.{unknown}"
        )
    named = {"test": options.get("data.test_table"), "validation": options.get("data.val_table")}
    tables = [f"the {fold} fold ({name_of(table)})" for fold, table in named.items() if table]
    said = f"A separate table named {' and another one '.join(tables)}. " if tables else ""
    drawn = []
    if not named["test"]:
        part = "one" if is_ensemble(run) else f"part {int(options.get('data.fold', 0)) + 1}"
        drawn.append(f"{part} of {folds} equal parts was the test fold")
    if not named["validation"]:
        drawn.append("about a tenth of all radiographs was the validation fold")
    if not drawn:
        return f"{said.strip()}{unknown}"
    own = fill_in(
        "if the data set has a validation or test table of its own, that was the fold instead"
    )
    asked = "" if tables or run.metrics.get("synthetic") else f" {own}"
    return f"{said}The split was random {how}: {join(drawn)}.{asked}{unknown}"


def _external_split(run: FinishedRun) -> str:
    """Say which radiographs were tested; the run that trained describes the training split."""
    tested = fill_in("which radiographs of this data set were tested")
    if tests_all(run):
        tested = "All radiographs of this data set were tested."
    own = fill_in(
        "how the radiographs of the training were split, which boneage report --methods writes for "
        "the run that trained"
    )
    return f"{tested} {own}"


def _held_out(options: Mapping[str, Any]) -> str:
    if not (table := options.get("data.hold_out")):
        return ""
    return (
        f"The radiographs named in {name_of(table)}, and all others of their patients where these "
        "are known, were test radiographs whatever the split."
    )


def _sample(run: FinishedRun) -> str:
    """Say that the training fold was made smaller, and from what where that is written down."""
    options = run.metrics["options"]
    if options.get("data.train_films", "all") == "all" or is_test_alone(run):
        return ""
    split = run.table(SPLIT)
    whole = int(split["fold"].isin(["train", "unused"]).sum()) if len(split) else 0
    of = f" of {whole:,}" if whole and not options.get("data.split_file") else ""
    return (
        f"Of the training fold we used a sample of {int(options['data.train_films']):,}{of} "
        "radiographs, stratified by bone age and sex."
    )


def _statistics(run: FinishedRun) -> list[str]:
    metrics, predictions = run.metrics, run.predictions
    unit = "patients" if "patients" in metrics else "radiographs"
    sentences = [
        "All metrics are of the test fold. They have 95 % percentile intervals from "
        f"{DRAWS:,} bootstrap draws of {unit}; a share of exactly 0 or 1 has the exact "
        "(Clopper-Pearson) interval.",
    ]
    if any("/balanced_accuracy" in name for name in metrics["test"]):
        sentences.append(
            "The intervals of balanced accuracy and macro F1, which are means of shares of the "
            "stages, are widened to match (Zou & Donner 2008)."
        )
    if "stage_predicted" not in predictions and PREDICTED_AGE in predictions:
        sentences.append(f"Stages were derived from the predicted age: {stages_of(run.stages)}.")
    sentences.append(_baselines(run))
    for column, count in metrics.get("not_finite", {}).items():
        sentences.append(
            f"The prediction of {plural(count, 'test radiograph')} was not finite ({column}); this "
            "output has no metrics."
        )
    if (share := metrics.get("coverage", {}).get("all")) is not None and not is_ensemble(run):
        covered = share["covered"]
        sentences.append(
            "Prediction intervals of 90 % are the predicted age plus or minus a "
            "quantile of the absolute errors of the validation fold (split conformal prediction), "
            "by band of the predicted age where it has 50 radiographs or more. They "
            f"contained the true age in a share of {with_limits(covered)} of the test radiographs. "
            "The epoch had been chosen on the same validation fold."
        )
    return [*sentences, *_readers(metrics), *_subgroups(run)]


def _baselines(run: FinishedRun) -> str:
    if not run.metrics["baselines"]:
        return ""
    groups = {name.partition("/")[0] for name in run.metrics["test"]}
    fold = "the training fold" + " of the first model" * is_ensemble(run)
    ages = ["the mean age", "the median age of each sex"]
    if "best_constant" in run.metrics["baselines"]:  # the training fold is unknown
        groups.discard("sex")
        fold, ages = "the test fold", ["the median age"]
    used = [
        *(ages if "age" in groups else []),
        *(["the most frequent stage"] if "stage" in groups else []),
        *(["the share of boys"] if "sex" in groups else []),
    ]
    return (
        f"We compared them with predictions that use no radiograph: {join(used)} of {fold}."
    ) * bool(used)


def _readers(metrics: Mapping[str, Any]) -> list[str]:
    """Say how several readers were compared."""
    report = metrics.get("readers_report")
    if report is None:
        return []
    sentences = [
        f"{len(report['names'])} readers were compared. The MAE and bias of each are against the "
        "mean of the other readers of the same radiographs. The SD of one reading is from the "
        "differences within radiographs, and ICC(2,1) from a two-way random model of absolute "
        "agreement (Shrout & Fleiss 1979; McGraw & Wong 1996)."
    ]
    if left_out := report.get("left_out"):
        sentences.append(
            f"{join(list(left_out))} shared fewer than {LEAST_SHARED} test radiographs with the "
            "other readers and could not be compared."
        )
    if "comparisons" in report:
        sentences.append(
            "The model was compared with each reader by the paired difference of their MAEs "
            "against the other readers. It counts as no worse if the upper limit of the 95 % "
            f"interval is below a margin of {in_months(report['margin_months'])}. This interval is "
            f"a bootstrap interval, wider for samples of fewer than {WIDENED_BELOW} "
            "(Hesterberg 2015)."
        )
    return sentences


def _subgroups(run: FinishedRun) -> list[str]:
    """Say by which columns results were computed, and of which the levels were compared."""
    columns = run.metrics.get("subgroups", [])
    if not columns:
        return []
    said = [f"Results were also computed by {join(columns)}."]
    errors, compared = errors_of(run.predictions), compared_columns(run.predictions, columns)
    if errors and compared:
        unit = "patients" if "patients" in run.metrics else "radiographs"
        said.append(
            f"All pairs of the levels of {join(compared)} with {FEW} {unit} or more were compared "
            f"in their {errors.name}; the p value of the clearest difference of a column is of a "
            f"permutation test with {DRAWS:,} draws, corrected for all of its pairs (Westfall & "
            "Young 1993)."
        )
    return said


def _software(run: FinishedRun) -> list[str]:
    versions = run.metrics.get("versions")
    if not versions:
        return [fill_in("versions of the software")]
    return [", ".join(f"{name} {version}" for name, version in versions.items()) + "."]
