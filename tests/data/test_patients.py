"""Several radiographs of one patient: read, dealt, resampled, told."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import compose_config, write_finished_run
from sklearn.model_selection import StratifiedGroupKFold

from boneage.data.file_facts import fill_patients, warn_of_leaks
from boneage.data.layouts import read_source
from boneage.data.splits import BAND_EDGES_YEARS, assign_folds, same_patients, stratified_parts
from boneage.data.tables.columns import Columns
from boneage.data.tables.ids import rows_alike
from boneage.data.tables.labels import read_labels
from boneage.errors import UserError
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.comparison.paired import difference_of, exchange_test
from boneage.evaluation.evaluate import evaluate, subgroups
from boneage.evaluation.figures.registry import draw_figures
from boneage.evaluation.intervals import paired_difference, with_interval
from boneage.evaluation.metrics import AGE
from boneage.evaluation.numbers import is_few
from boneage.evaluation.report.page import write_report
from boneage.evaluation.report.tables import subgroup_rows
from boneage.evaluation.run_folder import read_run
from boneage.evaluation.shares import exact_interval
from boneage.evaluation.stage import errors_by_edge_distance
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.run.seen import check_unseen
from boneage.stages import Stages

TABLE = "boneage-training-dataset.csv"


# --- read


@pytest.mark.parametrize(
    "name",
    ["patient", "Patient ID", "PATIENT_ID", "patientid", "subject", "Subject-ID", "participant_id"],
)
def test_known_names(tmp_path, name):
    (tmp_path / "t.csv").write_text(f"id,boneage,{name}\n1,60,7.0\n2,72,7\n3,84,b\n4,96,\n")
    assert read_labels(tmp_path / "t.csv")["patient"].tolist() == ["7", "7", "b", ""]


@pytest.mark.parametrize("name", ["Case ID", "case", "child", "person", "reader", "patients_age"])
def test_names_that_may_mean_something_else_are_no_patients(tmp_path, name):
    other = "" if name == "Case ID" else "id,"
    values = [f"{i}," if other else "" for i in range(4)]
    rows = "".join(f"{v}60,{i}\n" for i, v in enumerate(values))
    (tmp_path / "t.csv").write_text(f"{other}boneage,{name}\n{rows}")
    assert "patient" not in read_labels(tmp_path / "t.csv")


def test_the_id_column_is_not_the_patient_unless_both_are_asked_for(tmp_path):
    (tmp_path / "t.csv").write_text("patient,boneage\n1,60\n2,72\n")
    assert "patient" not in read_labels(tmp_path / "t.csv", Columns(id="patient"))
    both = read_labels(tmp_path / "t.csv", Columns(id="patient", patient="patient"))
    assert both["patient"].tolist() == ["1", "2"]


def test_a_column_of_ones_own(tmp_path):
    (tmp_path / "t.csv").write_text("id,boneage,kid,patient\n1,60,a,x\n2,72,a,y\n3,84,N/A,z\n")
    table = read_labels(tmp_path / "t.csv", Columns(patient="kid"))
    assert table["patient"].tolist() == ["a", "a", ""]
    with pytest.raises(UserError, match=r"no column 'mine'.*data\.columns\.patient="):
        read_labels(tmp_path / "t.csv", Columns(patient="mine"))


def test_two_columns_that_may_be_it(tmp_path):
    (tmp_path / "t.csv").write_text("id,boneage,patient,subject_id\n1,60,a,x\n2,72,a,x\n")
    with pytest.raises(UserError, match=r"\(patient, subject_id\): choose one with data\.columns"):
        read_labels(tmp_path / "t.csv")


def test_a_column_that_names_nobody(tmp_path):
    (tmp_path / "t.csv").write_text("id,boneage,patient\n1,60,\n2,72,unknown\n")
    with pytest.raises(UserError, match="column 'patient' contains no patient"):
        read_labels(tmp_path / "t.csv")


def test_two_unused_columns_of_one_name_that_may_be_it_are_said_once(tmp_path, caplog):
    rows = "".join(f"{i},{60 + i},True,p{i // 3},p{i // 3}\n" for i in range(30))
    (tmp_path / "t.csv").write_text(f"id,boneage,male,mrn,mrn\n{rows}")
    assert len(read_labels(tmp_path / "t.csv")) == 30
    assert caplog.text.count("column 'mrn' has 10 values in 30 rows") == 1


def test_a_column_that_may_be_one_is_said(tmp_path, caplog):
    rows = "".join(f"{i},60,k{i // 2},{i % 2}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"id,boneage,child_no,case\n{rows}")
    read_labels(tmp_path / "t.csv")
    assert "'child_no' has 20 values in 40 rows" in caplog.text
    assert "'case'" not in caplog.text  # two values name no patients


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("17", "017", True),
        ("MUELLER", "Mueller", True),
        ("Müller,  Anna", "MU\u0308LLER, Anna", True),
        ("Müller,\u00a0Anna", "Müller, Anna", True),
        ("7.0", "007", True),
        ("17", "170", False),
        ("a/1", "b/1", False),
        ("1.png", "1", False),
        ("Mueller", "Müller", False),
    ],
)
def test_spellings_of_one_patient_are_merged_and_said(own_root, caplog, one, other, same):
    patients = [f"p{i}" for i in range(24)]
    patients[3], patients[20] = one, other
    table = pd.read_csv(own_root / TABLE, dtype={"id": str}).assign(patient=patients)
    table.to_csv(own_root / TABLE, index=False)
    with caplog.at_level(logging.INFO):
        rows = read_source(own_root)
    assert (rows["patient"][3] == rows["patient"][20]) == same
    assert ("1 spelling merged with another patient" in caplog.text) == same
    assert f"24 radiographs of {24 - same} patients" in caplog.text


def divided(root, train, test):
    """Divide the table of a data set into two, with these patients."""
    table = pd.read_csv(root / TABLE, dtype={"id": str})
    parts = (table.iloc[:16].assign(patient=train), table.iloc[16:].assign(patient=test))
    for name, part in zip((TABLE, "test.csv"), parts, strict=True):
        part.dropna(axis="columns", how="all").to_csv(root / name, index=False)


def test_a_patient_of_two_tables_is_found_in_any_spelling(own_root):
    divided(own_root, [f"0{i}" for i in range(16)], [f"{i}" for i in range(15, 23)])
    with pytest.raises(UserError, match="1 patient with radiographs in more than one of the tab"):
        read_source(own_root)


@pytest.mark.parametrize("without", ["train", "test"])
def test_a_table_without_patients_beside_one_with_them_is_said(own_root, caplog, without):
    train, test = [f"a{i}" for i in range(16)], [f"b{i}" for i in range(8)]
    divided(own_root, *((None, test) if without == "train" else (train, None)))
    read_source(own_root)
    silent = own_root / (TABLE if without == "train" else "test.csv")
    assert f"{silent} has no patient column, but {own_root}" in caplog.text


# --- stratified_parts


@pytest.fixture(scope="module")
def visits():
    """700 patients with 1 to 8 radiographs, some years apart."""
    rng = np.random.default_rng(4)
    rows = []
    for patient in range(700):
        sex, age = rng.choice(["female", "male"]), rng.uniform(6, 225)
        for visit in range(rng.choice([1, 1, 2, 3, 8])):
            age_now = min(228.0, age + visit * rng.uniform(3, 18))
            rows.append((f"p{patient}", sex, age_now, "train"))
    table = pd.DataFrame(rows, columns=["patient", "sex", "age_months", "origin"])
    table = table.sample(frac=1, random_state=0).reset_index(drop=True)
    return table.assign(id=[str(i) for i in range(len(table))])


def strata(table):
    band = np.searchsorted(BAND_EDGES_YEARS, table["age_months"] / 12, side="right")
    return 2 * band + (table["sex"] == "male").to_numpy()


def unevenness(table, part):
    """How far the radiographs of a stratum in a part are from an even share, on average."""
    counts = np.zeros((10, 14))
    np.add.at(counts, (part, strata(table)), 1)
    return np.abs(counts - counts.mean(axis=0)).mean(), np.ptp(counts.sum(axis=1))


def test_all_radiographs_of_a_patient_are_in_one_fold(visits):
    for fold in range(10):
        folds = assign_folds(visits, seed=3, fold=fold)
        assert (folds.groupby(visits["patient"]).nunique() == 1).all()
        shares = folds.value_counts(normalize=True)
        assert shares["test"] == pytest.approx(0.1, abs=0.005)
        assert shares["val"] == pytest.approx(0.1, abs=0.005)


def test_folds_of_patients_are_as_even_as_those_of_scikit_learn(visits):
    ours = unevenness(visits, stratified_parts(visits, 10, seed=1))
    theirs = np.empty(len(visits), dtype=int)
    kfold = StratifiedGroupKFold(10, shuffle=True, random_state=1)
    for k, (_, test) in enumerate(kfold.split(visits, strata(visits), visits["patient"])):
        theirs[test] = k
    assert ours[0] <= 1.05 * unevenness(visits, theirs)[0]
    assert ours[1] <= max(unevenness(visits, theirs)[1], 8)  # one patient at most


def test_seed_decides(visits):
    first = stratified_parts(visits, 10, seed=1)
    assert (first == stratified_parts(visits, 10, seed=1)).all()
    assert (first != stratified_parts(visits, 10, seed=2)).mean() > 0.5


def test_patients_with_one_radiograph_each_change_nothing(visits):
    alone = visits.drop(columns="patient")
    expected = stratified_parts(alone, 10, seed=5)
    for patient in (visits["id"] + "x", ""):
        assert (stratified_parts(alone.assign(patient=patient), 10, seed=5) == expected).all()


def test_fewer_patients_than_parts(visits):
    few = visits.assign(patient=visits["patient"].str[-1].replace("9", "8"))
    with pytest.raises(UserError, match=r"of 9 patients cannot be split into 10 parts"):
        assign_folds(few, seed=0)


def test_few_patients_still_have_a_validation_fold(visits):
    """Of the 6 patients 2 are tested, and the others are fewer than a tenth of all would need."""
    few = visits.assign(
        patient=visits["id"].str[-1].replace(dict(zip("6789", "0123", strict=True)))
    )
    folds = assign_folds(few, seed=0, folds=3)
    patients = few["patient"].groupby(folds).agg(set)
    assert {fold: len(names) for fold, names in patients.items()} == {
        "train": 3,
        "val": 1,
        "test": 2,
    }
    with pytest.raises(UserError, match=r"of 1 patient cannot be split into 2 parts: add radiog"):
        assign_folds(few.assign(patient=few["patient"].isin([*"012"]).astype(str)), 0, folds=2)


# --- resample


def test_patients_with_one_radiograph_each_have_the_intervals_of_radiographs():
    rng = np.random.default_rng(0)
    columns = rng.uniform(0, 19, 60), rng.uniform(0, 19, 60)
    plain = with_interval(AGE.values, *columns)
    of_patients = with_interval(AGE.values, *columns, patients=np.arange(60))
    assert {name: r | {"patients": 60} for name, r in plain.items()} == of_patients


def test_a_draw_of_patients_has_all_their_radiographs_in_order():
    rng = np.random.default_rng(3)
    patients, draws = rng.choice([2, 5, 7, 11, 40], 30), 50
    films = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    drawn = np.random.default_rng(9).integers(0, len(films), (draws, len(films)))
    expected = sorted((np.concatenate([films[i] for i in row]) for row in drawn), key=len)
    seen = []

    def metrics(rows):
        seen.extend(np.atleast_2d(rows))
        return {"mean": rows.mean(axis=-1)}

    with_interval(metrics, np.arange(30), patients=patients, draws=draws, seed=9)
    assert len(seen) == draws + 1  # and all radiographs
    for rows, own in zip(seen, expected, strict=False):
        np.testing.assert_array_equal(rows, own)


def test_patients_of_headers_are_named_by_their_first_radiograph_at_a_site():
    rng = np.random.default_rng(0)
    ids = pd.Series(rng.choice(["x", "y", "z", *map(str, range(20))], 60))
    sites = rng.choice(["a", "b"], 60)
    table = pd.DataFrame({"id": [f"film{i}" for i in range(60)], "site": sites})
    for with_sites in (table, table.drop(columns="site")):
        keys = ids + sites if "site" in with_sites else ids
        first = table["id"].groupby(keys).transform("first")
        several = keys.duplicated(keep=False)
        filled = fill_patients(with_sites, rows_alike(ids.to_dict()))["patient"]
        assert filled.tolist() == ("patient of " + first).where(several, "").tolist()


def test_the_interval_of_a_mean_over_patients_is_that_of_their_sums():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(300), rng.integers(1, 5, 300))
    error = rng.normal(0, 1, 300)[patients] + rng.normal(0, 0.3, len(patients))
    zeros = np.zeros(len(patients))
    bias = AGE.number("bias_years").values
    result = with_interval(bias, zeros, error, patients=patients)["bias_years"]
    # the ratio of two means over patients, by linearisation (Cochran 1977, section 6.3)
    rest = np.bincount(patients, error - error.mean())
    half = 1.96 * np.sqrt((rest**2).sum()) / len(patients)
    assert result["low"] == pytest.approx(error.mean() - half, abs=0.015)
    assert result["high"] == pytest.approx(error.mean() + half, abs=0.015)
    assert (result["n"], result["patients"]) == (len(patients), 300)
    plain = with_interval(bias, zeros, error)["bias_years"]
    assert result["high"] - result["low"] > 1.3 * (plain["high"] - plain["low"])


def test_intervals_over_patients_cover_the_truth_where_those_over_radiographs_do_not():
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(60), 4)
    covered = {True: 0, False: 0}
    for trial in range(200):
        error = rng.normal(0, 1, 60)[patients] + rng.normal(0, 0.2, 240)
        for known in covered:
            own = patients if known else None
            bias = with_interval(
                lambda e: {"bias": e.mean(axis=-1)}, error, patients=own, draws=300, seed=trial
            )["bias"]
            covered[known] += bias["low"] <= 0 <= bias["high"]
    assert covered[True] >= 178
    assert covered[False] <= 150


def test_differences_resample_patients():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(100), 4)
    true = rng.uniform(0, 19, 400)
    first = true + rng.normal(0, 1, 400)
    second = first + rng.normal(0, 0.5, 100)[patients]

    def bias(true, predicted):
        return (predicted - true).mean(axis=-1)

    plain = paired_difference(bias, (true, first), (true, second))
    result = paired_difference(bias, (true, first), (true, second), patients)
    half = 1.96 * (second - first)[::4].std(ddof=1) / np.sqrt(100)
    assert result["high"] - result["low"] == pytest.approx(2 * half, rel=0.1)
    assert plain["high"] - plain["low"] < 0.6 * (result["high"] - result["low"])
    pair = (true, first), (true, second)
    assert exchange_test(bias, *pair, patients) > exchange_test(bias, *pair)


def predictions():
    """90 radiographs of 30 patients, who each have one error."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 3)
    age = rng.uniform(2, 17, 30)[patient] + np.tile(np.arange(3) * 0.5, 30)
    error = rng.normal(0, 1, 30)[patient]
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(len(age))],
            "patient": [f"p{k}" for k in patient],
            "sex": np.where(patient % 2, "male", "female"),
            "age_years": age,
            "age_years_predicted": age + error,
        }
    )


def test_every_metric_and_subgroup_knows_its_patients():
    table = predictions()
    plain = evaluate(table.drop(columns="patient"), Stages())
    result = evaluate(table, Stages())
    for name, metric in result.items():
        assert metric["value"] == plain[name]["value"]
        assert metric["n"] == plain[name]["n"]
        assert metric["patients"] <= min(30, metric["n"])
    child = table[table["age_years"] < 10]
    assert result["stage/recall_child"]["patients"] == child["patient"].nunique()
    mae = "age/mae_months"
    width = {k: r[mae]["high"] - r[mae]["low"] for k, r in (("p", result), ("", plain))}
    assert width["p"] > 1.3 * width[""]
    keys = ["band", "sex", "metric"]
    of_films = subgroups(table.drop(columns="patient"), Stages()).set_index(keys)
    of_patients = subgroups(table, Stages()).set_index(keys)
    both = [t.loc[("all", "male", mae)] for t in (of_films, of_patients)]
    assert both[0]["value"] == both[1]["value"]
    assert both[1]["high"] - both[1]["low"] > 1.3 * (both[0]["high"] - both[0]["low"])


def test_shares_of_nought_or_all_rest_on_patients():
    table = pd.DataFrame({"age_years": [19.0] * 9, "age_years_predicted": [12.0] * 9})
    table["patient"] = [*"aaabbbccc"]
    recall = evaluate(table, Stages())["stage/recall_adult"]
    assert recall["high"] == pytest.approx(1 - 0.025 ** (1 / 3))  # of 3, not of 9
    hit = np.array([True, False, False, True])
    rows = errors_by_edge_distance(np.full(4, 10.2), hit, 10, np.array([0, 0, 1, 1]))
    (row,) = [row for row in rows if row["n"]]
    assert (row["low"], row["high"]) == exact_interval(1, 2)
    assert (row["n"], row["errors"]) == (4, 2)


def test_an_unknown_patient_is_one_of_its_own():
    table = predictions().assign(patient="")
    result = evaluate(table, Stages())
    plain = evaluate(table.drop(columns="patient"), Stages())
    assert result == {name: r | {"patients": r["n"]} for name, r in plain.items()}


@pytest.mark.parametrize("patients", [None, 7, 30])
def test_what_rests_on_few_patients_is_marked_everywhere(patients):
    rng = np.random.default_rng(0)  # 120 radiographs of 5.0 to 5.9 years
    true = np.repeat(rng.uniform(5, 5.9, 30), 4)
    table = pd.DataFrame({"id": map(str, range(120)), "sex": "male", "age_years": true})
    table["age_years_predicted"] = true + rng.normal(0, 0.1, 120)
    if patients:
        table["patient"] = [f"p{i % patients}" for i in range(120)]
    few = patients == 7
    assert is_few(evaluate(table, Stages())["age/mae_months"]) == few
    _, rows = subgroup_rows(subgroups(table, Stages()))
    assert {row["band"]: is_few(row) for row in rows if row["n"]} == {"5-10": few, "all": few}
    figures = draw_figures(table, Stages())
    labels = [label.get_text() for label in figures["confusion"].axes[0].get_yticklabels()]
    assert labels[0] == "child\nn = 120" + ("†" if few else "")
    (marker,) = [
        line.get_markerfacecolor()
        for line in figures["error_near_edge"].axes[0].lines
        if line.get_marker() == "o"
    ]
    assert (marker == "white") == few


# --- a run


@pytest.fixture
def visited(own_root):
    """The phantom's 24 radiographs as 12 patients of one sex each."""
    table = pd.read_csv(own_root / TABLE)
    table = table.sort_values("male", kind="stable").reset_index(drop=True)
    table["patient"] = [f"0{k // 2}" for k in range(len(table))]
    females = (~table["male"]).sum()
    if females % 2:  # the pair at the border would be of both sexes
        table.loc[females, "patient"] = table.loc[females - 1, "patient"] = ""
    table.sample(frac=1, random_state=1).to_csv(own_root / TABLE, index=False)
    return own_root


@pytest.mark.slow
def test_a_run_carries_the_patients(visited, configure, tmp_path, capsys):
    metrics = train(configure(f"data.root={visited}", "data.folds=4", "report=true"))
    split = pd.read_csv(tmp_path / "run/split.csv", dtype=str, keep_default_na=False)
    known = split[split["patient"] != ""]
    assert set(known["patient"].str.len()) <= {2, 3}  # text: the leading nought is kept
    assert (known.groupby("patient")["fold"].nunique() == 1).all()
    written = read_run(tmp_path / "run").predictions
    own = split.set_index("id").loc[written["id"], "patient"]
    assert written["patient"].tolist() == own.tolist()
    n = (own != "").sum() and own[own != ""].nunique() + (own == "").sum()
    assert metrics["patients"] == n
    page = (tmp_path / "run/report.html").read_text()
    assert f"{len(own)} radiographs of {n} patients" in page
    assert "resample patients" in page
    assert f"over {n} patients" in capsys.readouterr().out


def test_a_checkpoint_that_has_seen_patients_of_the_test_fold_says_so(caplog):
    split = {"id": ["1"], "patient": ["p"], "age_months": [60.0], "sex": ["male"], "fold": ["val"]}
    test = pd.DataFrame({"id": ["2"], "patient": ["p"], "age_months": [72.0], "fold": ["test"]})
    for others in ({"patient": ["q"]}, {"patient": [""]}):
        check_unseen({"boneage": {"split": split | others}}, test)
    check_unseen({"boneage": {"split": {k: v for k, v in split.items() if k != "patient"}}}, test)
    assert not caplog.text
    check_unseen({"boneage": {"split": split}}, test)
    assert "The names of 1 patient of the test fold are also those of training" in caplog.text
    assert "patients of this checkpoint (p" in caplog.text


def trained_on(split):
    """A patient with two radiographs in the training fold."""
    return split["patient"][(split["fold"] == "train") & (split["patient"] != "")].iloc[0]


@pytest.mark.slow
def test_a_patient_in_two_tables_or_two_folds_is_refused(visited, configure, tmp_path):
    train(configure(f"data.root={visited}", "data.folds=4", run="before"))
    split = pd.read_csv(tmp_path / "before/split.csv", dtype=str, keep_default_na=False)
    patient = trained_on(split)
    rows = split.index[split["patient"] == patient]
    split.loc[rows, "fold"] = ["train", "test"]
    split.to_csv(tmp_path / "mixed.csv", index=False)
    mixed = f"data.split_file={tmp_path / 'mixed.csv'}"
    with pytest.raises(UserError, match=rf"mixed\.csv puts .* 1 patient .*: {patient}; .*id col"):
        train(configure(f"data.root={visited}", mixed))
    metrics = train(configure(f"data.root={visited}", mixed, "data.columns.patient=id", run="own"))
    assert metrics["patients"] == metrics["n"]["test"]

    table = pd.read_csv(visited / TABLE, dtype=str, keep_default_na=False)
    one = table["id"] == split.loc[rows[0], "id"]
    table[one].to_csv(visited / "my-test.csv", index=False)
    table[~one].to_csv(visited / TABLE, index=False)
    with pytest.raises(UserError, match=rf"1 patient .*more than one of the tables.*: {patient};"):
        read_source(visited)


def test_a_hold_out_has_all_radiographs_of_each_of_its_patients():
    table = pd.DataFrame({"id": list("abcdef"), "patient": ["x", "x", "y", "y", "", ""]})
    held = same_patients(table, table["id"].isin(["b", "c", "e"]))
    assert list(table["id"][held]) == list("abcde")  # e and f: unknown, so two patients


@pytest.mark.slow
def test_a_hold_out_takes_the_other_radiographs_of_its_patients_along(
    visited, configure, tmp_path, caplog
):
    same = f"data.root={visited}", "data.folds=4"
    train(configure(*same, run="before"))
    split = pd.read_csv(tmp_path / "before/split.csv", dtype=str, keep_default_na=False)
    ids = split["id"][split["patient"] == trained_on(split)]
    (tmp_path / "held.csv").write_text(f"id\n{ids.iloc[0]}\n")
    caplog.set_level(logging.INFO)
    train(configure(*same, f"data.hold_out={tmp_path / 'held.csv'}"))
    after = pd.read_csv(tmp_path / "run/split.csv", dtype=str).set_index("id")["fold"]
    assert (after.loc[ids] == "test").all()
    assert (after != split.set_index("id")["fold"].loc[after.index]).sum() == 2
    assert "Also held out: 1 other radiograph of the same patients" in caplog.text


def test_both_sexes_of_one_patient_are_said(visited, caplog):
    table = pd.read_csv(visited / TABLE, dtype=str).assign(patient="07")
    table.to_csv(visited / TABLE, index=False)
    read_source(visited)
    assert "1 patient with radiographs of both sexes: 07" in caplog.text


@pytest.mark.slow
def test_without_the_column_nothing_is_said_or_written(configure, tmp_path):
    metrics = train(configure("report=true"))
    assert "patients" not in metrics
    assert not any("patients" in result for result in metrics["test"].values())
    assert "patient" not in pd.read_csv(tmp_path / "run/split.csv")
    assert "resample patients" not in (tmp_path / "run/report.html").read_text()


# --- several runs


@pytest.fixture
def pair(tmp_path):
    table = predictions()
    other = table.assign(
        age_years_predicted=table["age_years_predicted"] + np.repeat(np.sin(np.arange(30)), 3)
    )
    for name, own in (("a", table), ("b", other), ("c", other.drop(columns="patient"))):
        n = {"train": 1, "val": 0, "test": len(own)}
        folder = write_finished_run(tmp_path / name, own, n=n)
        trained = pd.DataFrame({"id": ["x"], "fold": "train", "age_years": 5, "sex": "male"})
        split = pd.concat([trained, own.assign(fold="test")], join="inner")
        split.to_csv(folder / "split.csv", index=False)
    return tmp_path


@pytest.mark.slow
def test_comparisons_resample_patients(pair):
    a, b, c = (read_run(pair / name) for name in "abc")
    result = difference_of([a], [b], "age/mae_months")
    assert (result["n"], result["patients"]) == (90, 30)
    assert difference_of([c], [a], "age/mae_months")["patients"] == 30  # one of them knows
    neither = difference_of([c], [c], "age/mae_months")
    assert "patients" not in neither
    write_comparison([pair / "a", pair / "b"], pair / "out")
    assert "Intervals resample 30 patients" in (pair / "out/comparison.html").read_text()


@pytest.mark.slow
def test_an_ensemble_keeps_the_patients(pair):
    for runs in ("ab", "ca", "ac"):
        out = pair / f"mean_{runs}"
        metrics = ensemble([pair / name for name in runs], out)
        assert metrics["patients"] == 30
        assert read_run(out).predictions["patient"].tolist() == predictions()["patient"].tolist()
        assert json.loads((out / "metrics.json").read_text())["test"]["age/r2"]["patients"] == 30
    write_report(out)
    assert "90 radiographs of 30 patients" in (out / "report.html").read_text()


def test_the_option_is_in_the_config():
    assert compose_config("data=rsna").data.columns == {
        "id": None, "age": None, "sex": None, "patient": None, "site": None, "readers": None,
        "labels": None,
    }  # fmt: skip


def test_copies_are_named_by_their_rows_in_the_cache_and_count_in_the_folds_in_use(caplog):
    folds = ["train", "unused", "test", "test", "test"]
    table = pd.DataFrame({"id": list("bcdef"), "cache_row": [1, 2, 3, 4, 5], "fold": folds})
    same_pixels = [[0, 2], [1, 3], [2, 4], [4, 5]]  # row 0 is left out; c is unused; one fold
    warn_of_leaks(table, SimpleNamespace(same_pixels=same_pixels))
    (message,) = caplog.messages
    assert message.startswith("1 radiograph in more than one fold under different ids: b = d. ")
