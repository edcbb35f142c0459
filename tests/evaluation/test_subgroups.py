"""Results by columns of the label table: the file, the page, and the comparison."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import Page, write_finished_run

from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.evaluate import subgroups, without_levels
from boneage.evaluation.gaps import gaps_of, in_order, levels_of
from boneage.evaluation.numbers import number, p_value
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.tables import bias_rows, column_sections, subgroup_rows
from boneage.evaluation.run_folder import read_run
from boneage.evaluation.shares import exact_interval
from boneage.run_files import SUBGROUPS
from boneage.stages import BANDS, Stages

SITES = np.repeat(["Bern", "Aarhus", "Cali", "Lone", ""], [60, 40, 30, 1, 9])


def made_up():
    """140 radiographs; the errors at Cali are three times as large."""
    rng = np.random.default_rng(0)
    age = rng.uniform(1, 18, len(SITES))
    error = rng.normal(0, 0.5, len(SITES)) * np.where(SITES == "Cali", 3, 1)
    return pd.DataFrame(
        {
            "id": [f"h{i}" for i in range(len(SITES))],
            "sex": rng.choice(["female", "male"], len(SITES)),
            "age_years": age,
            "age_years_predicted": age + error,
            "site": SITES,
            "weight": [str(k) for k in range(len(SITES))],
            "maker": "Same & Co",
        }
    )  # fmt: skip


@pytest.fixture
def table():
    return made_up()


@pytest.fixture(scope="module")
def found():
    """The rows of the levels, by column and level and metric; do not change them."""
    groups = subgroups(made_up(), Stages(), columns=["site", "weight", "maker"])
    return groups[groups["column"] != ""].set_index(["column", "level", "metric"])


def months_off(table, site):
    error = 12 * (table["age_years_predicted"] - table["age_years"])
    return error[table["site"] == site]


def finished(folder, table, *columns, **changes):
    """Write a run whose predictions go with these columns."""
    others = [name for name in ("site", "weight", "maker") if name not in columns]
    return write_finished_run(folder, table.drop(columns=others), subgroups=columns, **changes)


def test_levels_by_hand(table, found):
    for site in ("Aarhus", "Bern", "Cali"):
        error = months_off(table, site)
        mae, bias = (found.loc[("site", site, f"age/{k}_months")] for k in ("mae", "bias"))
        assert mae["value"] == pytest.approx(error.abs().mean())
        assert bias["value"] == pytest.approx(error.mean())
        assert mae["low"] < mae["value"] < mae["high"]
        assert mae["n"] == len(error)
    levels = found.loc["site"].index.get_level_values("level").unique()
    assert list(levels) == ["Aarhus", "Bern", "Cali", "Lone", "unknown"]
    assert found.loc[("site", "unknown", "age/mae_months"), "n"] == 9


def test_numbers_are_cut_into_quartiles_in_their_order(table, found):
    rows = found.loc["weight"].xs("age/mae_months", level="metric")
    assert list(rows.index) == [
        "0 to 34.75", "over 34.75 to 69.5", "over 69.5 to 104.25", "over 104.25 to 139",
    ]  # fmt: skip
    assert (rows["n"] == 35).all()
    error = 12 * (table["age_years_predicted"] - table["age_years"]).abs()
    assert rows["value"].tolist() == pytest.approx(error.to_numpy().reshape(4, 35).mean(axis=1))
    doses = levels_of(pd.Series(range(9)).astype(str))  # 2 is an end of two quartiles
    assert doses.tolist() == [
        *["0 to 2"] * 3, *["over 2 to 4"] * 2, *["over 4 to 6"] * 2, *["over 6 to 8"] * 2,
    ]  # fmt: skip
    assert in_order(doses[::-1]) == ["0 to 2", "over 2 to 4", "over 4 to 6", "over 6 to 8"]
    assert in_order(pd.Series(["10", "unknown", "b", "9", "1.5 T", "a"])) == [
        "1.5 T", "9", "10", "a", "b", "unknown",
    ]  # fmt: skip


def test_quartiles_of_large_numbers_are_not_merged():
    """Numbers of devices and times of examinations differ in their last digits only."""
    times = pd.Series([f"202611301200{second:02d}" for second in range(40)])
    assert levels_of(times).value_counts().tolist() == [10] * 4
    serials = pd.Series(["10000000001", "10000000002"] * 40 + [f"2{n}" for n in range(10, 30)])
    counts = levels_of(serials).value_counts()
    assert counts["10000000001"] == counts["10000000002"] == 40
    assert sorted(counts)[:4] == [5] * 4


def test_levels_with_a_decimal_comma_are_in_order():
    levels = pd.Series(["1", "-1,2", ".5", "-1,5", "0,25"])
    assert in_order(levels_of(levels)) == ["-1,5", "-1,2", "0,25", ".5", "1"]


def test_a_level_of_one_radiograph_has_no_interval(found):
    row = found.loc[("site", "Lone", "age/mae_months")]
    assert row["n"] == 1
    assert np.isnan(float(row["low"] or np.nan))


@pytest.mark.slow
def test_patients_are_counted(table):
    visits = table.assign(patient=[f"p{i // 2}" for i in range(len(table))])
    rows = subgroups(visits, Stages(), columns=["site"]).set_index(["level", "metric"])
    counts = rows[["n", "patients"]].xs(("Bern", "age/mae_months"))
    assert counts.to_numpy().ravel().tolist() == [60, 30]


def test_bands_and_sexes_are_as_without_columns(table, tmp_path):
    plain, more = (subgroups(table, Stages(), columns=names) for names in ((), ("site",)))
    assert (plain[["column", "level"]] == "").all(axis=None)
    pd.testing.assert_frame_equal(plain, more[: len(plain)])
    old = plain.drop(columns=["column", "level"])  # as older versions wrote it
    assert subgroup_rows(old) == subgroup_rows(more)
    pd.testing.assert_frame_equal(without_levels(more), old)


def test_the_rows_of_bands_and_sexes_by_hand(table, tmp_path):
    """First the bands, and last each sex at all ages."""
    run = read_run(write_finished_run(tmp_path, table.drop(columns=["site", "weight", "maker"])))
    groups = run.table(SUBGROUPS)
    _, rows = subgroup_rows(groups)
    names = [(row["band"], row["sex"]) for row in rows]
    assert names[: len(BANDS)] == [(name, "all") for name in BANDS.names]
    assert {*names[-2:]} == {("all", "female"), ("all", "male")}
    band = np.array(BANDS.names)[BANDS.index_of(table["age_years"].to_numpy())]
    error = 12 * (table["age_years_predicted"] - table["age_years"])

    def errors_of(name, sex):
        return error[((band == name) | (name == "all")) & ((table["sex"] == sex) | (sex == "all"))]

    for row in rows:
        expected = errors_of(row["band"], row["sex"])
        assert row["n"] == len(expected)
        if row["n"]:
            assert row["results"]["age/mae_months"]["value"] == pytest.approx(expected.abs().mean())
    sexes, biases = bias_rows(run, groups)
    assert {*sexes} == {"all", "female", "male"}
    assert [name for name, _ in biases] == [*BANDS.names, "all"]
    for name, results in biases:
        for sex, result in zip(sexes, results, strict=True):
            expected = errors_of(name, sex)
            assert (result or {"n": 0})["n"] == len(expected)
            if len(expected):
                assert result["value"] == pytest.approx(expected.mean())


@pytest.mark.slow
def test_a_run_of_an_older_version_has_its_page_and_comparison(table, tmp_path):
    run = write_finished_run(
        tmp_path / "run", table[["id", "sex", "age_years", "age_years_predicted"]]
    )
    groups = pd.read_csv(run / "subgroups.csv").drop(columns=["column", "level"])
    groups.to_csv(run / "subgroups.csv", index=False)
    text = Page(write_report(run).read_text()).text
    assert "By age band" in text
    assert "By site" not in text
    assert (run / "figures/error_by_band.png").is_file()
    write_comparison([run], tmp_path / "out")
    assert "Clearest difference" not in (tmp_path / "out/comparison.html").read_text()


@pytest.mark.slow
def test_the_page_says_where_the_planted_gap_is(table, tmp_path):
    text = Page(write_report(finished(tmp_path, table, "site")).read_text()).text
    maes = {site: months_off(table, site).abs().mean() for site in ("Bern", "Aarhus", "Cali")}
    best = min("Bern", "Aarhus", key=maes.get)
    gap = gaps_of(table, ["site"])["site"]
    assert gap.difference["value"] == pytest.approx(maes["Cali"] - maes[best])
    assert gap.p < 0.01
    assert "By site" in text
    assert f"Cali minus {best}, {number(maes['Cali'] - maes[best], 'months')} months (95 %" in text
    assert f"p {p_value(gap.p)} by a permutation test, corrected for 3 pairs." in text
    assert f"Cali 30 {maes['Cali']:.2f}" in text
    assert "Lone 1 †" in text
    assert "unknown 9 †" in text


@pytest.mark.slow
def test_why_there_is_no_gap(table, tmp_path):
    one, few = "There is only one level, GE: nothing to compare.", "Fewer than two levels "
    reasons = [
        (["GE"] * 140, one),
        (["GE"] * 90 + [""] * 50, one),
        ([""] * 140, "No test radiograph has a value in this column."),
        (["GE"] * 121 + ["Agfa"] * 19, f"{few}have 20 radiographs:"),
        (["GE"] * 90 + ["Agfa"] * 19 + [""] * 31, f"{few}besides unknown have 20 radiographs:"),
    ]
    columns = {f"device {i}": cells for i, (cells, _) in enumerate(reasons)}
    html = write_report(finished(tmp_path, table.assign(**columns), *columns)).read_text()
    sections = re.split(r"<h3>By device \d", html)[1:]
    for section, (_, sentence) in zip(sections, reasons, strict=True):
        assert f'<p class="few">{sentence}' in section


def test_levels_of_a_model_of_the_sex_are_not_compared(table, found, tmp_path):
    run = read_run(finished(tmp_path, table, "site"))
    of_sex = replace(run, predictions=run.predictions.drop(columns="age_years_predicted"))
    sections = column_sections(of_sex, found.reset_index())
    said = "This model predicts neither age nor stage: levels are not compared."
    assert [section["sentence"] for section in sections] == [said] * 3


def with_wrong_stages(table, every):
    """The predicted stages of a run that is wrong at every n-th radiograph, and only at Cali."""
    stages = np.array(Stages().names)[Stages().index_of(table["age_years"].to_numpy())]
    wrong = (SITES == "Cali") & (np.arange(len(SITES)) % every == 0)
    return table.drop(columns="age_years_predicted").assign(
        stage_predicted=np.where(wrong, np.where(stages == "child", "adult", "child"), stages)
    )


def test_a_run_of_stages_is_compared_by_accuracy(table, tmp_path):
    predicted = with_wrong_stages(table, every=2)
    folder = finished(tmp_path, predicted, "site", task="classification")
    text = Page(write_report(folder).read_text()).text
    assert "Cali 30 0.500" in text
    low, high = exact_interval(40, 40)
    assert f"Aarhus 40 1.000 {low:.3f} to {high:.3f}" in text
    assert "share of wrong stages: Cali minus Bern, 0.500 (95 % interval" in text


def test_a_gap_without_an_interval_is_told_without_one(table, tmp_path):
    predicted = with_wrong_stages(table, every=1)  # 30 of 30, and none elsewhere
    run = read_run(finished(tmp_path, predicted, "site", task="classification"))
    sections = column_sections(run, subgroups(run.predictions, Stages(), columns=["site"]))
    gap = gaps_of(run.predictions, ["site"])["site"]
    assert (gap.difference["low"], gap.difference["high"]) == (None, None)
    assert "Cali minus Bern, 1.000, p < 0.001 by a permutation test" in sections[0]["sentence"]
    assert not sections[0]["marked"]


def test_a_new_task_is_in_the_sections_and_without_ages_there_is_no_bias(table, tmp_path):
    predicted = with_wrong_stages(table, every=1)
    run = read_run(finished(tmp_path, predicted, "site", task="classification"))
    groups = run.table(SUBGROUPS)
    assert bias_rows(run, groups) == ([], [])
    own = groups[groups["metric"] == "stage/accuracy"].assign(metric="sex/accuracy", value=0.25)
    (section,) = column_sections(run, pd.concat([groups, own]))
    assert section["metrics"] == ["stage/accuracy", "sex/accuracy"]
    assert {row["results"]["sex/accuracy"]["value"] for row in section["rows"]} == {0.25}


@pytest.mark.slow
def test_text_of_a_table_is_escaped(table, tmp_path):
    hostile = "<script>alert(1)</script>"
    columns = {hostile: [hostile, "b"] * 70}
    folder = finished(tmp_path / "run", table.assign(**columns), hostile)
    assert "script" not in Page(write_report(folder).read_text()).tags
    write_comparison([folder], tmp_path / "out")
    assert "script" not in Page((tmp_path / "out/comparison.html").read_text()).tags


@pytest.mark.slow
def test_the_comparison_has_the_gap_of_each_run(table, tmp_path):
    even = table.assign(age_years_predicted=table["age_years"] + np.tile([0.5, -0.5], 70))
    finished(tmp_path / "gap", table, "site", "maker")
    finished(tmp_path / "even", even, "site")
    finished(tmp_path / "plain", even, "maker")
    write_comparison([tmp_path / name for name in ("gap", "even", "plain")], tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/comparison.csv", index_col="run")
    rows.index = rows.index.str.rsplit("/").str[-1]
    maes = {site: months_off(table, site).abs().mean() for site in ("Bern", "Aarhus", "Cali")}
    smallest = min(maes, key=maes.get)
    assert rows.loc["gap", "gap/site/levels"] == f"Cali minus {smallest}"
    assert rows.loc["gap", "gap/site/value"] == pytest.approx(maes["Cali"] - maes[smallest])
    assert rows.loc["gap", "gap/site/p"] < 0.01
    assert rows.loc["even", "gap/site/value"] == pytest.approx(0, abs=1e-9)
    assert rows.loc["even", "gap/site/p"] == 1
    assert np.isnan(rows.loc["plain", "gap/site/value"])
    text = Page((tmp_path / "out/comparison.html").read_text()).text
    assert f"gap site Cali minus {smallest}" in text
    assert "gap maker fewer than two levels have 20 radiographs" in text


@pytest.mark.slow
def test_months_and_shares_are_not_in_one_table(table, tmp_path):
    """One of two runs of one name predicts no ages: its difference is of the wrong stages."""
    aged = with_wrong_stages(table, every=2).assign(age_years_predicted=table["age_years"] + 1)
    unaged = aged.drop(columns="age_years_predicted")
    for name, predicted in (("aged", aged), ("unaged", unaged)):
        finished(tmp_path / name, predicted, "site", task="multitask")
    write_comparison([tmp_path / "aged", tmp_path / "unaged"], tmp_path / "out")
    text = Page((tmp_path / "out/comparison.html").read_text()).text
    _, months, shares = text.split("Clearest difference between two levels of a column: ")
    assert months.startswith("MAE (months). ")
    assert " aged site" in months
    assert shares.startswith("share of wrong stages. ")
    assert "unaged site Cali minus Bern 0.500" in shares
    rows = pd.read_csv(tmp_path / "out/comparison.csv", index_col="run")
    rows.index = rows.index.str.rsplit("/").str[-1]
    assert rows.loc["aged", "gap/site/measure"] == "MAE (months)"
    assert rows.loc["unaged", "gap/site/measure"] == "share of wrong stages"


@pytest.mark.slow
def test_a_diverged_run_has_no_gap(table, tmp_path):
    broken = table.assign(age_years_predicted=table["age_years_predicted"].where(table.index > 3))
    folder = finished(tmp_path, broken, "site")
    assert gaps_of(read_run(folder).predictions, ["site"]) == {}
    write_report(folder)
