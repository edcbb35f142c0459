"""No file that is written contains what only the headers and unused columns name."""

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import written
from helpers import TINY, compose_config

from boneage.predict.ensemble import Ensemble
from boneage.predict.export import export
from boneage.predict.predict import predict
from boneage.run.experiment import train

SECRETS = {  # of a header; none of them is a part of a path
    "PatientName": "Zacharias^Quintus",
    "PatientID": "QUINTUS-4711",
    "OtherPatientIDs": "OTHER-4712",
    "PatientBirthDate": "20091117",
    "PatientAddress": "Zwickelgasse",
    "AccessionNumber": "ACC-4713",
    "InstitutionName": "Klinikum Zwickel",
    "ReferringPhysicianName": "Refermann",
    "OperatorsName": "Opermann",
    "StudyDate": "20191203",
    "StudyInstanceUID": "1.2.999.4714",
    "StudyDescription": "Zwickelstudie",
    "PatientComments": "Kommentar",
}
COLUMNS = {"name": "Quintus, Zacharias", "birth date": "17.11.2009"}  # of the table


@pytest.fixture(scope="module")
def root(phantom_root, tmp_path_factory):
    """The phantom as DICOM; every two radiographs are of one patient."""
    folder = tmp_path_factory.mktemp("films")
    (table,) = phantom_root.glob("*.csv")
    labels = pd.read_csv(table, dtype=str)
    for row, id_ in enumerate(labels["id"]):
        (file,) = phantom_root.rglob(f"{id_}.png")
        tags = SECRETS | {"PatientID": f"{SECRETS['PatientID']}-{row // 2}"}
        path = written(folder / f"{id_}.dcm", cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), **tags)
        header = pydicom.dcmread(path)
        header.private_block(9, "MAKER", create=True).add_new(1, "LO", "Privatwert")
        header.save_as(path)
    labels.assign(**COLUMNS).to_csv(folder / "labels.csv", index=False)
    return folder


def assert_secret(folder):
    """Search every file, the compressed ones unpacked, and at least one."""
    secrets = [*SECRETS.values(), *COLUMNS.values(), "Privatwert", "2009-11-17", "2019-12-03"]
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".npz":
            content = b"".join(value.tobytes() for value in np.load(file).values())
            content = content.replace(b"\0", b"")
        content = content.lower()  # PatientIDs are compared without their case
        found = [text for text in secrets if text.lower().encode() in content]
        assert not found, f"{file}: {found}"


def test_no_file_of_a_run_has_a_name_a_date_of_birth_or_a_patient_id(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BONEAGE_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    run.mkdir()
    options = ["report=true", "logger=tensorboard"]
    train(compose_config(*TINY, "data=rsna", f"data.root={root}", f"run_dir={run}", *options))
    export(run, tmp_path / "export/model.onnx", "onnx")
    split = pd.read_csv(run / "split.csv", dtype=str)
    assert split["patient"].nunique() == 12  # the PatientID was used
    for folder in ("cache", "run", "export"):
        assert_secret(tmp_path / folder)
    content = (run / "checkpoints/best.ckpt").read_bytes()
    assert split["id"][0].encode() in content  # as the page on privacy says


def test_no_file_of_predictions_has_a_name_or_a_date_of_birth(root, tmp_path):
    films = sorted(root.glob("*.dcm"))[:3]
    table = root / "labels.csv"
    predict(films, Ensemble(()), tmp_path / "out", table, pictures=True, pages=True)
    assert_secret(tmp_path / "out")
    assert (tmp_path / "out/report.html").exists()
    header = predict(films, Ensemble(()), tmp_path / "header")
    assert_secret(tmp_path / "header")
    assert header[0].chronological_age_years == pytest.approx(10.04, abs=0.01)  # by the dates
