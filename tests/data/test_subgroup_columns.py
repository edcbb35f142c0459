"""Columns of a label table to group by: read, refused, and kept until runs are pooled."""

import json

import numpy as np
import pandas as pd
import pytest

from boneage.data.layouts import read_rows
from boneage.data.split_choice import site_folds
from boneage.data.tables.columns import Columns
from boneage.data.tables.labels import read_labels
from boneage.errors import UserError
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.report.page import write_report
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train

TABLE = "boneage-training-dataset.csv"


def read(tmp_path, others, rows, header="id,boneage,male", **columns):
    (tmp_path / "t.csv").write_text(f"{header},{others[-1]}\n{rows}")
    return read_labels(tmp_path / "t.csv", Columns.of(columns, others))


def test_a_column_is_kept_as_text(tmp_path):
    table = read(tmp_path, ["device"], "1,60,True,007\n2,72,False,\n")
    assert table["device"].tolist() == ["007", ""]


def test_a_column_called_site_may_have_gaps_unless_it_is_named_as_the_site(tmp_path):
    rows = "1,60,True,Bern\n2,72,False,\n"
    assert read(tmp_path, ["site"], rows)["site"].tolist() == ["Bern", ""]
    for missing in ("", "NA", "unknown"):
        rows = f"1,60,True,Bern\n2,72,False,{missing}\n"
        with pytest.raises(UserError, match=r"row 3, column 'hospital'.*is no site: name it"):
            read(tmp_path, ["hospital"], rows, site="hospital")
    both = Columns.of({"site": "hospital"}, ["site", "hospital", "device", "device"])
    assert both.others == ("device",)


@pytest.mark.parametrize(
    "name", ["fold", "kind", "age_years", "stage_predicted", "reader_a_years", "label_height"]
)
def test_names_of_the_results_are_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"data.subgroups names '{name}', which the results use"):
        read(tmp_path, [name], "1,60,True,a\n2,72,False,b\n")


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(UserError, match=r"names 'race', which .*t\.csv lacks \(it has id, bone"):
        read(tmp_path, ["race", "device"], "1,60,True,a\n2,72,False,b\n")


@pytest.mark.parametrize("cells", ['"1,{:03}"', "1.{:03}"])
def test_what_may_be_thousands_is_no_number_as_in_ages(tmp_path, cells):
    rows = "".join(f"{i},{60 + i},True,{cells.format(i)}\n" for i in range(51))
    with pytest.raises(UserError, match=r"'dose', which has 52 .* numbers such as 1200"):
        read(tmp_path, ["dose"], f"{rows}99,90,True,900\n")


def test_a_column_of_names_is_refused_and_one_of_numbers_is_not(tmp_path):
    rows = "".join(f"{i},{60 + i},True,{{}}{i},5\n" for i in range(51))
    with pytest.raises(UserError, match=r"'who', which has 51 different values .* 50 groups"):
        read(tmp_path, ["who"], rows.format(*["child "] * 51).replace(",5\n", "\n"))
    for decimals in (".5", ""):
        numbers = rows.format(*[""] * 51).replace(",5\n", f"{decimals}\n")
        assert read(tmp_path, ["who"], numbers)["who"].nunique() == 51


def test_sites_without_a_name_cannot_be_left_out():
    table = pd.DataFrame({"age_months": [50.0, 60, 70], "sex": "male", "site": ["a", "", "b"]})
    with pytest.raises(
        UserError, match=r"data\.folds=site, but no site is given for 1 radiograph:"
    ):
        site_folds(table, 0, 0)


def test_spellings_of_one_site_or_group_are_one(own_root, caplog):
    labels = pd.read_csv(own_root / TABLE)
    labels["hospital"] = np.tile(["Bern", "BERN ", "Aarhus", "bern"], 6)
    labels["device"] = np.tile(["GE", "Ge", "NA", "", "Agfa", "ge"], 4)
    labels["dose"] = np.tile(["1", "01", "1.0", "2"], 6)
    labels.to_csv(own_root / TABLE, index=False)
    columns = Columns.of({"site": "hospital"}, ["device", "dose"])
    rows = read_rows(own_root, columns=columns)[2]
    assert rows["site"].value_counts().to_dict() == {"Bern": 18, "Aarhus": 6}
    assert rows["device"].value_counts()[["GE", "Agfa"]].tolist() == [12, 4]
    assert rows["dose"].nunique() == 4  # numbers, which are equal as such
    assert "2 spellings merged with another site, because only letter case" in caplog.text
    assert "merged with another value of device" in caplog.text


@pytest.mark.slow
def test_sites_are_pooled_and_their_columns_kept(configure, own_root, tmp_path):
    labels = pd.read_csv(own_root / TABLE)
    labels["hospital"] = np.tile(["Aarhus", "Bern"], 12)
    labels["device"] = ["" if i % 5 == 0 else f"GE {i % 2}" for i in range(24)]
    labels.to_csv(own_root / TABLE, index=False)
    folders = [tmp_path / "0", tmp_path / "1"]
    options = ["data.folds=site", "data.columns.site=hospital", "data.subgroups=[device]"]
    for fold, folder in enumerate(folders):
        train(configure(*options, f"data.root={own_root}", f"data.fold={fold}", run=folder.name))
    alone = pd.read_csv(folders[0] / "predictions.csv", dtype=str, keep_default_na=False)
    assert set(alone["site"]) == {"Aarhus"}
    assert json.loads((folders[0] / "metrics.json").read_text())["subgroups"] == ["site", "device"]
    assert "only one level, Aarhus: nothing" in write_report(folders[0]).read_text()

    metrics = ensemble(folders, tmp_path / "pooled")
    assert metrics["subgroups"] == ["site", "device"]
    pooled = pd.read_csv(tmp_path / "pooled/predictions.csv", keep_default_na=False)
    truth = labels.set_index("id").loc[pooled["id"]]
    assert len(pooled) == 24
    assert pooled["site"].tolist() == truth["hospital"].tolist()
    assert pooled["device"].tolist() == truth["device"].tolist()
    groups = pd.read_csv(tmp_path / "pooled/subgroups.csv", keep_default_na=False)
    found = groups.set_index(["column", "level", "metric"])
    error = 12 * (pooled["age_years_predicted"] - pooled["age_years"]).abs()
    for column, level in (("site", "Aarhus"), ("site", "Bern"), ("device", "GE 1")):
        row = found.loc[(column, level, "age/mae_months")]
        assert float(row["value"]) == pytest.approx(error[pooled[column] == level].mean())
    unknown = found.loc[("device", "unknown", "age/mae_months")]
    assert float(unknown["value"]) == pytest.approx(error[pooled["device"] == ""].mean())
    page = write_report(tmp_path / "pooled").read_text()
    assert "By site" in page
    assert "<th>Bern</th>" in page
    write_comparison([tmp_path / "pooled", *folders], tmp_path / "out")
