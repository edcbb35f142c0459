"""Tests on another data set than the checkpoint's: what is tested, refused, compared and said."""

import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import TINY, Page, compose_config
from hydra.types import RunMode
from scipy.stats import binomtest, t

from boneage.data.phantom import write_phantom
from boneage.data.splits import assign_folds
from boneage.errors import UserError
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.comparison.tables import print_comparison
from boneage.evaluation.methods.text import methods
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.tables import bias_rows
from boneage.evaluation.run_folder import read_run
from boneage.predict.export import export
from boneage.run.checkpoint import config_of_test, read_checkpoint
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.run.external import _is_of_phantom
from boneage.run.options import options
from boneage.run.resume import check_same

MODEL = ("task=multitask", "data.crop=hand", "data.contrast=stretch")
HANDLESS = "ward-100001"


def write_set(folder, table, images):
    """Write a data set of JPEG files from phantoms, with half of their contrast."""
    folder.mkdir(exist_ok=True)
    for id_, source in zip(table["id"], images, strict=True):
        image = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / f"{id_}.jpg"), (40 + image / 2).astype(np.uint8))
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """15 hands of another hospital, on the first of which there is none."""
    phantom = write_phantom(tmp_path_factory.mktemp("drawn"), n=15, size=64, seed=5)
    table = pd.read_csv(phantom / "boneage-training-dataset.csv")
    images = [phantom / f"boneage-training-dataset/{id_}.png" for id_ in table["id"]]
    table["id"] = "ward-" + table["id"].astype(str)
    folder = write_set(tmp_path_factory.mktemp("hospital") / "Bern", table, images)
    slope = np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (80, 1))
    cv2.imwrite(str(folder / f"{HANDLESS}.jpg"), slope)
    return folder


@pytest.fixture(scope="module")
def run(trained):
    return trained(*MODEL)


def configured(run, root, run_dir, *overrides):
    ckpt = f"ckpt_path={run}/checkpoints/best.ckpt"
    options = ["data=rsna", "train=false", ckpt, f"data.root={root}", f"run_dir={run_dir}"]
    run_dir.mkdir(parents=True, exist_ok=True)
    return compose_config(*TINY, *MODEL, *options, *overrides)


def test_an_exported_model_is_tested_as_its_checkpoint(run, other, tmp_path, caplog):
    export(run, tmp_path / "model.onnx", "onnx")
    tests = []
    for name, model in (("ckpt", run), ("onnx", tmp_path / "model.onnx")):
        folder = tmp_path / name
        caplog.clear()
        options = ["seed=7", *["report=true"] * (name == "onnx")]
        tests.append(train(configured(run, other, folder, f"ckpt_path={model}", *options)))
    one, exported = tests
    assert exported["n"]["test"] == 15
    assert exported["test"].keys() == one["test"].keys()
    for name in ("age/mae_months", "stage/accuracy"):
        assert exported["test"][name]["value"] == pytest.approx(one["test"][name]["value"], abs=0.2)
    assert exported["external"]
    assert (one["seed"], exported["seed"]) == (1, None)  # that of the training, if it is known
    assert exported["anomalies"] == one["anomalies"]
    (baseline,) = exported["baselines"].values()  # the ages of its training are not known
    ages = read_run(folder).predictions["age_years"]
    of_median = 12 * (ages - ages.median()).abs().mean()
    assert baseline["age/mae_months"]["value"] == pytest.approx(of_median)
    most = max((ages < 10).mean(), ages.between(10, 18, inclusive="left").mean())
    assert baseline["stage/accuracy"]["value"] == pytest.approx(most)
    assert "There is no comparison" not in caplog.text
    page = Page((folder / "report.html").read_text()).text
    assert "on 32 x 32 pixels" in page
    assert "Best constant: the median age and the most frequent stage of the test" in page
    said = "the median age and the most frequent stage of the test fold."
    told = methods(read_run(folder))
    assert said in told
    assert told.count("[fill in: what the training started from]") == 2  # also in the checklist
    assert "initialised at random" not in told  # nobody knows
    assert "an exported model · test set" in page
    assert "between seeds and splits" in page


@pytest.fixture(scope="module")
def external(run, other, tmp_path_factory):
    """The folder of an external test, and what it has printed."""
    folder = tmp_path_factory.mktemp("external")
    train(configured(run, other, folder))
    return folder


@pytest.fixture
def tested(run, tmp_path):
    """Test the run on a data set; return the metrics and the ids."""

    def test(root, *overrides):
        metrics = train(configured(run, root, tmp_path / "tested", *overrides))
        ids = pd.read_csv(tmp_path / "tested/predictions.csv", dtype={"id": str})["id"]
        return metrics, list(ids)

    return test


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_all_radiographs_are_tested(external, other):
    metrics, ids = metrics_of(external), pd.read_csv(external / "predictions.csv")["id"]
    assert list(ids) == list(pd.read_csv(other / "labels.csv")["id"])
    assert metrics["external"] is True
    assert (metrics["data"], metrics["n"]["test"]) == ("Bern", 15)
    assert set(pd.read_csv(external / "split.csv")["fold"]) == {"test"}


def test_the_comparison_is_that_of_the_two_tables(external, run):
    here, own = (pd.read_csv(folder / "predictions.csv") for folder in (external, run))
    found = metrics_of(external)["own_test"]
    assert (found["run"], found["n"], found["shared"]) == (run.name, len(own), 0)
    errors = [12 * (table["age_years_predicted"] - table["age_years"]) for table in (own, here)]
    expected = {
        "age/mae_months": errors[1].abs().mean() - errors[0].abs().mean(),
        "age/bias_months": errors[1].mean() - errors[0].mean(),
        "stage/accuracy": (here["stage"] == here["stage_predicted"]).mean()
        - (own["stage"] == own["stage_predicted"]).mean(),
    }
    assert {name: d["value"] for name, d in found["differences"].items()} == pytest.approx(expected)
    rng = np.random.default_rng(8)  # a bootstrap of its own
    draws = []
    for e in errors:  # of few: spread out by Student's t and n / (n - 1)
        n = len(e)
        wider = np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / 1.959964 if n < 100 else 1
        mean = e.abs().mean()
        draws.append(mean + wider * (rng.choice(e.abs(), (20_000, n)).mean(axis=1) - mean))
    low, high = np.percentile(draws[1] - draws[0], [2.5, 97.5])
    difference = found["differences"]["age/mae_months"]
    width = high - low
    assert difference["low"] == pytest.approx(low, abs=0.06 * width)
    assert difference["high"] == pytest.approx(high, abs=0.06 * width)


def test_anomalies_have_exact_intervals(external):
    anomalies = metrics_of(external)["anomalies"]
    assert anomalies["without_hand"]["count"] == 1
    assert anomalies["without_hand"]["n"] == 15
    for share in anomalies.values():
        exact = binomtest(share["count"], 15).proportion_ci(method="exact")
        assert (share["low"], share["high"]) == pytest.approx((exact.low, exact.high))


def test_page_terminal_and_methods_say_that_it_is_external(external, run, other, tmp_path, capsys):
    html = write_report(external).read_text()
    text = Page(html).text
    assert "on Bern: external test" in text
    for table in ("external", "bias", "anomalies"):
        assert f'<table id="{table}">' in html
    assert "of another data set" in text
    assert "come from the same source" not in text
    bias = metrics_of(external)["test"]["age/bias_months"]["value"]
    assert f"{bias:.2f}" in text
    levels = pd.DataFrame(
        [
            {
                "metric": "age/bias_months",
                "band": "all",
                "sex": "all",
                "value": 9.0,
                "low": 8.0,
                "high": 10.0,
                "n": 3,
                "column": "site",
                "level": "B",
            }
        ]
    )
    groups = pd.concat([pd.read_csv(external / "subgroups.csv", keep_default_na=False), levels])
    (*_, (band, (every, *_))) = bias_rows(read_run(external), groups)[1]
    assert (band, every["value"]) == ("all", bias)  # not that of a level of a column
    said = methods(read_run(external))
    assert "We tested a finished model on 15 hand radiographs (Bern)" in said
    assert "All radiographs of this data set were tested. [fill in: how the radiographs" in said
    assert "equal parts" not in said
    assert "20 radiographs of another data set (" in said
    assert "| Evaluation on internal data | The run's own test fold, " in said
    assert "| Testing on external data | External test, " in said
    train(configured(run, other, tmp_path / "again"))
    printed = capsys.readouterr().out
    assert "15 external test radiographs of Bern" in printed
    assert "compared with the run's own test fold" in printed
    assert "trained on synthetic hands only" in printed
    assert "Synthetic training data: this model was trained on hands that were drawn" in text
    assert ", synthetic hands), and" in said
    print_comparison(*write_comparison([external], tmp_path / "compared"))
    assert "hands only)" in capsys.readouterr().out  # the column breaks the name
    text = Page((tmp_path / "compared/comparison.html").read_text()).text
    assert "(external) (trained on synthetic hands only)" in text
    assert "Synthetic training data: some models were trained only on hands that" in text


def test_a_folder_that_cannot_be_looked_into_is_none_of_synthetic_hands(tmp_path):
    write_phantom(tmp_path / "phantom", n=3, size=32, seed=1)
    for root, synthetic in ((tmp_path / "phantom", True), (tmp_path, False), (300 * "x", False)):
        assert _is_of_phantom({"options": {"data.root": str(root)}}) is synthetic


def test_the_runs_own_set_is_still_its_test_fold(tested, run, phantom_root):
    metrics, ids = tested(phantom_root)
    assert ids == list(pd.read_csv(run / "predictions.csv", dtype={"id": str})["id"])
    assert not {"external", "own_test", "anomalies"} & set(metrics)


def test_a_fold_among_all_is_said_to_have_no_effect(tested, other, caplog):
    assert len(tested(other, "data.fold=2")[1]) == 15
    assert "data.fold=2 has no effect: all radiographs are tested" in caplog.text


def test_fold_is_the_old_way(tested, other):
    metrics, ids = tested(other, "data.test=fold", "data.folds=5", "data.fold=2")
    table = pd.read_csv(other / "labels.csv").assign(origin="train")
    table["sex"] = np.where(table["male"], "male", "female")
    table["age_months"] = table["boneage"]
    assert ids == list(table["id"][assign_folds(table, 0, 5, 2) == "test"])
    assert metrics["external"] is True
    assert len(ids) == 3


def test_radiographs_trained_on_are_refused_by_name(tested, run, other, phantom_root, tmp_path):
    split = pd.read_csv(run / "split.csv", dtype={"id": str}).set_index("id")["fold"]
    own = pd.read_csv(phantom_root / "boneage-training-dataset.csv", dtype={"id": str})
    folds = own["id"].map(split)
    mixed = tmp_path / "mixed"
    shutil.copytree(other, mixed)

    def mix(rows):
        table = pd.concat([pd.read_csv(other / "labels.csv"), rows])
        table.to_csv(mixed / "labels.csv", index=False)
        for id_ in rows["id"]:
            shutil.copy(phantom_root / f"boneage-training-dataset/{id_}.png", mixed)

    held_out = own[folds == "test"]
    mix(held_out)  # which the model has not seen
    metrics, ids = tested(mixed)
    assert metrics["external"] is True
    assert set(held_out["id"]) < set(ids)
    assert metrics["own_test"]["shared"] == len(held_out)
    seen = own[folds == "train"].head(2)
    for path in mixed.glob("1*.png"):
        path.unlink()
    mix(seen)
    shutil.rmtree(tmp_path / "tested")
    named = ", ".join(seen["id"])
    with pytest.raises(UserError, match=rf"trained on 2 radiographs .*: {named}; .*remove"):
        tested(mixed)


@pytest.mark.parametrize("option", ["test_table", "split_file", "table", "hold_out", "found"])
def test_tables_of_the_data_set_decide(tested, other, tmp_path, option):
    root = tmp_path / "Bern"
    shutil.copytree(other, root)
    table = pd.read_csv(root / "labels.csv")
    if option == "split_file":
        folds = ["test"] * 4 + ["unused"] * 11
        table.assign(fold=folds)[["id", "fold"]].to_csv(tmp_path / "split.csv", index=False)
        assert len(tested(root, f"data.split_file={tmp_path / 'split.csv'}")[1]) == 4
        return
    if option == "table":  # the images of the other table's rows are no images without a row
        table.tail(6).to_csv(root / "some.csv", index=False)
        assert tested(root, "data.table=some.csv")[1] == list(table["id"].tail(6))
        return
    if option == "hold_out":
        table[["id"]].head(3).to_csv(tmp_path / "held.csv", index=False)
        assert len(tested(root, f"data.hold_out={tmp_path / 'held.csv'}")[1]) == 15
        return
    official = "boneage-test-dataset.csv" if option == "found" else "later.csv"
    table.iloc[:6].to_csv(root / official, index=False)
    table.iloc[6:].to_csv(root / "labels.csv", index=False)
    named = [] if option == "found" else ["data.test_table=later.csv", "data.table=labels.csv"]
    assert tested(root, *named)[1] == list(table["id"].head(6))
    shutil.rmtree(tmp_path / "tested")
    assert len(tested(root, "data.test=all", *named)[1]) == 15


def test_one_radiograph_is_a_set(tested, other, tmp_path, caplog):
    table = pd.read_csv(other / "labels.csv").iloc[[4]]
    root = tmp_path / "one"
    root.mkdir()
    shutil.copy(other / f"{table['id'].iloc[0]}.jpg", root)
    table.to_csv(root / "labels.csv", index=False)
    metrics, ids = tested(root, "report=true")
    assert ids == list(table["id"])
    assert (
        "Only 1 radiograph in the test fold: metrics are unreliable; add radiographs" in caplog.text
    )
    for difference in metrics["own_test"]["differences"].values():
        assert difference["value"] is not None
    assert metrics["own_test"]["differences"]["age/mae_months"]["low"] is None
    assert "external test" in Page((tmp_path / "tested/report.html").read_text()).text


def test_without_its_run_a_checkpoint_is_tested_alone(run, other, tmp_path, caplog):
    shutil.copytree(run / "checkpoints", tmp_path / "alone/checkpoints")
    metrics = train(configured(tmp_path / "alone", other, tmp_path / "tested"))
    assert metrics["external"] is True
    assert "own_test" not in metrics
    assert "no comparison" in caplog.text
    assert "There is no comparison" in Page(write_report(tmp_path / "tested").read_text()).text
    last = configured(run, other, tmp_path / "last", f"ckpt_path={run}/checkpoints/last.ckpt")
    assert "own_test" not in train(last)
    assert "the run has tested best.ckpt, not last.ckpt" in caplog.text


def test_the_same_ids_with_other_readings_are_said(tested, phantom_root, tmp_path, caplog):
    root = tmp_path / "again"
    shutil.copytree(phantom_root, root)
    file = root / "boneage-training-dataset.csv"
    table = pd.read_csv(file)
    table.assign(boneage=table["boneage"] + 1).to_csv(file, index=False)
    assert len(tested(root)[1]) == 24
    assert (
        "The checkpoint knows the ids of 24 of 24 radiographs with other ages: 100001"
        in caplog.text
    )


def test_all_needs_a_test_alone(tested, other, configure, run):
    with pytest.raises(UserError, match=r"data\.test=all .* needs train=false"):
        train(configure("data.test=all"))
    with pytest.raises(UserError, match=r"no data\.split_file"):
        tested(other, "data.test=all", f"data.split_file={run}/split.csv")


def test_external_tests_of_several_models_are_averaged(external, run, other, tmp_path):
    train(configured(run, other, tmp_path / "mirrored", "mirror_test=true"))
    assert "own_test" not in metrics_of(tmp_path / "mirrored")  # its run has not tested so
    metrics = ensemble([external, tmp_path / "mirrored"], tmp_path / "both")
    tables = [pd.read_csv(f / "predictions.csv") for f in (external, tmp_path / "mirrored")]
    mean = sum(table["age_years_predicted"] for table in tables) / 2
    expected = 12 * (mean - tables[0]["age_years"]).abs().mean()
    assert metrics["test"]["age/mae_months"]["value"] == pytest.approx(expected)
    assert metrics["baselines"] == metrics_of(external)["baselines"]
    assert "own_test" not in metrics
    assert "external test" in Page(write_report(tmp_path / "both").read_text()).text


@pytest.mark.parametrize(("words", "mirrored"), [([], False), (["mirror_test=true"], True)])
def test_the_mirror_image_is_that_of_the_checkpoint_unless_the_command_sets_it(
    run, other, tmp_path, monkeypatch, words, mirrored
):
    """Whatever the config says, such as that of an experiment which is not repeated."""
    cfg = configured(run, other, tmp_path / "test", "mirror_test=true")
    given = SimpleNamespace(
        overrides=SimpleNamespace(task=words), runtime=SimpleNamespace(choices={}), mode=RunMode.RUN
    )
    monkeypatch.setattr(
        "boneage.run.options.HydraConfig",
        SimpleNamespace(initialized=lambda: True, get=lambda: given),
    )
    tested = config_of_test(read_checkpoint(cfg.ckpt_path), cfg)
    assert tested.mirror_test is mirrored
    check_same(options(tested), cfg, "it")  # the same command resumes it
    tested.mirror_test = not mirrored
    with pytest.raises(UserError, match=r"mirror_test \(was"):
        check_same(options(tested), cfg, "it")


def test_a_run_from_before_the_option_resumes(configure, run):
    was = metrics_of(run)["options"]
    del was["data.test"]
    cfg = compose_config(
        *TINY, *MODEL, "data=rsna", f"data.root={was['data.root']}", f"run_dir={run}"
    )
    check_same(was, cfg, "it")
    cfg.data.test = "fold"
    with pytest.raises(UserError, match=r"data\.test \(was auto\)"):
        check_same(was, cfg, "it")
