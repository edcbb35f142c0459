"""The methods of a run: each sentence follows its options, each number its metrics.json."""

import json
import re
import shutil
from inspect import signature

import pytest
from helpers import compose_config, predictions, write_finished_run
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.errors import UserError
from boneage.evaluation.methods.text import methods, write_methods
from boneage.evaluation.methods.words import join, name_of, without_folders
from boneage.evaluation.run_folder import read_run
from boneage.run.options import options
from boneage.run.results import write_json
from boneage.tasks.age_distribution import AgeDistribution
from boneage.uncertainty.calibration import COVERAGE, MIN_BAND
from boneage.weights import BUILTIN

HOME = "/home/somebody/work"
RSNA = ("data=rsna", f"data.root={HOME}/rsna")
PARAGRAPHS = ("Data", "Preprocessing", "Model", "Training", "Statistics", "Software")


def finished(
    folder, *overrides, n=60, train=1234, val=567, with_stages=False, columns=None, **changes
):
    """Write a run with the options that a command has, without training anything."""
    table = predictions(n=n).assign(id=[f"h{i}" for i in range(n)], **(columns or {}))
    if not with_stages:
        table = table[[c for c in table if "stage" not in c]]
    counts = {"n": {"train": train, "val": val, "test": n}, "data": "rsna"}
    chosen = {"options": options(compose_config(*RSNA, *overrides))}
    return write_finished_run(folder, table, **(counts | chosen | changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs to change: an age alone, and an age and a stage."""
    folder = tmp_path_factory.mktemp("runs")
    return [finished(folder / f"{k}", with_stages=bool(k)) for k in (0, 1)]


@pytest.fixture
def told(tmp_path, runs):
    """Return the paragraphs of a run, and the answers of its checklist by number."""

    def tell(*overrides, with_stages=False, columns=None, **changes):
        folder = tmp_path / "run"
        if columns or "stages" in changes:  # scored
            finished(folder, *overrides, columns=columns, **changes)
        else:
            shutil.copytree(runs[with_stages], folder, dirs_exist_ok=True)
            metrics = json.loads((folder / "metrics.json").read_text())
            chosen = {"options": options(compose_config(*RSNA, *overrides))}
            write_json(folder / "metrics.json", metrics | chosen | changes)
        return parts_of(methods(read_run(folder)))

    return tell


def result(value, low, high, **more):
    return {"value": value, "low": low, "high": high, "n": 60} | more


def covering(value, low, high, **more):
    """Return the coverage of a run whose intervals contain a share of the readings."""
    parts = {"covered": result(value, low, high, **more), "width_months": result(24.0, 23.0, 25.0)}
    return {"all": parts}


def parts_of(text):
    paragraphs = dict(re.findall(r"^\*\*(\w+)\.\*\* (.*)$", text, re.MULTILINE))
    items = re.findall(r"^\| (\d+) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    return paragraphs | {int(number): answer for number, _, answer in items}


def test_every_paragraph_and_item_is_there(told):
    parts = told()
    assert list(parts) == [*PARAGRAPHS, *range(1, 45)]
    assert all(parts.values())
    for name in ("Preprocessing", "Model", "Training", "Statistics", "Software"):
        assert "[fill in" not in parts[name]  # every option of a real config is understood
        assert "None" not in parts[name]
        assert "${" not in parts[name]


def test_numbers_are_those_of_metrics_json(tmp_path):
    coverage = covering(0.912, 0.893, 0.93)
    folder = finished(
        tmp_path / "a", best_validation=0.6543, seed=7, epochs=5, parameters=3456789,
        coverage=coverage,
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    table = predictions(n=60)
    parts = parts_of(methods(read_run(folder)))
    assert metrics["n"] == {"train": 1234, "val": 567, "test": 60}
    assert (
        "We used 1,861 hand radiographs (rsna): 1,234 for training, 567 for validation and 60 for "
        "testing." in parts["Data"]
    )
    age = table["age_years"]
    assert (
        f"mean of {age.mean():.1f} years (SD {age.std():.1f}, range {age.min():.1f} to"
        in (parts["Data"])
    )
    assert f"{(table['sex'] == 'female').sum()} female" in parts["Data"]
    assert "There were 3,456,789 parameters." in parts["Model"]
    assert "Training ran for 5 epochs of at most 8." in parts["Training"]
    assert "lowest MAE in years in the validation fold (0.654)" in parts["Training"]
    assert "The seed was 7." in parts["Training"]
    assert "contained the true age in a share of 0.912 (0.893 to 0.930)" in parts["Statistics"]
    assert f"Prediction intervals of {100 * COVERAGE:.0f} %" in parts["Statistics"]
    assert f"where it has {MIN_BAND} radiographs or more" in parts["Statistics"]
    assert parts["Software"] == "boneage 0."
    assert parts[21].startswith("60 test radiographs; ")


@pytest.mark.parametrize(
    ("paragraph", "overrides", "said", "not_said"),
    [
        ("Preprocessing", [], "resized to 128 x 128 pixels; the aspect ratio was not", "padded"),
        ("Preprocessing", ["data.fit=pad", "data.size=64"], "64 pixels of the longer side", "128"),
        ("Preprocessing", [], "margin of 3 % of its sides", "mapped linearly to 8 bits. Grey"),
        ("Preprocessing", ["data.crop=none"], "percentiles 1 and 99 of the image were", "hand"),
        ("Preprocessing", ["data.contrast=none"], "Grey values were mapped", "percentiles"),
        ("Model", [], "backbone was tf_efficientnet_lite0", "slim_resnet"),
        ("Model", ["backbone=slim_resnet"], "backbone was SlimResNet", "efficientnet"),
        ("Model", ["backbone.enlarge=1.5"], "by a factor of 1.5", ""),
        ("Model", [], "started from ImageNet weights", "initialised at random. All"),
        ("Model", ["backbone.pretrained=false"], "All weights were initialised", "ImageNet"),
        ("Model", ["start_from=builtin"], "weights of the built-in model of boneage", "ImageNet"),
        ("Model", [f"start_from={HOME}/old/checkpoints/best.ckpt"], "weights of old;", "best.ckpt"),
        ("Model", [], "embedding of 16 numbers", "not an input"),
        ("Model", ["sex.drop=0.25"], "at random with probability 0.25", ""),
        ("Model", ["sex.drop=0"], "Sex (female", "hidden at random"),
        ("Model", ["sex=none"], "Sex was not an input.", "embedding"),
        ("Model", [], "a head with a hidden layer of 128 units.", "stage"),
        ("Model", ["tasks.age.hidden=[]", "tasks.age.dropout=[]"], "by a linear head", "hidden l"),
        ("Model", ["task=multitask"], "adolescent, 10 to under 18; adult, 18 or older)", ""),
        ("Model", ["task=sex"], "sex was predicted as one of two", "Sex (female"),
        ("Training", [], "AdamW with a learning rate of 0.001 and a weight decay", "momentum"),
        ("Training", ["optimizer=sgd"], "SGD with a learning rate of 0.05, a momentum", "Adam"),
        ("Training", [], "rose linearly over the first 5 % of the steps", "stayed"),
        ("Training", ["scheduler=constant"], "The learning rate stayed the same.", "cosine"),
        (
            "Training",
            [],
            "inverse square root of the number of radiographs of its sex and year",
            "Each epoch had e",
        ),
        ("Training", ["data.sampling=shuffle"], "each training radiograph once", "draws"),
        ("Training", ["data.sampling=balanced"], "all stages equally often", "square root"),
        ("Training", [], "HorizontalFlip (p 0.5); Affine (rotate -15 to 15,", "not augmented"),
        ("Training", ["augment=none"], "Training radiographs were not augmented.", "Flip"),
        ("Training", [], "stop after 15 validations without a better MAE in years", ""),
        ("Training", ["~callbacks.early_stopping"], "Training ran", "It was to stop"),
        ("Training", [], "moving average of the weights with a decay of at most 0.99", ""),
        ("Training", ["callbacks.ema.decay=0.9"], "at most 0.9 a step", "0.99"),
        ("Training", ["callbacks=no_ema"], "lowest MAE", "moving average"),
        ("Training", ["~callbacks.ema"], "lowest MAE", "moving average"),
        ("Training", [], "weights of the epoch with the lowest MAE", "of the step with"),
        ("Training", ["trainer.val_check_interval=9"], "of the step with the lowest MAE", ""),
        ("Training", [], "its mirror image", "frozen"),
        ("Training", ["callbacks=frozen_backbone"], "backbone was frozen, except for", "for the f"),
        (
            "Training",
            ["callbacks=frozen_backbone", "callbacks.freeze.unfreeze_backbone_at_epoch=3"],
            "The backbone was frozen for the first 3 epochs, except for its batch normalisation.",
            "fill in",
        ),
        ("Training", ["mirror_test=false"], "were tested", "mirror"),
        ("Training", [], "smooth L1 loss (beta 0.1) in standard deviations", "cross-entropy"),
        ("Training", ["start_from=builtin"], "(beta 0.1) in standardised units", "deviations of"),
        ("Model", ["start_from=builtin"], "on standardised ages, by a head", "training fold"),
        ("Training", ["loss=huber"], "the Huber loss (delta 0.1)", "smooth"),
        ("Training", ["loss=mse"], "was the squared error in standard deviations", "smooth"),
        ("Training", ["loss=l1"], "was the absolute error in", "smooth"),
        ("Training", ["task=classification"], "stage was the cross-entropy. The", "of the age"),
        ("Training", ["task=classification", "tasks.stage.balance=0.5"], "to the power 0.5", ""),
        ("Training", ["task=classification", "tasks.stage.focal=2"], "focal with exponent 2", ""),
        ("Training", ["task=classification"], "lowest loss of the stage in the val", "MAE"),
        ("Training", ["task=sex"], "binary cross-entropy of radiographs of known", "smooth"),
        ("Training", [], "loss of the age", "total loss"),
        ("Training", ["task=multitask"], "weighted sum of these (age 1 and stage 1)", "learned ("),
        ("Training", ["task=multitask", "tasks.age.weight=3"], "(age 3 and stage 1)", ""),
        ("Training", ["task=multitask", "weighting=uncertainty"], "ing with age 1 and", "sum of"),
        ("Training", ["task=multitask", "weighting=loss_scale"], "its running mean", "Kendall"),
        ("Training", ["data.soft_targets=/x/y.csv"], "a share of 0.5 in the age", "y.csv"),
        ("Training", ["data.batch_size=8"], "A batch had 8 radiographs per device.", "batches"),
        ("Training", ["trainer.accumulate_grad_batches=4"], "each step 4 batches", ""),
        ("Training", ["trainer.devices=1"], "A batch had 32 radiographs.", "per device"),
        ("Training", ["precision=bf16-mixed"], "mixed precision (bfloat16)", "single"),
        ("Training", ["trainer.precision=bf16-mixed"], "mixed precision (bfloat16)", "single"),
        ("Training", ["precision=32"], "Training used single precision.", "mixed"),
        ("Training", ["trainer.gradient_clip_val=null"], "single precision", "norm"),
        ("Training", [], "The norm of the gradient was limited to 1.", "Each value"),
        ("Training", ["+trainer.gradient_clip_algorithm=value"], "Each value of the gr", "norm"),
        (
            "Training",
            ["trainer.max_steps=70"],
            "limited to 70 steps: its last epoch may be incomplete.",
            "",
        ),
        ("Training", [], "of at most 8", "It was limited"),
        ("Training", ["ckpt_path=/x/last.ckpt"], "another run, whose schedule gave the lea", ""),
        ("Training", [], "The learning rate rose", "It continued"),
        (
            "Training",
            ["trainer.max_time=01:00:30:00"],
            "a time of 1 day and 30 minutes: its la",
            "hour",
        ),
        (
            "Training",
            ["trainer.max_time={hours:2}"],
            "limited to a time of 2 hours: its last",
            "days",
        ),
        ("Data", [], "part 1 of 10 equal parts was the test fold", "sample of"),
        ("Data", ["data.folds=5", "data.fold=2"], "part 3 of 5 equal parts", "of 10"),
        ("Data", ["data.split_seed=9"], "sex (seed 9)", "seed 0"),
        ("Data", ["data.split_file=/x/split.csv"], "A table (split.csv) assigned", "random"),
        ("Data", ["data.test_table=t.csv"], "named the test fold (t.csv). The split", "part 1"),
        ("Data", ["data.test_table=t.csv", "data.val_table=v.csv"], "fold (v.csv).", "random"),
        ("Data", ["data.hold_out=/x/boxes.csv"], "named in boxes.csv, and all others", ""),
        ("Data", ["data.train_films=1234"], "a sample of 1,234 radiographs, stratified", ""),
    ],
)
def test_a_sentence_follows_the_options(told, paragraph, overrides, said, not_said):
    parts = told(*overrides, with_stages="task=multitask" in overrides)
    assert said in parts[paragraph]
    assert not not_said or not_said not in parts[paragraph]
    if paragraph != "Data":
        assert "[fill in" not in parts[paragraph]


def test_a_distribution_of_ages_and_ordered_stages(told):
    age = "tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution"
    stage = "tasks.stage._target_=boneage.tasks.ordinal.OrdinalStages"
    sigma = ("+tasks.age.sigma=5", "+tasks.age.share=0.3")
    parts = told("task=multitask", age, stage, *sigma, with_stages=True)
    assert "as the expectation of a distribution over months" in parts["Model"]
    assert "as one maturity with learned thresholds" in parts["Model"]
    assert (
        "0.3 times the cross-entropy with a normal distribution around the true age (SD 5"
        in (parts["Training"])
    )
    assert "plus 0.7 times the smooth L1 loss" in parts["Training"]


def test_a_distribution_of_ages_has_the_defaults_of_its_class(told):
    said = told("tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution")["Training"]
    defaults = signature(AgeDistribution).parameters
    share, sigma = defaults["share"].default, defaults["sigma"].default
    assert f"The loss of the age was {share:g} times the cross-entropy" in said
    assert f"(SD {sigma:g} months) plus {1 - share:g} times the smooth L1 loss" in said


def test_stages_are_those_of_the_run(told):
    stages = {"names": ["young", "old"], "edges": [9.5]}
    parts = told("task=classification", stages=stages)
    assert "The stage (young, under 9.5 years; old, 9.5 or older)" in parts["Model"]
    assert "as one of 2 classes" in parts["Model"]


def test_intervals_are_told_as_they_are_fitted(told):
    said = told(coverage=covering(0.91, 0.85, 0.95))["Statistics"]
    assert f"Prediction intervals of {100 * COVERAGE:.0f} %" in said
    assert f"where it has {MIN_BAND} radiographs or more" in said


def test_a_coverage_without_an_interval_has_no_brackets(told):
    parts = told(coverage=covering(0.5, None, None, patients=1))
    assert "a share of 0.500 of the test radiographs. The epoch" in parts["Statistics"]


def test_a_single_stage_has_no_edge(told):
    parts = told("task=regression", stages={"names": ["all"], "edges": []})
    assert "Stages were derived from the predicted age: all, all ages." in parts["Statistics"]


def test_a_task_of_ones_own_is_for_the_authors(told):
    parts = told("+tasks.toy._target_=mine.Toy")
    assert "[fill in: what the task toy predicts]" in parts["Model"]
    said = "The loss of the task toy was that of mine.Toy [fill in: the loss of the task toy]."
    assert said in parts["Training"]


def test_a_class_of_ones_own_is_not_taken_for_one_of_the_same_name(told):
    parts = told(
        "task=multitask",
        "tasks.age._target_=mine.AgeRegression",
        "loss._target_=mine.SmoothL1Loss",
        "sex._target_=mine.SexEmbedding",
        "optimizer._target_=mine.AdamW",
        "scheduler._target_=mine.warmup_cosine",
        "weighting._target_=mine.FixedWeighting",
        "augment.transforms=[{_target_:mine.GaussNoise}]",
        with_stages=True,
    )
    training = parts["Training"]
    assert "[fill in: what the task age predicts]" in parts["Model"]
    assert "[fill in: whether and how the sex is an input]" in parts["Model"]
    assert "[fill in: the loss of the task age]" in training
    assert "The learning rate followed mine.warmup_cosine [fill in: schedule]." in training
    assert "of mine.FixedWeighting [fill in: how the losses were combined]." in training
    assert "The optimizer was mine.AdamW with" in training
    assert "Augmentation (albumentations): mine.GaussNoise." in training
    alone = told("loss._target_=mine.SmoothL1Loss")["Training"]
    assert "The loss of the age was mine.SmoothL1Loss [fill in: the loss of the age]." in alone


def test_a_callback_of_ones_own_is_for_the_authors(told):
    training = told("+callbacks.prune._target_=mine.Prune")["Training"]
    assert training.count("[fill in: what the callback") == 1
    assert "[fill in: what the callback Prune did]" in training


def test_known_patients_are_told(told):
    unknown = told()
    assert "at the level of the radiograph" in unknown["Data"]
    assert "of one patient could not be identified" in unknown["Data"]
    assert "bootstrap draws of radiographs" in unknown["Statistics"]
    assert unknown[20] == "Radiograph; patients are not known"
    known = told(columns={"patient": [f"p{i // 2}" for i in range(60)]})
    assert "The 60 test radiographs are of 30 patients." in known["Data"]
    assert "at the level of the patient" in known["Data"]
    assert "not known" not in known["Data"]
    assert "bootstrap draws of patients" in known["Statistics"]
    assert known[20] == "Patient"


def test_a_site_as_the_test_fold(told):
    parts = told("data.folds=site", columns={"site": "Bern"}, subgroups=["site"])
    assert "The test fold was the site Bern; about a tenth" in parts["Data"]
    assert "of a site without training radiographs" in parts[33]
    assert told()[33] == "[fill in]"


def test_partial_runs_say_so(told):
    parts = told(partial=["trainer.limit_train_batches=2"])
    assert parts["Data"].startswith(
        "This run did not use all data (trainer.limit_train_batches=2): its numbers are not"
    )
    assert "limit_train_batches=2" in parts[10]
    assert "did not use all data" not in told()["Data"]


def test_synthetic_radiographs_say_so(told):
    parts = told(synthetic=True, data="phantom")
    assert "1,861 synthetic hand radiographs that the software had drawn" in parts["Data"]
    assert "[fill in" not in parts["Data"]
    assert "who read the bone ages" in told()["Data"]


def test_the_sample_names_what_it_is_of(tmp_path):
    folder = finished(tmp_path / "a", "data.train_films=3", n=5, train=3, val=1)
    folds = ["train"] * 3 + ["unused"] * 4 + ["val"] + ["test"] * 5
    rows = "\n".join(f"x{i},{fold},9,male" for i, fold in enumerate(folds))
    (folder / "split.csv").write_text(f"id,fold,age_years,sex\n{rows}\n")
    assert "a sample of 3 of 7 radiographs" in parts_of(methods(read_run(folder)))["Data"]


def test_stages_read_off_the_age(told):
    assert "Stages were derived from the predicted age: child, under 10 y" in told()["Statistics"]
    multitask = told("task=multitask", with_stages=True)
    assert "derived from" not in multitask["Statistics"]


def test_a_run_that_ended_before_its_schedule_tells_its_last_learning_rate(tmp_path):
    said = []
    for last in ("0.0", "3.38e-05"):
        folder = finished(tmp_path / last)
        (folder / "history.csv").write_text(f"epoch,learning_rate\n0,0.001\n1,{last}\n")
        said.append(parts_of(methods(read_run(folder)))["Training"])
    assert "along half a cosine. A batch" in said[0]
    assert "along half a cosine. It was 3.4e-05 when training ended. A batch" in said[1]


def test_a_run_that_validated_nothing(told):
    parts = told(best_validation=None)
    assert "No epoch was validated: the weights after the last step" in parts["Training"]
    assert parts[26].startswith("No epoch was validated")


def test_a_test_of_a_finished_model_tells_no_training(told):
    path = f"{HOME}/best/checkpoints/best.ckpt"
    parts = told("train=false", f"ckpt_path={path}", "data.train_films=9")
    assert parts["Training"].startswith("This run only tested a finished model (best). [fill in:")
    assert "AdamW" not in parts["Training"]
    assert "It had been trained on 1,234 radiographs, and 567 others" in parts["Data"]
    assert "a sample" not in parts["Data"]
    assert parts[26] == "[fill in]"


def test_the_tested_model_of_the_package_has_its_name_wherever_it_was_installed(told):
    for place in ("/elsewhere/site-packages", str(BUILTIN.parents[2])):
        said = told("train=false", f"ckpt_path={place}/boneage/weights/rsna.onnx")["Training"]
        assert said.startswith("This run only tested a finished model (the built-in model of b")


def test_an_ensemble_says_in_what_its_models_differ(told):
    differing = ["optimizer", "optimizer._target_", "optimizer.lr", "seed", "data.root"]
    said = told(ensemble=["a", "b"], differing=differing)["Training"]
    assert "first model. The models differ in these options: optimizer and seed. T" in said
    assert "[fill in" not in said
    same = told(ensemble=["a", "b"], differing=["data.root"])["Training"]
    assert "All models had the same options." in same
    older = told(ensemble=["a", "b"])["Training"]
    assert "[fill in: how the others differ" in older


def test_an_ensemble_says_what_is_averaged(told):
    parts = told(ensemble=[f"{HOME}/a", f"{HOME}/b"], coverage=covering(0.9, 0.8, 1.0))
    assert "We combined 2 models and tested them on 60 hand radiographs" in parts["Data"]
    assert "parameters of all models together" in parts["Model"]
    assert parts["Training"].startswith("The following describes the first model.")
    assert "conformal" not in parts["Statistics"]  # those of the first model alone
    assert parts[27] == "2 models: the mean over those that had the radiograph in their test fold"
    assert told()[27] == "One model"


def test_an_ensemble_of_tests_names_no_single_model(told):
    test = ("train=false", f"ckpt_path={HOME}/a/best.ckpt")
    parts = told(*test, ensemble=["a", "b"], external=True, differing=["sex", "ckpt_path"])
    assert parts["Training"].startswith("These runs only tested finished models. [fill in: their")
    assert "are those of the first. The models differ in these options: sex." in parts["Training"]
    assert "of the first" not in told(*test)["Training"]
    assert "equal parts" not in parts["Data"]


def test_readers_and_subgroups_are_told(told):
    measured = result(0.9, 0.8, 1.0)
    report = {
        "names": ["ann", "ben"], "margin_months": 1.5, "comparisons": [], "left_out": {},
        "agreement": {}, "sd_months": measured, "icc": measured,
        "perfect_mae_months": {"one_reading": measured, "mean_of_readings": measured},
    }  # fmt: skip
    parts = told(readers=["ann", "ben"], readers_report=report, subgroups=["site", "device"])
    assert "ICC(2,1)" in parts["Statistics"]
    assert "below a margin of 1.5 months" in parts["Statistics"]
    assert "not be compared" not in parts["Statistics"]
    assert "computed by site and device." in parts["Statistics"]
    assert "permutation" not in parts["Statistics"]  # no column, so that nothing was compared
    assert "wider for samples of fewer than 100" in parts["Statistics"]
    one = told(readers_report=report | {"margin_months": 1, "left_out": {"cem": 4}})["Statistics"]
    assert "below a margin of 1 month." in one
    assert "cem shared fewer than 10 test radiographs with the other readers and could not" in one
    assert "the mean of the readers (ann, ben)" in parts[14]
    assert "ICC" not in told()["Statistics"]


def test_intervals_that_are_no_bootstrap_percentiles_are_told(told):
    said = "balanced accuracy and macro F1, which are means of shares of the stages, are widened"
    assert said in told()["Statistics"]
    area = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 60}
    assert said not in told(test={"sex/auroc": area}, baselines={})["Statistics"]


def test_only_columns_with_two_large_levels_are_said_to_be_compared(told):
    columns = {"site": ["Bern", "Cali"] * 30, "device": ["GE"] * 41 + ["Agfa"] * 19}
    said = told(columns=columns, subgroups=["site", "device"])["Statistics"]
    assert "computed by site and device. All pairs of the levels of site with 20" in said
    assert "radiographs or more were compared in their MAE;" in said
    assert "permutation test with 2,000 draws" in said


def test_only_baselines_of_the_run_are_told(told):
    result = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 60}
    parts = told(test={"sex/auroc": result})
    assert "use no radiograph: the share of boys of the training fold." in parts["Statistics"]
    said = "the median age of each sex and the most frequent stage of the training fold."
    assert said in told()["Statistics"]
    pooled = told(ensemble=["a", "b"])["Statistics"]
    assert f"{said[:-1]} of the first model tested on each radiograph." in pooled


def test_no_folder_of_a_machine_is_told(tmp_path):
    path = f"{HOME}/old/best.ckpt"
    command = f"python train.py data=rsna data.root={HOME}/rsna start_from={path} seed=2"
    folder = finished(
        tmp_path / "a", f"start_from={path}", f"data.hold_out={HOME}/boxes.csv",
        f"data.soft_targets={HOME}/teacher.csv", f"data.split_file={HOME}/split.csv",
        f"data.cache_dir={HOME}/cache", command=command,
    )  # fmt: skip
    text = methods(read_run(folder))
    assert "somebody" not in text
    assert str(tmp_path) not in text
    assert "`python train.py data=rsna data.root=rsna start_from=best.ckpt seed=2`" in text


def test_absolute_paths_are_cut_to_names():
    command = (
        "python train.py data.root='\"/a/b c/d e\"' 'data.x=[/a/b,c/d,~/e]' y=C:/u/v k=a/b z=/q/ "
        "hydra.searchpath=[file:///home/me/conf,pkg://mine.conf]"
    )
    assert without_folders(command) == (
        "python train.py 'data.root=\"d e\"' 'data.x=[b,c/d,e]' y=v k=a/b z=q "
        "'hydra.searchpath=[conf,pkg://mine.conf]'"
    )
    assert name_of("C:\\Users\\me\\split.csv") == "split.csv"
    assert name_of("/runs/best/checkpoints/last.ckpt") == "best"
    assert [join(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip


def test_what_is_in_the_folder_is_answered(tmp_path):
    folder = finished(tmp_path / "a")
    before = parts_of(methods(read_run(folder)))
    assert (before[30], before[31]) == ("[fill in]; boneage stress measures it", "None")
    (folder / "stress.csv").touch()
    (folder / "gradcam").mkdir()
    (folder / "gradcam/age_test.png").touch()
    after = parts_of(methods(read_run(folder)))
    assert after[30].startswith("stress.csv")
    assert after[31].startswith("Grad-CAM maps")


def test_missing_data(told):
    refused = "None; the software refuses: ids without an image, images without a row, damaged"
    assert told()[12].startswith(refused)
    parts = told("data.missing=drop")
    assert parts[12] == (
        "Left out (train.log has the number): ids without an image, images without a row. "
        "None; the software refuses: damaged files"
    )
    parts = told(columns={"label_height_cm": [120.0, None] * 30})
    assert "30 test radiographs without height_cm" in parts[12]


def test_training_radiographs_without_a_label_are_said(told):
    said = told(train_labels={"height": 900})["Training"]
    assert "900 of 1,234 training radiographs had the label of the task height. Its loss" in said
    assert "had the label" not in told()["Training"]


def test_a_run_of_an_older_version_leaves_it_to_the_authors(tmp_path):
    table = predictions(n=30).assign(id=[f"h{i}" for i in range(30)])
    parts = parts_of(methods(read_run(write_finished_run(tmp_path / "a", table))))
    for said in ("[fill in: optimizer", "[fill in: sampling]", "[fill in: augmentation]"):
        assert said in parts["Training"]
    assert "not augmented" not in parts["Training"]
    assert "[fill in: how the radiographs were assigned" in parts["Data"]


def test_the_command_writes_the_file_alone(tmp_path):
    folder = finished(tmp_path / "a")
    for _ in range(2):
        result = CliRunner().invoke(app, ["report", str(folder), "--methods"])
        assert result.output.split() == ["Wrote", str(folder / "methods.md")]
    assert (folder / "methods.md").read_text() == methods(read_run(folder))
    assert not (folder / "report.html").exists()
    assert not (folder / "figures").exists()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    folder = finished(tmp_path / "a")
    (folder / "methods.md").mkdir()
    said = r"methods\.md cannot be written \(Is a directory\): when this is fixed, repeat"
    with pytest.raises(UserError, match=said):
        write_methods(folder)


def test_what_somebody_filled_in_is_not_written_over(tmp_path):
    folder = finished(tmp_path / "a")
    file = write_methods(folder)
    file.write_text(file.read_text().replace("[fill in]", "mine", 1))
    with pytest.raises(UserError, match=r"methods\.md is there already with another text: rename"):
        write_methods(folder)
    assert "mine" in file.read_text()


def test_a_loss_without_weights_is_told(told, runs):
    known = json.loads((runs[1] / "metrics.json").read_text())["options"]
    own = {"tasks.stage._target_": "boneage.tasks.classification.StageClassification"}
    parts = told(with_stages=True, options=known | own | {"tasks.stage.balance": None})
    assert "The loss of the stage was the cross-entropy." in parts["Training"]
