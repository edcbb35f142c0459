"""Tables for a paper: the numbers of metrics.json, in the form that each format asks for."""

import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
from helpers import Page, predictions, reference_study, write_finished_run
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.evaluation.comparison import page as comparison_page
from boneage.stages import Stages

runner = CliRunner()
SPECIAL = "a_b&c%d#e$f{g}h~i^j\\k<l>m|n--o[p]*q"


def finished(folder, seed=1, shift=0.0, **changes):
    table = predictions(n=80)
    table["id"] = [f"h{i}" for i in range(80)]
    table["age_years_predicted"] += shift
    options = {"backbone": "slim_resnet", "seed": seed} | changes.pop("options", {})
    return write_finished_run(folder, table, seed=seed, options=options, **changes)


def stored(folder, metric):
    return json.loads((folder / "metrics.json").read_text())["test"][metric]


def printed(*arguments):
    result = runner.invoke(app, ["compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_the_numbers_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [finished(tmp_path / "runs" / name, shift=i) for i, name in enumerate(("a", "b"))]
    text = printed(
        "runs", "--format", "markdown", "--metrics", "age/mae_months,test/stage/accuracy"
    )
    caption, empty, heading, rule, *rows = text.rstrip("\n").split("\n")
    assert "80 radiographs" in caption
    assert empty == ""
    assert cells(heading) == ["run", "MAE (months)", "Accuracy"]
    assert cells(rule) == ["---", "---:", "---:"]
    assert [cells(row)[0] for row in rows] == ["a", "b"]
    for run, row in zip(runs, rows, strict=True):
        mae, accuracy = stored(run, "age/mae_months"), stored(run, "stage/accuracy")
        assert cells(row)[1] == f"{mae['value']:.2f} ({mae['low']:.2f} to {mae['high']:.2f})"
        assert cells(row)[2] == (
            f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
        )
    assert not (tmp_path / "comparison").exists()  # a table alone


def test_metrics_by_default_are_those_of_the_terminal(tmp_path, monkeypatch):
    finished(tmp_path / "runs/a")
    shown = runner.invoke(app, ["compare", str(tmp_path), "--out", str(tmp_path / "out")]).output
    table = pd.read_csv(io.StringIO(printed(tmp_path, "--format", "csv")))
    labels = {"age/mae_months": "MAE", "age/rmse_months": "RMSE", "age/r2": "R2"}
    assert table["metric"].tolist() == list(labels)
    assert all(label in shown for label in labels.values())


def test_csv_has_columns_of_value_limits_and_n(tmp_path):
    run = finished(tmp_path / "a")
    text = printed(tmp_path, "--format", "csv", "--metrics", "age/mae_months,stage/recall_child")
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).set_index("metric")
    for metric, decimals in (("age/mae_months", 2), ("stage/recall_child", 3)):
        row, result = table.loc[metric], stored(run, metric)
        for part in ("value", "low", "high"):
            assert row[part] == f"{result[part]:.{decimals}f}"
        assert row["n"] == str(result["n"])
    assert table["n"].nunique() == 2  # all, and children


def test_only_the_table_is_on_standard_output(tmp_path):
    finished(tmp_path / "a")
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed/error.txt").write_text("out of memory\n")
    result = runner.invoke(app, ["compare", str(tmp_path), "--format", "csv"])
    assert set(pd.read_csv(io.StringIO(result.stdout))["run"]) == {"a"}
    assert "out of memory" in result.stderr


def test_a_table_has_at_most_seven_columns(tmp_path):
    run = finished(tmp_path / "a")
    names = list(json.loads((run / "metrics.json").read_text())["test"])[:14]
    text = printed(tmp_path, "--format", "markdown", "--metrics", ",".join(names))
    headings = [cells(line) for line in text.splitlines() if line.startswith("| run")]
    assert [len(heading) for heading in headings] == [7, 7, 3]
    assert sum(len(heading) - 1 for heading in headings) == len(names)


def test_seeds_have_mean_and_spread(tmp_path):
    runs = [finished(tmp_path / f"s{seed}", seed=seed, shift=0.5 * seed) for seed in (1, 2, 3)]
    maes = [stored(run, "age/mae_months")["value"] for run in runs]
    options = ("--metrics", "age/mae_months")
    text = printed(tmp_path, "--format", "markdown", *options)
    (row,) = (line for line in text.splitlines() if "3 seeds" in line)
    mean, sd = np.mean(maes), np.std(maes, ddof=1)
    assert cells(row) == ["3 seeds", f"{mean:.2f} ± {sd:.2f}"]
    assert "standard deviation over seeds" in text
    table = pd.read_csv(io.StringIO(printed(tmp_path, "--format", "csv", *options)))
    last = table.iloc[-1]
    assert (last["value"], last["sd"]) == (round(mean, 2), round(sd, 2))
    assert np.isnan(last["low"])


def test_means_over_seeds_are_marked_by_patients_as_the_runs_are(tmp_path):
    for seed in (1, 2):
        table = predictions(n=80).assign(id=[f"h{i}" for i in range(80)])
        table["patient"] = [f"p{i % 10}" for i in range(80)]
        options = {"backbone": "slim_resnet", "seed": seed}
        write_finished_run(tmp_path / f"s{seed}", table, seed=seed, options=options)
    text = printed(tmp_path, "--format", "markdown", "--metrics", "age/mae_months")
    rows = [cells(line)[1] for line in text.splitlines()[4:]]
    assert [("†" in row, "±" in row) for row in rows] == [(True, False)] * 2 + [(True, True)]


def test_settings_with_seeds_are_named_and_the_limit_of_readers_is_said(tmp_path):
    limit = {"value": 5.2, "low": 5.0, "high": 5.4, "n": 80}
    perfect = {"one_reading": limit, "mean_of_readings": limit | {"value": 3.0, "low": None}}
    readers = {
        "names": ["ann", "ben"], "margin_months": 1.0, "left_out": {}, "agreement": {},
        "sd_months": limit, "icc": limit, "perfect_mae_months": perfect,
        "model": {"mae_months": limit, "bias_months": limit},
    }  # fmt: skip
    for lr in (0.1, 0.2):
        for seed in (1, 2):
            finished(tmp_path / f"{lr}{seed}", options={"seed": seed, "optimizer.lr": lr},
                     seed=seed, readers_report=readers)  # fmt: skip
    text = printed(tmp_path, "--format", "markdown", "--metrics", "age/mae_months")
    assert "2 seeds of optimizer.lr=0.1 " in text.replace("\\", "")
    sentence = (
        "As readers differ, a perfect model has an MAE of 5.20 (5.00 to 5.40) months against one "
        "reading, and of 3.00 months against the mean of all readings."
    )
    assert sentence in text
    out = tmp_path / "out"
    result = runner.invoke(app, ["compare", str(tmp_path), "--out", str(out)])
    assert sentence in result.stdout
    assert sentence in (out / "comparison.html").read_text()
    others = printed(tmp_path, "--format", "markdown", "--metrics", "stage/accuracy")
    assert "perfect model" not in others


def test_rows_name_the_options_that_differ(tmp_path):
    for name, lr, seed in (("0_run", 0.1, 1), ("1_run", 0.2, 2)):
        finished(tmp_path / name, options={"seed": seed, "optimizer.lr": lr}, seed=seed)
    metric = ("--metrics", "age/mae_months")
    lines = printed(tmp_path, "--format", "markdown", *metric).replace("\\", "").splitlines()
    assert cells(lines[4])[0] == "0_run (seed=1, optimizer.lr=0.1)"
    finished(tmp_path / "2_run", options={"seed": 3, "optimizer.lr": 0.1, "sex": "none"}, seed=3)
    lines = printed(tmp_path, "--format", "markdown", *metric).splitlines()
    assert cells(lines[4].replace("\\", ""))[0] == "0_run"  # three options have no room here
    table = pd.read_csv(io.StringIO(printed(tmp_path, "--format", "csv", *metric)))
    options = table.set_index("run")["options"]
    assert options["2_run"] == "seed=3; optimizer.lr=0.1; sex=none"


def test_the_published_values_of_a_study_have_a_row(tmp_path):
    finished(tmp_path / "a", reference=reference_study())
    text = printed(tmp_path, "--format", "markdown", "--metrics", "age/mae_months")
    assert cells(text.splitlines()[-1])[1] == "14.82"


def test_tasks_and_test_sets_have_tables_of_their_own(tmp_path):
    finished(tmp_path / "a")
    finished(tmp_path / "b", task="multitask")
    finished(tmp_path / "c", synthetic=True, patients=40)
    text = printed(tmp_path, "--format", "latex", "--metrics", "age/mae_months")
    assert text.count(r"\begin{table}") == 3
    assert text.count("80 synthetic radiographs") == 1
    assert text.count("over 40 patients") == 1


def test_what_is_undefined_is_a_dash_and_few_are_marked(tmp_path):
    table = predictions(n=80).assign(id=[f"h{i}" for i in range(80)])
    young = table[table["age_years"] < 10].head(12)
    write_finished_run(tmp_path / "a", young)
    metrics = "age/mae_months,stage/recall_adult"
    text = printed(tmp_path, "--format", "markdown", "--metrics", metrics)
    _, mae, adults = cells(text.splitlines()[-1])
    assert re.fullmatch(r"[\d.]+† \([\d.]+ to [\d.]+\)", mae)
    assert adults == "-"
    assert "fewer than 20 radiographs" in text


def test_mistakes_are_one_line(tmp_path):
    finished(tmp_path / "a")
    for arguments, said in (
        (["--format", "csv", "--metrics", "age/mea"], r"--metrics age/mea: no run has this metric"),
        (["--metrics", "age/mae_months"], "add --format"),
        (
            ["--format", "csv", "--out", str(tmp_path)],
            "--format only prints, without",
        ),
    ):
        result = runner.invoke(app, ["compare", str(tmp_path), *arguments])
        assert re.search(said, str(result.exception))


def test_latex_is_well_formed_and_compiles(tmp_path):
    finished(tmp_path / "runs" / SPECIAL, data="50 % of A & B", reference=reference_study())
    finished(tmp_path / "runs/2026-11-27/23-59-59/0_regression_seed2_lr_0.0007", seed=2)
    chosen = "age/mae_months,age/bias_months,stage/recall_adult"
    text = printed(tmp_path / "runs", "--format", "latex", "--metrics", chosen)
    assert r"a\_b\&c\%d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j" in text.replace(
        r"\allowbreak{}", ""
    )
    unescaped = re.sub(r"\$-\$|\$\\pm\$|\\[#$_%&{}]", "", text.split("\n", 1)[1])
    assert not re.search(r"[#$_~^%<>|\"]", unescaped)
    rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert all(row.endswith(r" \\") for row in rows)
    assert all(len(re.findall(r"(?<!\\)&", row)) == 3 for row in rows)
    if shutil.which("pdflatex"):
        (tmp_path / "paper.tex").write_text(
            "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
            f"{text}\n\\end{{document}}\n"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / "paper.pdf").is_file()
        assert "Overfull" not in (tmp_path / "paper.log").read_text()


def test_metrics_of_one_label_are_told_apart(tmp_path, monkeypatch):
    """Also where they are in different parts of a table, and in the terminal and on the page."""
    monkeypatch.chdir(tmp_path)
    table = predictions(n=80)
    table["id"] = [f"h{i}" for i in range(80)]
    names = np.array(Stages().names)[Stages().index_of(table["age_years"].to_numpy())]
    table["stage_predicted"] = names
    both = write_finished_run(tmp_path / "runs/both", table, task="multitask")
    assert stored(both, "stage/balanced_accuracy")["value"] == 1
    of_age = stored(both, "stage_from_age/balanced_accuracy")["value"]
    assert of_age < 1
    named = ["stage/accuracy", "age/mae_months", "stage/kappa", "stage_from_age/accuracy"]
    text = printed("runs", "--format", "latex", "--metrics", ",".join(named))
    assert "Stage: Accuracy" in text
    assert "Stage, from the predicted age: Accuracy" in text
    assert "Weighted kappa" in text
    assert ": Weighted kappa" not in text
    drawn, forest = [], comparison_page.forest
    monkeypatch.setattr(
        comparison_page,
        "forest",
        lambda names, *rest: drawn.append(rest[0]) or forest(names, *rest),
    )
    printed("runs", "--sort", "stage_from_age/balanced_accuracy", "--out", "out")
    (panels,) = drawn
    assert panels["Stage: Balanced accuracy"][0, 0] == 1
    assert panels["Stage, from the predicted age: Balanced accuracy"][0, 0] == of_age
    page = Page((tmp_path / "out/comparison.html").read_text())
    assert "Stage: Balanced accuracy" in page.text
    result = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 80}
    test = {"stage_from_age/balanced_accuracy": result, "stage/balanced_accuracy": result}
    write_finished_run(tmp_path / "others/stages", table, test=test)
    shown = printed("others", "--sort", "stage_from_age/balanced_accuracy", "--out", "out")
    heading = r"Stage, from the predicted age: +Stage: +\n +run +Balanced acc\w+ +Balanced acc"
    assert re.search(heading, shown)
