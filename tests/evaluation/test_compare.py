"""Runs side by side: who may compete, by how much they differ, and what is left out."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from helpers import Page, reference_study, write_finished_run
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from scipy.stats import t, ttest_1samp, ttest_ind
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.errors import UserError
from boneage.evaluation import metrics
from boneage.evaluation.comparison import page as comparison_page
from boneage.evaluation.comparison.group import find_runs, group_runs, trained_seeds
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.comparison.paired import (
    difference_of,
    differences_across,
    differences_of_settings,
    differences_within,
    with_seeds,
)
from boneage.evaluation.comparison.tables import label, print_comparison, seed_rows, short_names
from boneage.evaluation.gaps import errors_of
from boneage.evaluation.intervals import paired_difference
from boneage.evaluation.report.page import write_report
from boneage.evaluation.run_folder import FinishedRun, read_run
from boneage.run.resume import check_same
from boneage.run.sweep import SweepComparison, compare_sweep, record_failure
from boneage.stages import Stages


def truth(n=80, seed=0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["female", "male"], n)
    return pd.DataFrame({"id": [f"h{i}" for i in range(n)], "sex": sex}).assign(
        age_years=rng.uniform(0.5, 19, n)
    )


def with_ages(spread, seed=0, **changes):
    table = truth(**changes)
    noise = np.random.default_rng(seed + 100).normal(0, spread, len(table))
    return table.assign(age_years_predicted=table["age_years"] + noise)


def with_stages(share, seed=0):
    """Predict the right stage for a share of the radiographs, and child for the others."""
    table = truth()
    names = np.array(Stages().names)[Stages().index_of(table["age_years"].to_numpy())]
    right = np.random.default_rng(seed).random(len(table)) < share
    return table.assign(stage_predicted=np.where(right, names, "child"))


def run(folder, predictions, **changes):
    options = {"backbone": "slim_resnet", "optimizer.lr": 0.1, "seed": changes.get("seed", 1)}
    return write_finished_run(
        folder, predictions, **{**changes, "options": options | changes.get("options", {})}
    )


def groups_of(*folders, sort=None):
    return group_runs(find_runs(folders)[0], sort)


def test_the_best_run_is_first_and_differing_options_are_columns(tmp_path):
    run(tmp_path / "worse", with_ages(2), options={"optimizer.lr": 0.2})
    watched = {"callbacks.grad_cam.panel": 1, "data.root": "/a"}
    run(tmp_path / "deep/er/better", with_ages(1), options=watched)
    ((group,),) = groups_of(tmp_path)
    assert [r.path.name for r in group.runs] == ["better", "worse"]
    assert group.sort == "age/mae_months"
    assert group.differing == ["optimizer.lr"]  # not where a run lies or how it was watched
    assert group.common == {"backbone": "slim_resnet", "seed": 1}


def test_a_file_that_is_no_run_is_refused(tmp_path):
    run(tmp_path / "a", with_ages(1))
    files = [tmp_path / "notes.txt", tmp_path / "a/predictions.csv", tmp_path / "foreign.ckpt"]
    for file in files:
        file.touch()
        with pytest.raises(UserError, match=f"{file} is neither a run folder nor a checkpoint"):
            find_runs([file])


def test_files_among_runs_are_left_out(tmp_path):
    """As a shell gives them for `boneage compare SWEEP/*`."""
    run(tmp_path / "0", with_ages(1))
    (tmp_path / "comparison.csv").touch()
    runs, (left_out,) = find_runs(sorted(tmp_path.iterdir()))
    assert [found.path.name for found in runs] == ["0"]
    assert left_out.startswith(f"{tmp_path / 'comparison.csv'} is neither a run folder")


@pytest.mark.slow
@pytest.mark.parametrize("newer", ["a", "b"])
def test_an_option_that_an_older_run_does_not_know_counts_as_none(tmp_path, newer):
    for name, spread in (("a", 1), ("b", 2)):
        new = {"data.soft_targets": None, "data.mode": "x"} if name == newer else {}
        run(tmp_path / name, with_ages(spread), options=new)
    ((group,),) = groups_of(tmp_path)
    assert group.common["data.soft_targets"] is None
    assert group.differing == ["data.mode"]
    write_comparison([tmp_path], tmp_path / "out")


def test_a_choice_stands_for_the_options_below_it(tmp_path):
    run(tmp_path / "a", with_ages(1), options={"backbone.depth": 3})
    run(tmp_path / "b", with_ages(2), options={"backbone": "resnet18", "backbone.name": "r"})
    ((group,),) = groups_of(tmp_path)
    assert group.differing == ["backbone"]


@pytest.mark.parametrize("seeds", [("${seed}", "${seed}"), ("${seed}", 7)])
def test_an_option_that_follows_another_is_shown_in_words(tmp_path, seeds):
    """It is no option of its own in which runs of several seeds differ, unless one sets it."""
    for name, seed, data_seed in zip("ab", (1, 2), seeds, strict=True):
        options = {"seed": seed, "data.seed": data_seed, "data.augment": "${augment}"}
        options |= {"data.size": 64, "train": True}
        run(tmp_path / name, with_ages(1, seed=seed), options=options, seed=seed)
    ((group,),) = groups_of(tmp_path)
    assert ("data.seed" in group.differing) == (seeds == ("${seed}", 7))
    write_comparison([tmp_path], tmp_path / "out")
    write_report(tmp_path / "a")
    pages = (tmp_path / "out" / "comparison.html", tmp_path / "a" / "report.html")
    table = (tmp_path / "out" / "comparison.csv").read_text()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "as seed" in text
        assert "${" not in text
    assert "${" not in table
    assert ("as seed" in table) == ("data.seed" in group.differing)


def test_the_means_over_seeds_of_few_radiographs_are_marked(tmp_path):
    for seed in (1, 2):
        run(tmp_path / f"{seed}", with_ages(1, seed=seed, n=12), options={"seed": seed}, seed=seed)
    write_comparison([tmp_path], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    seeds = text.split("Settings with several seeds")[1].split("</table>")[0]
    assert seeds.count("†") == seeds.count("±") - 1 > 0  # ± is also in the caption


def test_a_comparison_has_the_constant_guess(tmp_path):
    table = with_stages(1)
    run(tmp_path / "a", table, task="classification")
    write_comparison([tmp_path], tmp_path / "out")
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    (row,) = re.findall(r"<tr><th>constant guess.*?</tr>", page, re.DOTALL)
    share = (table["age_years"] < 10).mean()  # most training radiographs are of children
    assert f"{share:.3f}<br>" in row


def test_the_mean_over_seeds_is_marked_if_one_seed_has_few(tmp_path):
    for seed in (1, 2):
        predictions = with_stages(1)[:60]
        calls = 30 if seed == 1 else 5  # of children
        predictions["stage_predicted"] = ["child"] * calls + ["adolescent"] * (60 - calls)
        run(tmp_path / f"{seed}", predictions, task="classification", seed=seed)
    ((group,),) = groups_of(tmp_path)
    (row,) = seed_rows(group, ["stage/precision_child", "stage/accuracy"])
    assert row["metrics"]["stage/precision_child"]["n"] == 5
    assert row["metrics"]["stage/accuracy"]["n"] == 60


def test_sorting(tmp_path):
    run(tmp_path / "a", with_ages(1).assign(age_years_predicted=lambda t: t["age_years"] + 1))
    run(tmp_path / "b", with_ages(1.6))
    run(tmp_path / "c", with_ages(1).assign(age_years_predicted=lambda t: t["age_years"] * 0 + 20))
    best = {"age/bias_years": "b", "age/r2": "a", "age/ceiling_slope": "a"}  # a's is 1, c's is 0
    for sort, first in {"test/age/mae_months": "a", **best}.items():
        ((group,),) = groups_of(tmp_path, sort=sort)
        assert group.runs[0].path.name == first, sort
    with pytest.raises(UserError, match=r"--sort age/mea: no run has this metric.*age/mae_months"):
        groups_of(tmp_path, sort="age/mea")


@pytest.mark.slow
def test_other_test_sets_never_compete(tmp_path):
    run(tmp_path / "a", with_ages(1))
    run(tmp_path / "b", with_ages(1, n=81))
    run(tmp_path / "c", with_ages(1), synthetic=True)
    run(
        tmp_path / "same ids, other hands", with_ages(1).assign(age_years=lambda t: t.age_years / 2)
    )
    test_sets = groups_of(tmp_path)
    assert [len(groups) for groups in test_sets] == [1] * 4
    assert [len(groups[0].runs) for groups in test_sets] == [1] * 4
    assert [bool(groups[0].first["synthetic"]) for groups in test_sets] == [False] * 3 + [True]
    hashes = {groups[0].first["test_set"] for groups in test_sets}
    assert len(hashes) == 3


@pytest.mark.slow
@pytest.mark.parametrize("most", [80, 81, 82])
def test_the_test_set_of_most_runs_comes_first_and_the_phantoms_last(tmp_path, most):
    for n in (80, 81, 82):
        run(tmp_path / f"{n}", with_ages(1, n=n))
    for again in (1, 2):
        run(tmp_path / f"{most} {again}", with_ages(1, again, n=most))
        run(tmp_path / f"phantom {again}", with_ages(1, again), synthetic=True)
    test_sets = groups_of(tmp_path)
    assert [len(groups[0].runs) for groups in test_sets] == [3, 1, 1, 2]
    assert test_sets[0][0].first["n"]["test"] == most
    assert test_sets[-1][0].first["synthetic"]


def test_seeds_are_pooled(tmp_path):
    for seed in (1, 2, 3):
        run(tmp_path / f"s{seed}", with_ages(1, seed), seed=seed)
    run(tmp_path / "other", with_ages(1, 9), options={"optimizer.lr": 0.5})
    ((group,),) = groups_of(tmp_path)
    (row,) = seed_rows(group)
    maes = [12 * np.abs(np.random.default_rng(s + 100).normal(0, 1, 80)).mean() for s in (1, 2, 3)]
    assert [run.metrics["seed"] for run in row["setting"].runs] == [1, 2, 3]
    assert row["setting"].options == ("optimizer.lr=0.1",)
    assert row["metrics"]["age/mae_months"]["mean"] == pytest.approx(np.mean(maes))
    assert row["metrics"]["age/mae_months"]["sd"] == pytest.approx(np.std(maes, ddof=1))


def test_paired_difference_of_runs_in_another_order(tmp_path):
    better, worse = with_ages(1), with_ages(2, seed=3)
    run(tmp_path / "better", better)
    run(tmp_path / "worse", worse.sample(frac=1, random_state=0))
    ((group,),) = groups_of(tmp_path)
    (row,) = differences_within(group)
    assert (row["reference"].runs[0].path.name, row["setting"].runs[0].path.name) == (
        "better",
        "worse",
    )

    def mae(true, predicted):
        return 12 * np.abs(predicted - true).mean(axis=-1)

    direct = paired_difference(
        mae,
        *(
            (t["age_years"].to_numpy(), t["age_years_predicted"].to_numpy())
            for t in (better, worse)
        ),
    )
    for key in ("value", "low", "high"):
        assert row["difference"][key] == pytest.approx(direct[key])
    assert row["difference"]["p"] < 0.05


def test_the_difference_is_computed_in_the_metric_that_is_shown_only(tmp_path, monkeypatch):
    for name, error in (("a", 1), ("b", 2), ("c", 3)):
        run(tmp_path / name, with_ages(error))
    ((group,),) = groups_of(tmp_path)
    computed = []

    def recorded(first, second, metric):
        computed.append(metric)
        return difference_of(first, second, metric)

    monkeypatch.setattr("boneage.evaluation.comparison.paired.difference_of", recorded)
    shown = [row["metric"] for row in differences_within(group)]
    assert computed == shown == ["age/mae_months"] * 2


def test_the_page_says_that_p_is_not_corrected(tmp_path):
    for lr, error in ((0.1, 1), (0.5, 2)):
        for seed in (1, 2):
            options = {"optimizer.lr": lr}
            run(tmp_path / f"lr{lr} {seed}", with_ages(error, seed), seed=seed, options=options)
    write_comparison([tmp_path], tmp_path / "out")
    text = Page((tmp_path / "out/comparison.html").read_text()).text
    for units in ("runs", "settings"):
        assert f"not corrected for the number of {units}, nor for the choice of the first" in text


def test_the_first_setting_has_the_best_mean_not_the_best_run(tmp_path):
    for lr, errors in ((0.1, (1, 8)), (0.5, (3, 4))):
        for seed, error in enumerate(errors):
            table = with_ages(error, seed)
            run(tmp_path / f"lr{lr} {seed}", table, seed=seed, options={"optimizer.lr": lr})
    ((group,),) = groups_of(tmp_path)
    assert group.runs[0].path.name == "lr0.1 0"
    (row,) = differences_of_settings(group)
    assert row["reference"].options == ("optimizer.lr=0.5",)
    assert row["difference"]["value"] > 0
    assert [one["setting"].options for one in seed_rows(group)] == [
        ("optimizer.lr=0.5",), ("optimizer.lr=0.1",)
    ]  # fmt: skip


def test_settings_with_seeds_are_compared_by_the_mean_over_the_seeds(tmp_path):
    """By the bootstrap of the mean absolute error of each radiograph over the seeds."""
    tables = {lr: [with_ages(error, seed) for seed in (1, 2)] for lr, error in ((0.1, 1), (0.5, 2))}
    for lr, of_seeds in tables.items():
        for seed, table in enumerate(of_seeds):
            run(tmp_path / f"lr{lr} {seed}", table, seed=seed, options={"optimizer.lr": lr})
    ((group,),) = groups_of(tmp_path)
    (row,) = differences_of_settings(group)
    errors = {
        lr: 12 * np.mean([(t["age_years_predicted"] - t["age_years"]).abs() for t in some], axis=0)
        for lr, some in tables.items()
    }
    direct = paired_difference(lambda e: e.mean(axis=-1), (errors[0.1],), (errors[0.5],))
    assert row["difference"]["value"] == pytest.approx(direct["value"])
    of_seeds = [12 * np.array([_mae(table) for table in tables[lr]]) for lr in (0.1, 0.5)]
    assert row["difference"] == pytest.approx(with_seeds(direct, *of_seeds))
    assert [one.metrics["seed"] for one in row["setting"].runs] == [0, 1]
    assert label(row["setting"], {one.path: one.path.name for one in row["setting"].runs}) == (
        "2 seeds of optimizer.lr=0.5"
    )


def _mae(table):
    return (table["age_years_predicted"] - table["age_years"]).abs().mean()


def test_seeds_alone_are_compared_by_the_t_test():
    difference = {"value": -0.9, "low": -0.9, "high": -0.9, "n": 9}  # radiographs agree
    first, second = np.array([9.0, 9.5, 8.5]), np.array([8.0, 8.3])
    found = with_seeds(difference | {"value": second.mean() - first.mean()}, first, second)
    expected = ttest_ind(second, first, equal_var=False)
    assert found["p"] == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((limits.low, limits.high))
    one, several = np.array([9.0]), np.array([8.0, 8.3, 8.1])
    found = with_seeds(difference | {"value": several.mean() - 9}, one, several)
    expected = ttest_ind(several, one, equal_var=True)  # it is as uncertain as each of the others
    assert found["p"] == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((limits.low, limits.high))


def test_radiographs_alone_are_compared_by_the_t_test():
    """The interval of a difference of few is Student's; that of many the bootstrap's."""
    own = np.array([-3.0, -1.5, 0.5, -2.0, -1.0])  # differences of the radiographs; seeds agree
    half = t.ppf(0.975, 4) * own.std(ddof=1) / 5**0.5
    difference = {"value": own.mean(), "low": own.mean() - half, "high": own.mean() + half, "n": 5}
    found = with_seeds(difference, np.array([9.0, 9.0]), np.array([7.6, 7.6]))
    expected = ttest_1samp(own, 0)
    assert found["p"] == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((limits.low, limits.high))


def test_a_seed_that_was_run_again_counts_by_its_latest_training():
    rows = [
        ("old", 2, "2026-01-02", {}), ("new", 2, "2026-01-03", {}), ("first", 1, "2026-01-04", {}),
        ("older", 2, "2026-01-01", {}), ("test", 2, "2026-01-05", {"train": False}),
    ]  # fmt: skip
    runs = [
        FinishedRun(name, {"seed": seed, "started": day, "options": options}, truth(), Stages())
        for name, seed, day, options in rows
    ]
    assert [run.path for run in trained_seeds(runs)] == ["first", "new"]


def test_equal_settings_with_seeds_seldom_differ():
    """Of the bootstrap over radiographs alone, 6 of 10 such intervals exclude 0."""
    rng = np.random.default_rng(0)
    significant = []
    for _ in range(200):
        common = rng.normal(0, 1, 200)
        scale = 1 + rng.normal(0, 0.05, (2, 3, 1))
        errors = scale * np.abs(common + rng.normal(0, 0.2, (2, 3, 200)))
        means = errors.mean(axis=1)
        direct = paired_difference(lambda e: e.mean(axis=-1), *((e,) for e in means), draws=300)
        excluded = direct["low"] * direct["high"] > 0
        significant.append((excluded, with_seeds(direct, *errors.mean(axis=2))["p"] < 0.05))
    alone, found = np.mean(significant, axis=0)
    assert alone > 0.3
    assert found < 0.09


def test_equal_settings_whose_seeds_spread_unequally_seldom_differ():
    """With one spread for both, 23 of 100 such p were below 0.05."""
    rng = np.random.default_rng(0)
    significant = 0
    for _ in range(1000):
        first, second = rng.normal(8, 0.05, 6), rng.normal(8, 0.4, 3)
        value = second.mean() - first.mean()
        agreed = {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 300}
        significant += with_seeds(agreed, first, second)["p"] < 0.05
    assert significant <= 75  # 50 expected, standard deviation 7


def test_settings_with_seeds_seldom_differ_on_few_radiographs():
    """As if their variance were known, 11 of 100 such p were below 0.05."""
    rng = np.random.default_rng(0)
    small = 0
    for _ in range(400):
        own = rng.normal(0, 1, (2, 1, 8))  # of each setting, whatever the seed
        errors = own + rng.normal(0, 0.2, (2, 2, 8))
        means = ((e,) for e in errors.mean(axis=1))
        direct = paired_difference(lambda e: e.mean(axis=-1), *means, draws=300)
        small += with_seeds(direct, *errors.mean(axis=2))["p"] < 0.05
    assert small <= 28  # 20 expected, standard deviation 4.4


def test_tasks_are_compared_in_what_they_share(tmp_path):
    ages, stages = with_ages(0.3), with_stages(0.5)
    run(tmp_path / "r", ages)
    run(tmp_path / "c", stages, task="classification")
    ((regression, classification),) = groups_of(tmp_path)
    rows = differences_across([regression, classification])
    assert [row["metric"] for row in rows] == ["stage/accuracy", "stage/balanced_accuracy"]
    true = Stages().index_of(ages["age_years"].to_numpy())
    read_off = (Stages().index_of(ages["age_years_predicted"].to_numpy()) == true).mean()
    predicted = stages["stage_predicted"].map(Stages().names.index)
    assert rows[0]["difference"]["value"] == pytest.approx((predicted == true).mean() - read_off)


def test_names_of_strangers_neither_style_nor_steer_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(metrics, "_own", {})
    bad = "[/x]\x1b[2Jz"
    own = {"label": bad, "meaning": bad, "unit": "", "better": "lower", "headline": True}
    for seed in (1, 2):
        made = {"data": bad, "task": bad, "described": {"toy/own": own | {"compared": True}}}
        folder = run(tmp_path / f"run{seed}[", with_ages(seed), seed=seed, **made)
        content = json.loads((folder / "metrics.json").read_text())
        content["test"] = {"toy/own": content["test"]["age/mae_months"]}
        (folder / "metrics.json").write_text(json.dumps(content))
    test_sets, skipped = write_comparison([tmp_path], tmp_path / "out")
    print_comparison(test_sets, [*skipped, bad])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count("[/x]?[2Jz") == 5  # data, task, column, difference, left out


def test_the_page(tmp_path):
    hostile = "<script>alert(1)</script>"
    study = reference_study()
    run(tmp_path / "runs" / hostile.replace("/", ""), with_ages(1), official=True, data=hostile)
    run(tmp_path / "runs/b", with_ages(2), reference=study, data=hostile, seed=2)
    unset = {"data.hold_out": None}
    run(tmp_path / "runs/phantom", with_ages(2), synthetic=True, reference=study, options=unset)
    failed = tmp_path / "runs/failed"
    failed.mkdir()
    (failed / "error.txt").write_text("out of memory\n")
    write_comparison([tmp_path / "runs"], tmp_path / "out")
    page = Page((tmp_path / "out/comparison.html").read_text())
    assert "script" not in page.tags
    assert hostile in page.text
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "failed: out of memory" in page.text
    assert "None" not in page.text
    real, phantom = page.text.split("Synthetic data")
    assert "reference study (published, another split of the RSNA data)" in real
    assert "dotted: reference study" in real
    assert "14.82" in real
    assert "published" not in phantom


def test_the_reason_of_a_failure_is_read_as_it_was_written(tmp_path):
    """In UTF-8 and not in the encoding of the system, which Python warns of if it is asked to."""
    record_failure(tmp_path / "failed", UserError("Zürich: 骨龄"), tmp_path / "all.txt")
    code = (
        "import sys, warnings; from pathlib import Path\n"
        "from boneage.run_files import why_failed\n"
        "warnings.simplefilter('error', EncodingWarning)\n"
        "print(ascii(why_failed(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-X", "warn_default_encoding", "-c", code, tmp_path / "failed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Z\\xfcrich: \\u9aa8\\u9f84" in done.stdout, done.stderr


def test_runs_that_name_no_study_show_none(tmp_path):
    run(tmp_path / "a", with_ages(1), official=True)
    result = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    shown = result.output + (tmp_path / "out/comparison.html").read_text()
    assert not re.search("published|student|reference study", shown)
    run(tmp_path / "b", with_ages(2), reference=reference_study())
    result = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    assert re.search(r"reference study.* 14\.82 ", result.output)


def test_the_table(tmp_path):
    run(tmp_path / "a", with_ages(1))
    run(tmp_path / "b", with_ages(1, 2), seed=2)
    run(tmp_path / "c", with_stages(0.9), task="classification")
    write_comparison([tmp_path], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/comparison.csv")
    assert table["task"].tolist() == ["regression", "regression", "classification"]
    assert set(table["option/seed"].dropna()) == {1, 2}
    mae = 12 * np.abs(np.random.default_rng(100).normal(0, 1, 80)).mean()
    row = table[table["run"].str.endswith("/a")].iloc[0]
    assert row["age/mae_months/value"] == pytest.approx(mae)
    assert row["age/mae_months/low"] < mae < row["age/mae_months/high"]


@pytest.mark.slow
def test_damaged_runs_are_reported_and_skipped(tmp_path):
    run(tmp_path / "whole", with_ages(1))
    (tmp_path / "going on/.hydra").mkdir(parents=True)
    run(tmp_path / "cut", with_ages(1))
    (tmp_path / "cut/metrics.json").write_text('{"task": "regr')
    run(tmp_path / "no predictions", with_ages(1))
    (tmp_path / "no predictions/predictions.csv").unlink()
    run(tmp_path / "odd predictions", with_ages(1))
    (tmp_path / "odd predictions/predictions.csv").write_bytes(b"\xff\xfe\x00")
    run(tmp_path / "no list", with_ages(1))
    (tmp_path / "no list/metrics.json").write_text("[]")
    (tmp_path / "not a run").mkdir()
    result = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    left_out = [line for line in result.output.splitlines() if line.startswith("left out")]
    assert len(left_out) == 5
    for name in ("going on", "cut", "no predictions", "odd predictions", "no list"):
        assert any(name in line for line in left_out), name
    assert len(pd.read_csv(tmp_path / "out/comparison.csv")) == 1


def test_nothing_to_compare_is_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no finished run in or below"):
        find_runs([tmp_path])
    (tmp_path / "a/.hydra").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no finished run.*has not finished"):
        find_runs([tmp_path])


@pytest.mark.slow
def test_a_checkpoint_file_means_its_run(tmp_path):
    write_finished_run(tmp_path / "a", with_ages(1))
    file = tmp_path / "a/checkpoints/best.ckpt"
    file.parent.mkdir()
    file.touch()
    assert read_run(file).path == tmp_path / "a"
    assert [found.path for found in find_runs([file])[0]] == [tmp_path / "a"]
    assert write_report(file) == tmp_path / "a/report.html"
    file.rename(tmp_path / "moved.ckpt")
    with pytest.raises(UserError, match=r"moved\.ckpt: is a file, and in no run: give the folder"):
        read_run(tmp_path / "moved.ckpt")


def test_links_to_runs_are_followed(tmp_path):
    run(tmp_path / "elsewhere/a", with_ages(1))
    (tmp_path / "links").mkdir()
    (tmp_path / "links/a").symlink_to(tmp_path / "elsewhere/a")
    (tmp_path / "links/loop").symlink_to(tmp_path / "links")
    assert len(find_runs([tmp_path / "links"])[0]) == 1


def test_partial_runs_come_last_and_are_marked(tmp_path):
    run(tmp_path / "a debug run", with_ages(0.1), partial=["trainer.fast_dev_run=True"])
    run(tmp_path / "whole", with_ages(2))
    ((group,),) = groups_of(tmp_path)
    assert short_names(group.runs) == ["whole", "a debug run (partial)"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    run(tmp_path / "a", with_ages(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file cannot be written .*choose another --out"):
        write_comparison([tmp_path / "a"], tmp_path / "file")


def test_only_a_comparison_of_its_own_is_written_over(tmp_path):
    run(tmp_path / "a", with_ages(1))
    out = tmp_path / "out"
    for _ in range(2):
        write_comparison([tmp_path / "a"], out)
    for name in ("comparison.csv", "comparison.html"):
        own = (out / name).read_bytes()
        (out / name).write_text("drug,price\n")
        with pytest.raises(UserError, match=rf"{name} was not written by boneage compare: choose"):
            write_comparison([tmp_path / "a"], out)
        assert (out / name).read_text() == "drug,price\n"
        (out / name).write_bytes(own)


def test_the_terminal_pools_seeds_and_tells_differences(tmp_path):
    for seed in (1, 2):
        run(tmp_path / f"s{seed}", with_ages(1, seed), seed=seed)
    result = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "2 seeds: MAE (months)" in result.output
    assert " minus s" in result.output
    assert ", p 0." in result.output


def test_one_radiograph_gives_a_difference_without_an_interval(tmp_path):
    for name, spread in (("a", 1), ("b", 2)):
        run(tmp_path / name, with_ages(spread).head(1))
    out = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")]).output
    (line,) = (line for line in out.splitlines() if " minus " in line)
    assert re.fullmatch(r"  b minus a: MAE \(months\) [\d.]+, p 1\.000", line)
    assert ": 1 radiograph of " in out


def test_diverged_runs_of_several_seeds_are_listed_without_a_metric(tmp_path):
    diverged = with_ages(1).head(20).assign(age_years_predicted=np.nan)
    for seed in (1, 2):
        run(tmp_path / f"s{seed}", diverged, seed=seed, options={"seed": seed})
    found = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.exception
    assert "s2 " in found.output
    assert "Sorted by" not in (tmp_path / "out/comparison.html").read_text()


def test_a_diverged_output_is_compared_in_nothing(tmp_path):
    """Neither the likeliest of probabilities that are not finite, nor ages that are not."""
    probability = {f"stage_probability_{name}": 0.3 for name in Stages().names}
    right, poor = (with_stages(share).assign(**probability) for share in (0.9, 0.5))
    joint = poor.assign(age_years_predicted=with_ages(1)["age_years_predicted"])
    half = np.arange(len(joint)) % 2 == 0
    tables = {
        "right": right,
        "poor": poor,
        "without_stage": joint.assign(stage_probability_child=np.where(half, np.nan, 0.5)),
        "without_age": joint.assign(age_years_predicted=joint["age_years_predicted"].where(half)),
    }
    runs = {name: read_run(run(tmp_path / name, table)) for name, table in tables.items()}

    def compared(first, second, metric):
        return difference_of([runs[first]], [runs[second]], metric) is not None

    for name, own in runs.items():
        for metric in ("stage/accuracy", "age/mae_months"):
            assert compared(name, name, metric) == (metric in own.metrics["test"]), (name, metric)
    assert compared("right", "poor", "stage/accuracy")
    assert compared("right", "without_age", "stage/accuracy")
    assert not compared("right", "without_stage", "stage/accuracy")
    assert errors_of(poor.assign(stage=right["stage_predicted"])).unit == ""
    assert errors_of(poor.assign(stage="child", stage_probability_child=np.nan)) is None


def test_a_narrow_terminal_counts_the_options_that_do_not_fit(tmp_path, monkeypatch):
    for name, value in (("a", 1), ("b", 2)):
        options = {f"data.o{i}": value for i in range(9)}
        run(tmp_path / name, with_ages(value), options=options)
    for columns, shown, left_out in (("80", 2, 7), ("240", 9, 0)):
        monkeypatch.setenv("COLUMNS", columns)
        out = CliRunner().invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "o")])
        assert [i for i in range(9) if f"data.o{i}" in out.output] == list(range(shown))
        assert (f"see the page: {left_out}" in out.output) == bool(left_out)


def test_a_run_given_twice_counts_once(tmp_path):
    run(tmp_path / "a", with_ages(1))
    assert len(find_runs([tmp_path, tmp_path / "a", tmp_path / "." / "a"])[0]) == 1


@pytest.mark.slow
def test_options_that_do_not_follow_from_a_choice_keep_settings_apart(tmp_path):
    for seed, depth in ((1, 4), (2, 8), (3, 8)):
        options = {"backbone.depth": depth}
        run(tmp_path / f"s{seed}", with_ages(1, seed), seed=seed, options=options)
    run(tmp_path / "r", with_ages(2), options={"backbone": "resnet18", "backbone.depth": 18})
    ((group,),) = groups_of(tmp_path)
    assert group.differing == ["backbone", "seed", "backbone.depth"]
    (row,) = seed_rows(group)
    assert (row["setting"].options, len(row["setting"].runs)) == (
        ("backbone=slim_resnet", "backbone.depth=8"),
        2,
    )


def test_a_choice_for_another_place_stands_for_its_options(tmp_path):
    for name in ("linear", "mlp"):
        options = {"loss@tasks.toy.loss": name, "tasks.toy.loss._target_": name}
        run(tmp_path / name, with_ages(1), options=options)
    ((group,),) = groups_of(tmp_path)
    assert group.differing == ["loss@tasks.toy.loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "values", "pooled"),
    [
        ("trainer.strategy", ("auto", "ddp"), True),
        ("trainer.accelerator", ("cpu", "gpu"), True),
        ("trainer.profiler", (None, "simple"), True),
        ("trainer.devices", (1, 2), False),  # a batch of each device
        ("callbacks.ema.decay", (0.9, 0.99), False),
        ("callbacks.mine.strength", (1, 2), False),
    ],
)
def test_seeds_are_pooled_over_what_a_resumed_run_may_change(tmp_path, option, values, pooled):
    for seed, value in enumerate(values):
        options = {option: value}
        run(tmp_path / f"s{seed}", with_ages(1, seed), seed=seed, options=options)
    ((group,),) = groups_of(tmp_path)
    assert (option in group.differing) is not pooled
    assert len(seed_rows(group)) == pooled
    was = group.runs[0].metrics["options"]
    now = OmegaConf.create({"train": True})
    for key in was:
        other = key == option  # all else is the same, the seed too
        OmegaConf.update(now, key, group.runs[other].metrics["options"][key])
    if pooled:
        check_same(was, now, "it is a run")
    else:
        with pytest.raises(UserError, match=rf"other options: {option} \(was "):
            check_same(was, now, "it is a run")


def test_a_choice_that_shows_in_bookkeeping_alone_is_none(tmp_path):
    for seed, name in enumerate(("cpu", "gpu")):
        options = {"trainer": name, "trainer.accelerator": name, "trainer.devices": 1}
        run(tmp_path / name, with_ages(1, seed), seed=seed, options=options)
    ((group,),) = groups_of(tmp_path)
    assert group.differing == ["seed"]
    run(tmp_path / "ddp", with_ages(2), options={"trainer": "ddp", "trainer.devices": 8})
    ((group,),) = groups_of(tmp_path)
    assert set(group.differing) == {"seed", "trainer"}


def test_early_stopping_and_monitor_are_settings(tmp_path):
    for seed, options in enumerate(({"callbacks.early_stopping.patience": 3}, {"monitor": "x"})):
        run(tmp_path / str(seed), with_ages(1, seed), seed=seed, options=options)
    ((group,),) = groups_of(tmp_path)
    assert set(group.differing) == {"seed", "callbacks.early_stopping.patience", "monitor"}
    assert seed_rows(group) == []


@pytest.mark.slow
def test_a_repeated_seed_counts_once_and_a_tested_checkpoint_or_an_ensemble_never(tmp_path):
    run(tmp_path / "old", with_ages(3, 7), started="2026-01-01T00:00:00+00:00")
    run(tmp_path / "new", with_ages(1, 1), started="2026-01-02T00:00:00+00:00")
    run(tmp_path / "other", with_ages(1, 2), seed=2)
    run(tmp_path / "tested", with_ages(1, 3), seed=3, options={"train": False})
    run(tmp_path / "mean", with_ages(1, 4), seed=4, ensemble=["new", "other"])
    ((group,),) = groups_of(tmp_path)
    (row,) = seed_rows(group)
    maes = [12 * np.abs(np.random.default_rng(s + 100).normal(0, 1, 80)).mean() for s in (1, 2)]
    assert {run.path.name for run in row["setting"].runs} == {"new", "other"}
    assert row["metrics"]["age/mae_months"]["mean"] == pytest.approx(np.mean(maes))
    assert row["metrics"]["age/mae_months"]["sd"] == pytest.approx(np.std(maes, ddof=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"n": 5},
        {"test": []},
        {"test": {"age/mae_months": None}},
        {"test": {"age/mae_months": {"value": 1}}},
        {"options": None},
        {"stages": None},
        {"stages": {"names": ["a"], "edges": [3, 4]}},
    ],
    ids=str,
)
def test_metrics_of_another_form_are_damaged(tmp_path, change):
    run(tmp_path / "whole", with_ages(1))
    file = write_finished_run(tmp_path / "odd", with_ages(1)) / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    runs, (reason,) = find_runs([tmp_path])
    assert [r.path.name for r in runs] == ["whole"]
    where = next(iter(change))
    assert re.match(rf"{tmp_path}/odd/metrics\.json (is damaged:|lacks) {where}", reason)
    assert "\n" not in reason


def test_a_cut_or_repeated_table_of_predictions_is_damaged(tmp_path):
    for name in ("whole", "cut", "in a line", "twice"):
        run(tmp_path / name, with_ages(1))
    text = (tmp_path / "whole/predictions.csv").read_text()
    lines = text.splitlines(keepends=True)
    (tmp_path / "cut/predictions.csv").write_text("".join(lines[:20]))
    (tmp_path / "in a line/predictions.csv").write_text(text[: len(text) // 2])
    (tmp_path / "twice/predictions.csv").write_text(text + lines[-1])
    runs, reasons = find_runs([tmp_path])
    assert [r.path.name for r in runs] == ["whole"]
    assert len(reasons) == 3
    assert all("predictions.csv is damaged" in reason for reason in reasons)


def test_a_refused_job_leaves_the_run_of_its_folder_unmarked(tmp_path, caplog):
    refusal, crash = CompactHydraException("error: contains a run already"), RuntimeError("lost")
    (tmp_path / "begun/checkpoints").mkdir(parents=True)
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished/metrics.json").write_text("{}")
    for name, error, said in (
        ("finished", crash, None),
        ("begun", refusal, None), ("begun", crash, "lost\n"),
        ("new", refusal, "contains a run already\n"),
    ):  # fmt: skip
        record_failure(tmp_path / name, error, tmp_path / "failed.txt")
        mark = tmp_path / name / "error.txt"
        assert (mark.read_text() if mark.exists() else None) == said
    assert (tmp_path / "failed.txt").read_text().splitlines() == [
        "finished: lost", "begun: contains a run already", "begun: lost",
        "new: contains a run already",
    ]  # fmt: skip
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True, False]


def test_whatever_breaks_a_comparison_is_one_line_of_the_sweep(tmp_path, monkeypatch, caplog):
    config = OmegaConf.create(
        {"hydra": {"mode": RunMode.MULTIRUN, "sweep": {"dir": str(tmp_path)}}}
    )
    monkeypatch.setattr("boneage.run.sweep.compare_sweep", lambda _: {}["lost"])
    done = JobReturn(status=JobStatus.COMPLETED)
    SweepComparison().on_job_end(config, done)
    assert [r.message for r in caplog.records] == [f"No comparison in {tmp_path}: KeyError: 'lost'"]


def test_a_sweep_is_compared_once_for_its_newest_result(tmp_path, monkeypatch):
    times = []
    write = comparison_page.write_comparison
    monkeypatch.setattr(
        comparison_page, "write_comparison", lambda *given: times.append(given) or write(*given)
    )
    compare_sweep(tmp_path)
    assert not times  # no run has finished
    for number in range(2):
        run(tmp_path / f"run{number}", with_ages(1, number), seed=number)
        time.sleep(0.05)  # longer than the grain of a file system's clock
        for _ in range(3):  # jobs that ended together
            compare_sweep(tmp_path)
        assert len(times) == number + 1
    assert "run1" in (tmp_path / "comparison.html").read_text()
    begun = (tmp_path / ".comparison.begun").stat().st_mtime_ns
    os.utime(tmp_path / "run0/metrics.json", ns=(begun, begun))  # perhaps after it was looked for
    compare_sweep(tmp_path)
    assert len(times) == 3
    (tmp_path / "comparison.html").unlink()
    compare_sweep(tmp_path)
    assert (tmp_path / "comparison.html").exists()


def test_a_figure_of_too_many_runs_shows_the_best(tmp_path, monkeypatch):
    """A figure of 1,600 runs would be higher than Matplotlib draws."""
    for number, spread in enumerate((3.0, 1.0, 2.0)):
        folder = tmp_path / f"run{number}"
        write_finished_run(folder, with_ages(spread, number), options={"seed": number})
    drawn, forest = [], comparison_page.forest
    monkeypatch.setattr(comparison_page, "ROWS", 2)
    monkeypatch.setattr(
        comparison_page, "forest", lambda runs, *rest: drawn.append(runs) or forest(runs, *rest)
    )
    write_comparison([tmp_path], tmp_path / "out")
    assert drawn == [["run1", "run2"]]
    page = (tmp_path / "out/comparison.html").read_text()
    assert "the best run of each task first (the tables have 1 more)" in page
    assert "run0" in page


def test_a_run_without_a_seed_changes_no_other_seed_in_the_table(tmp_path):
    """The test of an exported file: what it was trained with is not known."""
    run(tmp_path / "trained", with_ages(1), seed=2)
    exported = {"seed": None, "options": {"data.size": 256, "train": False}}
    write_finished_run(tmp_path / "exported", with_ages(2), **exported)
    words = ["compare", str(tmp_path), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 0
    table = pd.read_csv(tmp_path / "out/comparison.csv", dtype=str)
    assert table["seed"].tolist() == ["2", "-"]
