"""The tables of the README and of docs/ contain what was recorded, and nothing typed by hand."""

import json
import re
import shutil
from math import sqrt
from pathlib import Path
from statistics import fmean, variance

import pytest
from helpers import PROJECT

PAGES = ["docs/results.md", "docs/lab_notes.md", "docs/model.md", "README.md"]
PAGES_FOR_READERS = [
    PROJECT / "README.md",
    *(page for page in sorted((PROJECT / "docs").glob("*.md")) if page.name != "lab_notes.md"),
]


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "studies/rsna"))
    import tables

    return tables


def test_pages_are_those_of_the_records(tables, tmp_path):
    copies = [Path(shutil.copy(PROJECT / page, tmp_path)) for page in PAGES]
    for copy in copies:  # without the rows of their tables
        copy.write_text(re.sub(r"(<!-- \w+ -->\n)(\|.*\n)+", r"\1", copy.read_text()))
    tables.rebuild(*copies)
    for page, copy in zip(PAGES, copies, strict=True):
        assert copy.read_text() == (PROJECT / page).read_text(), (
            f"{page}: run studies/rsna/tables.py"
        )


def test_published_differences_of_settings_cover_other_seeds(tables):
    rows = [row for row in tables.read_sweeps() if row["study"] == "joint"]
    alone = {row["sex"]: row for row in rows if row["task"] == "regression"}
    compared = [row for row in rows if row["difference"] is not None]
    assert len(compared) == 6
    for row in compared:
        own, first = (
            [run[tables.MAE]["value"] for run in r["runs"]] for r in (row, alone[row["sex"]])
        )
        error = sqrt(variance(own) / len(own) + variance(first) / len(first))
        difference = row["difference"]
        assert difference["value"] == pytest.approx(fmean(own) - fmean(first), abs=1e-4)
        assert difference["high"] - difference["low"] > 2 * 1.96 * error  # that of the seeds alone


def test_shares_of_0_or_1_have_their_exact_interval(tables):
    import gate

    flags = [["no hand found"]] * 60
    published = json.loads((PROJECT / "studies/rsna/gate.json").read_text())["noise"]
    for shares in (gate.shares(flags), published):
        flagged, corrected = shares["flagged"], shares["corrected"]
        assert (flagged["low"], flagged["high"]) == pytest.approx((0.025 ** (1 / 60), 1))
        assert (corrected["low"], corrected["high"]) == pytest.approx((0, 1 - 0.025 ** (1 / 60)))


def test_coverage_by_age_in_the_card_is_that_of_the_record(tables):
    text = " ".join((PROJECT / "docs/model.md").read_text().split())
    coverage = tables.read()[tables.BUILTIN]["metrics"]["coverage"]
    named = re.findall(r"(0\.\d\d) at (\d+) to (\d+)(?: years)? \((?:n = )?(\d+)\)", text)
    recorded = [coverage[band]["covered"] for band in ("2-5", "5-10", "10-14", "14-17")]
    shown = [(f"{share['value']:.2f}", str(share["n"])) for share in recorded]
    assert [(share, n) for share, _, _, n in named] == shown


def test_decimals(tables):
    assert tables.written(8.0551, "age/mae_months") == "8.06"
    assert tables.written(0.93449, "age/r2") == "0.934"
    assert tables.written(-0.0004, "age/r2") == "0.000"
    assert tables.written(None, "stage/precision_adult") == "-"


@pytest.mark.parametrize("page", PAGES_FOR_READERS, ids=lambda page: page.name)
def test_a_page_and_its_tables_are_short(page):
    text = page.read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert max((table.partition("\n")[0].count("|") - 1 for table in tables), default=0) <= 7
    assert len(text.splitlines()) <= (120 if page.name == "README.md" else 150)


def test_a_number_comes_from_its_record(tables, tmp_path):
    result = {"value": 7.25, "low": 7.0, "high": 7.5, "n": 1134}
    metrics = {
        "n": {"test": 1134}, "seed": 1, "seconds": 600, "images_per_second": 150,
        "parameters": 2_840_000, "test": {"age/mae_months": result},
    }  # fmt: skip
    less = {"value": -0.5, "low": -0.75, "high": -0.25, "n": 1134, "p": 0.001}
    known = {
        "paper_regression": {"metrics": metrics, "epochs": 30, "devices": ["CPU"], "less": {}},
        "ladder/age/01_residual": {
            "metrics": metrics, "epochs": 10, "devices": ["CPU"],
            "less": {"paper_regression": {"age/mae_months": less}}
        },
    }  # fmt: skip
    head, _, row = tables.steps("regression", json.loads(json.dumps(known)))
    assert row[head.index("MAE (months)")] == "7.25 (7.00 to 7.50)"
    assert row[head.index("MAE (months), difference")] == "-0.50 (-0.75 to -0.25)"
    assert row[0] == "`experiment=ladder/age/01_residual`"
    assert row[head.index("parameters") :] == ["2.84 M", "10", "150", "10", "CPU"]
    assert row[head.index("builds on")] == "`paper_regression`"  # no other: the first row
    assert tables.base_of("ladder/age/11_robust") == "ladder/age/09_batch"
    assert tables.base_of("best_128_seed_2") == "best_128"
    assert tables.base_of("best_ensemble_seed_1") == "best_128"  # not its own ensemble
    assert tables.overrides("best_128_seeds") == ["-m", "experiment=best_128", "seed=1,2,3,4,5"]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- regression -->\nold\n<!-- /regression -->\nafter\n")
    tables.fill(page, "regression", [head, row])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 7)
    assert "7.25 (7.00 to 7.50)" in lines[4]
    with pytest.raises(ValueError, match="no place for the table gone"):
        tables.fill(page, "gone", [head, row])


@pytest.mark.drawn
def test_results_of_few_radiographs_are_hollow_in_the_figure_too(tables):
    import figures

    def result(n):
        return {"value": 0.5, "low": 0.2, "high": 0.8, "n": n}

    test = {"stage/balanced_accuracy": result(1134), "stage/recall_adult": result(9)}
    record = {"metrics": {"test": test | {"stage/recall_child": result(20)}}}
    figure = figures.steps("classification", {"paper_classification": record})
    faces = [axes.lines[0].get_markerfacecolor() for axes in figure.axes]
    assert faces == [figures.BLUE, figures.BLUE, "white"]  # the last is the recall of adults
