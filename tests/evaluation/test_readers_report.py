"""What a run says of its readers: numbers, sentences, page and figure, on simulated readers."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import Page, write_finished_run

from boneage.evaluation.figures.comparison import readers_and_model
from boneage.evaluation.numbers import interval, with_limits
from boneage.evaluation.readers import readers_report
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.statements import limit_of_readers, verdict

NAMES = ["ann", "ben", "cem"]
PERFECT = ("one_reading", "mean_of_readings")


def simulated(n=400, sds=(6.0, 6.0, 6.0), biases=(0.0, 0.0, 0.0), model_sd=3.0, seed=0):
    """Predictions of a model with a normal error and readings likewise, months; years."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(2, 17, n)
    table = pd.DataFrame({"id": [f"hand{i}" for i in range(n)], "sex": "male", "age_years": age})
    for name, sd, bias in zip(NAMES, sds, biases, strict=True):
        table[f"reader_{name}_years"] = age + rng.normal(bias, sd, n) / 12
    return table.assign(age_years_predicted=age + rng.normal(0, model_sd, n) / 12)


def written(folder, table, report):
    """Return the page of a run with this report on its readers."""
    return write_report(write_finished_run(folder, table, readers_report=report)).read_text()


def cells(html, start):
    """Return the cells of each row of the table that begins with a text."""
    body = html[html.index(start) :].partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:]]


def contains(result, value):
    return result["low"] < value < result["high"]


def test_planted_spread_gives_the_limit_of_one_reading():
    report = readers_report(simulated(), NAMES, 1.0)
    assert contains(report["sd_months"], 6.0)
    one, mean = (report["perfect_mae_months"][k] for k in PERFECT)
    assert contains(one, 6.0 * np.sqrt(2 / np.pi))  # 4.79
    assert contains(mean, 6.0 * np.sqrt(2 / np.pi / 3))
    for key in ("value", "low", "high"):
        assert one[key] == pytest.approx(0.79788 * report["sd_months"][key], rel=1e-4)
        assert mean[key] == pytest.approx(one[key] / np.sqrt(3))
    # a simulated model without error is there
    perfect = simulated(model_sd=0.0)
    found = readers_report(perfect, NAMES, 1.0)
    assert contains(found["model"]["mae_months"], mean["value"])
    seen = 12 * np.abs(perfect["age_years"] - perfect["reader_ann_years"]).mean()
    assert one["value"] == pytest.approx(seen, rel=0.1)


def test_the_limit_counts_the_readings_of_each_radiograph():
    table = simulated()
    table.loc[::2, ["reader_ben_years", "reader_cem_years"]] = np.nan
    perfect = readers_report(table, NAMES, 1.0)["perfect_mae_months"]
    share = (1 + 1 / np.sqrt(3)) / 2  # half have one reading, half have three
    expected = share * perfect["one_reading"]["value"]
    assert perfect["mean_of_readings"]["value"] == pytest.approx(expected)


def test_the_limit_of_the_mean_counts_the_patients_of_all_radiographs_that_were_read():
    table = simulated(n=60).assign(patient=[f"p{i // 2}" for i in range(60)])
    table.loc[20:, ["reader_ben_years", "reader_cem_years"]] = np.nan
    perfect = readers_report(table, NAMES, 1.0)["perfect_mae_months"]
    numbers = [tuple(perfect[k][n] for n in ("n", "patients")) for k in perfect]
    assert numbers == [(20, 10), (60, 30)]


def test_planted_bias_and_verdicts():
    table = simulated(biases=(0.0, 9.0, 0.0))
    report = readers_report(table, NAMES, 1.0)
    assert contains(report["agreement"]["readers/bias_months_ben"], 9.0)
    assert [c["inferior"] for c in report["comparisons"]] == [False, False, False]
    worse = readers_report(simulated(model_sd=20.0), NAMES, 1.0)
    assert [c["inferior"] for c in worse["comparisons"]] == [True, True, True]
    open_ = readers_report(simulated(n=12, model_sd=6.0), NAMES, 0.1)
    assert None in [c["inferior"] for c in open_["comparisons"]]


def test_months_by_which_the_mean_of_all_is_missed_by_hand():
    table = simulated().assign(
        reader_ann_years=10.0, reader_ben_years=10.5, reader_cem_years=np.nan
    )
    table["age_years_predicted"] = np.where(np.arange(len(table)) % 2, 10.0, 11.0)
    report = readers_report(table, NAMES, 1.0)
    assert report["names"] == ["ann", "ben"]
    assert report["left_out"] == {"cem": 0}
    assert report["model"]["mae_months"]["value"] == pytest.approx(6.0)  # +9 and -3
    assert report["model"]["bias_months"]["value"] == pytest.approx(3.0)


def test_too_few_readings_are_no_report():
    assert readers_report(simulated(n=9), NAMES, 1.0) is None
    assert readers_report(simulated(), [], 1.0) is None
    assert limit_of_readers({"readers_report": None}) is None
    assert limit_of_readers({}) is None  # of an older version


def test_a_model_of_stages_or_a_diverged_one_leaves_the_readers(tmp_path):
    table = simulated()
    unaged = table.drop(columns="age_years_predicted")
    stages = readers_report(unaged, NAMES, 1.0)
    assert "comparisons" not in stages
    assert contains(stages["sd_months"], 6.0)
    diverged = table.assign(
        age_years_predicted=np.where(table.index > 3, table["age_years"], np.nan)
    )
    assert "comparisons" not in readers_report(diverged, NAMES, 1.0)
    html = written(tmp_path, unaged, stages)
    assert 'id="verdicts"' not in html
    assert [len(row) for row in cells(html, '<table id="readers">')] == [4] * 3
    assert len(cells(html, "<caption>All readers together")) == 4
    assert "and the model," not in html


@pytest.mark.parametrize(
    ("inferior", "margin", "values", "said"),
    [
        (False, 1.0, (-0.8, -1.5, -0.1),
         "The model is no worse than reader r1 by more than 1 month: "
         "difference -0.80 (-1.50 to -0.10) months."),
        (True, 1.5, (3.0, 2.0, 4.0),
         "The model is worse than reader r1 by more than 1.5 months: "
         "difference 3.00 (2.00 to 4.00) months."),
        (None, 1.0, (-0.001, -2, 2),
         "These 25 radiographs cannot tell whether the model is worse than reader r1 by more than "
         "1 month: difference 0.00 (-2.00 to 2.00) months."),
    ],
)  # fmt: skip
def test_a_verdict_is_one_sentence(inferior, margin, values, said):
    difference = dict(zip(("value", "low", "high"), values, strict=True)) | {"n": 25}
    comparison = {"reader": "r1", "difference": difference, "inferior": inferior}
    assert verdict(comparison, margin) == said
    named = verdict(comparison | {"reader": "Reader 1"}, margin)
    assert named == said.replace("reader r1", "Reader 1")


def test_what_is_shown_of_each_reader_is_its_own(tmp_path):
    table = simulated(sds=(3.0, 6.0, 9.0))
    report = readers_report(table, NAMES, 1.0)
    readers = [f"reader_{name}_years" for name in NAMES]
    html = written(tmp_path, table, report)
    names = ("reader", "n", "bias", "mae", "model", "difference")
    rows = [dict(zip(names, row, strict=True)) for row in cells(html, '<table id="readers">')]
    assert [row["reader"] for row in rows] == NAMES
    for k, row in enumerate(rows):
        others = table[readers].drop(columns=readers[k]).mean(axis=1)  # the reference of both
        own = 12 * (table[readers[k]] - others)
        of_model = 12 * (table["age_years_predicted"] - others).abs()
        expected = {"mae": own.abs(), "bias": own, "model": of_model}
        expected["difference"] = of_model - own.abs()
        for key, values in expected.items():
            assert row[key].split()[0] == f"{values.mean():.2f}"
    of_all = 12 * (table["age_years_predicted"] - table[readers].mean(axis=1))
    shown = [row[2] for row in cells(html, "<caption>All readers together")]
    results = [report["sd_months"], *(report["perfect_mae_months"][k] for k in PERFECT)]
    assert [shown[0], *shown[2:4]] == [with_limits(result, "months") for result in results]
    assert shown[1] == with_limits(report["icc"])
    expected = [f"{of_all.abs().mean():.2f}", f"{of_all.mean():.2f}"]
    assert [text.split()[0] for text in shown[4:]] == expected
    one, mean = (with_limits(report["perfect_mae_months"][k], "months") for k in PERFECT)
    assert limit_of_readers({"readers_report": report}) == (
        f"As readers differ, a perfect model has an MAE of {one} months against one reading, and "
        f"of {mean} months against the mean of all readings."
    )


def test_numbers_without_interval():
    assert with_limits({"value": None, "low": None, "high": None}) == "-"
    assert with_limits({"value": 0.9996, "low": None, "high": None}) == "1.000"


@pytest.mark.parametrize("value", [2.73, -1.644])
def test_decimals_are_those_of_the_unit_whatever_the_value(value):
    result = {"value": value, "low": -2.75, "high": 5.8}
    assert with_limits(result, "months") == f"{value:.2f} (-2.75 to 5.80)"
    for unit in ("years", ""):
        assert with_limits(result, unit) == f"{value:.3f} (-2.750 to 5.800)"
        assert interval(result, unit) == "-2.750 to 5.800"


@pytest.mark.slow
@pytest.mark.drawn
def test_the_page_has_a_section_of_readers(tmp_path):
    hostile = "<script>x</script>"
    table = simulated(n=30).rename(columns={"reader_ben_years": f"reader_{hostile}_years"})
    table.loc[3:, "reader_cem_years"] = np.nan
    report = readers_report(table, ["ann", hostile, "cem"], 1.0)
    run = write_finished_run(tmp_path, table, readers=NAMES, readers_report=report)
    html = write_report(run).read_text()
    found = Page(html)
    text = found.text
    assert "script" not in found.tags
    assert f"than reader {hostile} by more than 1 month" in text
    assert "2 readers have read test radiographs" in text
    assert "Reader cem is left out: 3 radiographs shared with the remaining readers." in text
    assert "than reader ann by more than 1 month: difference" in text
    assert with_limits(report["icc"]) in text
    results = text[text.index("Results") : text.index("Readers")]
    assert limit_of_readers({"readers_report": report}) in results  # next to the MAE
    assert html.index('id="verdicts"') < html.index('<figure id="readers"')
    assert (tmp_path / "figures/readers.pdf").is_file()
    head = html[html.index('<table id="readers">') :]
    assert head[: head.index("</thead>")].count("<th") - 1 <= 7  # less <thead


@pytest.mark.slow
def test_a_run_without_readers_has_no_such_section(tmp_path):
    older = write_report(write_finished_run(tmp_path / "older", simulated(n=30))).read_text()
    for html in (older, written(tmp_path / "single", simulated(n=30), None)):
        assert "<h2>Readers" not in html
        assert "limit_of_readers" not in html


def test_the_figure_shows_readers_and_model():
    report = readers_report(simulated(n=15), NAMES, 1.0)
    axes = readers_and_model(report).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{name} (n = 15)" for name in NAMES
    ]
    drawn = [line.get_xdata()[0] for line in axes.lines]
    expected = [
        value
        for c in report["comparisons"]
        for value in (c["reader_mae"]["value"], c["model_mae"]["value"])
    ]
    np.testing.assert_allclose(drawn, expected)
    intervals = [list(line.get_segments()[0][:, 0]) for line in axes.collections]
    assert intervals == [
        [c[of]["low"], c[of]["high"]]
        for c in report["comparisons"]
        for of in ("reader_mae", "model_mae")
    ]
    assert {line.get_markerfacecolor() for line in axes.lines} == {"white"}  # of few radiographs
