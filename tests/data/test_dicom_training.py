"""A folder of DICOM files with a label table beside it: what training sees, and what it refuses."""

import logging
import re
import shutil
import sys
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import written
from pydicom import uid

from boneage.data.cache import open_cache
from boneage.data.decode import Preprocessing
from boneage.data.layouts import read_source
from boneage.data.module import BoneAgeDataModule
from boneage.errors import MissingPackage, UserError
from boneage.predict.radiograph import load
from boneage.stages import Stages

BARE = "1.2.840.7"  # the name of a file without a suffix


@pytest.fixture
def root(phantom_root, tmp_path):
    """The phantom as 12-bit DICOM: sex M in every header, none of every second row of the table."""
    folder = tmp_path / "films"
    (folder / "export").mkdir(parents=True)
    (table_file,) = phantom_root.glob("*.csv")
    table = pd.read_csv(table_file, dtype=str)
    for id_ in table["id"]:
        (file,) = phantom_root.rglob(f"{id_}.png")
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 16
        told = {"PatientSex": "M", "PatientAge": "009Y"}
        written(folder / f"export/{id_}.dcm", pixels, 12, **told)
    (folder / f"export/{table['id'][0]}.dcm").rename(folder / BARE)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    table.loc[0, "id"] = BARE
    sexes = table["male"].map({"True": "M", "False": "F"})
    sexes[::2] = ""
    labels = pd.DataFrame({"id": table["id"], "boneage": table["boneage"], "sex": sexes})
    labels.to_csv(folder / "labels.csv", index=False)
    return folder


def module(root, tmp_path, **options):
    data = BoneAgeDataModule(root, Stages(), size=32, cache_dir=tmp_path / "cache", **options)
    data.setup("fit")
    return data


@pytest.mark.parametrize(
    "options",
    [{}, {"fit": "pad", "contrast": "stretch"}, {"crop": "hand", "contrast": "stretch"}],
    ids=str,
)
def test_training_sees_the_squares_that_prediction_sees(root, tmp_path, options):
    data = module(root, tmp_path, **options)
    assert len(data.table) == 24
    for row in data.table.index:
        (square,) = load(Path(data.table["path"][row]), (data.preprocessing,)).squares
        np.testing.assert_array_equal(data.images_of(data.table.index[[row]])[0], square)


def test_the_sex_is_the_tables_else_the_headers_and_the_age_is_the_tables(root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    labels = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    for _ in ("decoded", "found in the cache"):
        caplog.clear()
        table = module(root, tmp_path).table.set_index("id").loc[labels["id"]]
        expected = labels["sex"].map({"": "male", "M": "male", "F": "female"})
        assert table["sex"].tolist() == expected.tolist()
        assert "The sex of 12 radiographs is read from the DICOM header" in caplog.text
    assert table["age_months"].tolist() == labels["boneage"].astype(float).tolist()  # not 9 years


def test_sexes_that_contradict_the_header_are_said(root, tmp_path, caplog):
    labels = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    girls = list(labels["id"][labels["sex"] == "F"])  # the headers say M
    assert len(girls) > 1
    module(root, tmp_path)
    (line,) = [text for text in caplog.messages if "contradicts the DICOM header" in text]
    assert f"of {len(girls)} radiographs: {girls[0]}, {girls[1]}" in line


def test_without_a_table_there_is_no_bone_age(root, tmp_path):
    (root / "labels.csv").unlink()
    with pytest.raises(
        UserError, match=r"no label table.*a DICOM header contains no bone age"
    ) as e:
        module(root, tmp_path)
    assert "\n" not in str(e.value)


def test_a_damaged_file_is_reported_or_dropped(root, tmp_path):
    file = min(root.glob("export/*.dcm"))
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(UserError, match=rf"1 of 24 .*{file.name}: its pixels are cut off.*=drop"):
        module(root, tmp_path)
    assert len(module(root, tmp_path, unreadable="drop").table) == 23


def test_a_missing_package_is_not_remembered_as_damage(root, tmp_path, monkeypatch):
    file = min(root.glob("export/*.dcm"))
    dataset = pydicom.dcmread(file)
    pixels = dataset.pixel_array
    frame = imagecodecs.ljpeg_encode(pixels, bitspersample=12)
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    dataset.save_as(file)
    table, small = read_source(root), Preprocessing(size=32)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imagecodecs", None)
        with pytest.raises(MissingPackage, match=f"{file.name}: .*pip install imagecodecs"):
            open_cache(table, small, tmp_path / "cache")
    assert open_cache(table, small, tmp_path / "cache").unreadable == {}


@pytest.mark.parametrize(("form", "again"), [("DICOM", True), ("PNG", False)])
def test_files_with_headers_are_read_again_when_more_is_read_of_them(
    root, phantom_root, tmp_path, monkeypatch, form, again
):
    table = read_source(root if form == "DICOM" else phantom_root, missing="drop")
    before = open_cache(table, Preprocessing(16), tmp_path / "cache").path
    monkeypatch.setattr("boneage.data.cache.HEADERS", 99)
    after = open_cache(table, Preprocessing(16), tmp_path / "cache").path
    assert (after != before) == again


def test_radiographs_to_hold_out_may_be_dicom_without_a_suffix(root, tmp_path):
    (tmp_path / "held").mkdir()
    shutil.copy(root / BARE, tmp_path / "held")
    table = module(root, tmp_path, hold_out=tmp_path / "held").table.set_index("id")
    assert table.loc[BARE, "fold"] == "test"


def name_patients(root, patient_of):
    """Write the PatientID of the films in the order of the table."""
    labels = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    for row, id_ in enumerate(labels["id"]):
        (file,) = [*root.rglob(id_), *root.rglob(f"{id_}.dcm")]
        dataset = pydicom.dcmread(file)
        dataset.PatientID = patient_of(row)
        dataset.save_as(file)
    return list(labels["id"])


def test_the_films_of_a_patient_in_the_headers_are_in_one_fold(root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    spellings = ["p{}", "P{} "]
    ids = name_patients(root, lambda row: spellings[row // 12].format(row % 12))
    for _ in ("decoded", "found in the cache"):
        table = module(root, tmp_path, folds=4).table.set_index("id").loc[ids]
        for first in range(12):
            assert table["fold"].iloc[first::12].nunique() == 1
            assert set(table["patient"].iloc[first::12]) == {f"patient of {ids[first]}"}
    assert "from the DICOM headers (PatientID): 24 radiographs of 12 patients" in caplog.text
    assert not any("p3" in text for text in (*caplog.messages, *map(str, table["patient"])))
    as_before = module(root, tmp_path, folds=4, columns={"patient": "id"}).table
    assert as_before["patient"].nunique() == 24


def test_patients_of_one_film_or_without_a_name_change_nothing(root, tmp_path, caplog):
    before = module(root, tmp_path).table
    for number, ids in enumerate((lambda row: f"p{row}", lambda row: "", lambda row: "N/A")):
        name_patients(root, ids)
        table = module(root, tmp_path / str(number)).table
        pd.testing.assert_series_equal(table["fold"], before["fold"])
        assert "patient" not in table
    name_patients(root, lambda row: "anonymous" if row % 3 else "")
    assert "patient" not in module(root, tmp_path / "more").table
    assert "16 radiographs have the same PatientID" in caplog.text


def test_the_patients_of_the_table_are_used_if_it_has_them(root, tmp_path):
    name_patients(root, lambda row: f"p{row // 2}")
    labels = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    labels.assign(patient=[f"t{(row + 1) // 2}" for row in labels.index]).to_csv(
        root / "labels.csv", index=False
    )
    assert set(module(root, tmp_path, folds=4).table["patient"]) == {f"t{i}" for i in range(13)}


def test_a_patient_of_the_headers_in_two_tables_is_said(root, tmp_path, caplog):
    ids = name_patients(root, lambda row: f"p{row % 12}")
    labels = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
    labels[:20].to_csv(root / "labels.csv", index=False)
    labels[20:].to_csv(root / "test.csv", index=False)
    module(root, tmp_path)
    expected = f"4 patients with radiographs in more than one of the label tables.*{ids[8]}"
    assert any(re.match(expected, text) for text in caplog.messages)


def test_copies_of_a_radiograph_in_two_folds_are_said(root, tmp_path, caplog):
    table = module(root, tmp_path).table.set_index("id")
    assert "different ids" not in caplog.text
    train, test = (table[table["fold"] == fold].index for fold in ("train", "test"))
    shutil.copy(table["path"][train[0]], table["path"][test[0]])
    shutil.copy(table["path"][train[1]], table["path"][train[2]])  # in one fold
    for _ in ("decoded", "found in the cache"):
        caplog.clear()
        module(root, tmp_path)
        (line,) = [text for text in caplog.messages if "different ids" in text]
        assert line.startswith("1 radiograph in more than one fold under different ids: ")
        assert {*line.partition(": ")[2].partition(". ")[0].split(" = ")} == {train[0], test[0]}


@pytest.mark.parametrize(("name", "value"), [("Modality", "CT"), ("BodyPartExamined", "CHEST")])
def test_radiographs_that_are_no_hands_by_their_headers_are_said(
    root, tmp_path, caplog, name, value
):
    files = sorted(root.glob("export/*.dcm"))[3:5]
    for file in files:
        dataset = pydicom.dcmread(file)
        setattr(dataset, name, value)
        dataset.save_as(file)
    for _ in ("decoded", "found in the cache"):
        caplog.clear()
        module(root, tmp_path)
        (line,) = [text for text in caplog.messages if "not of hands" in text]
        assert line.startswith("2 radiographs not of hands according to DICOM headers: ")
        assert all(f"{file.stem}: no " in line for file in files)
        assert value in line
