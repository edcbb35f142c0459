"""Sex and age in the header of a DICOM file: read with certainty, or said to be odd."""

import numpy as np
import pytest
from dicom_files import PICTURE, written
from pydicom.sr.codedict import codes

from boneage.data.dicom.header import Header
from boneage.data.dicom.read import read_dicom
from boneage.predict.patients import (
    AGE_CONTRADICTED,
    SEX_CONTRADICTED,
    Patient,
    patient_given,
    patient_of,
)
from boneage.predict.radiograph import load

CONTRADICTED = "the file's dates contradict its PatientAge"


def header(tmp_path, **tags):
    return read_dicom(written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), **tags))[1]


def dated(birth="20080615", study="20200615", **tags):
    return {"PatientBirthDate": birth, "StudyDate": study, **tags}


@pytest.mark.parametrize(
    ("tags", "years", "odd"),
    [
        ({}, None, ""),
        # by the dates
        (dated(), 12.0, ""),
        (dated(study="20201215"), 12.5, ""),
        (dated(birth="2008.06.15", study="2020-06-15"), 12.0, ""),
        (dated(PatientAge="   "), 12.0, ""),
        (dated(study="", AcquisitionDate="20200615"), 12.0, ""),
        (dated(study="", ContentDate="20200615"), 12.0, ""),
        (dated(study="unknown", AcquisitionDate="20200615"), 12.0, ""),
        (dated(study=""), None, ""),
        (dated(birth=""), None, ""),
        # PatientAge counts, and the dates agree
        (dated(PatientAge="012Y", study="20210601"), 12.0, ""),
        (dated(PatientAge="144M"), 12.0, ""),
        (dated(PatientAge="15 Y", birth="20050601"), 15.0, ""),
        (dated(PatientAge="012Y", birth="19000101"), 12.0, ""),
        (dated(PatientAge="012Y", birth="00000000"), 12.0, ""),
        # they do not
        (dated(PatientAge="009Y"), 9.0, CONTRADICTED),
        (dated(PatientAge="014Y"), 14.0, CONTRADICTED),
        (dated(PatientAge="012M"), 1.0, CONTRADICTED),
        (dated(PatientAge="000Y"), None, CONTRADICTED),
        (dated(PatientAge="040Y"), None, CONTRADICTED),
        (dated(PatientAge="012Y", birth="19800615"), 12.0, CONTRADICTED),
        (dated(birth="20210101"), None, "the file's study is dated before the birth"),
        (dated(PatientAge="012Y", birth="20210101"), 12.0,
         "the file's study is dated before the birth"),
        # adults and placeholders
        (dated(birth="19800615"), None, "by the file's dates the patient is over 25 years"),
        (
            dated(birth="19800615", PatientAge="040Y"),
            None,
            "the file's PatientAge is over 25 years",
        ),
        ({"PatientAge": "040Y"}, None, "the file's PatientAge is over 25 years"),
        ({"PatientAge": "999Y"}, None, "the file's PatientAge is over 25 years"),
        (dated(birth="19000101"), None, "the file's PatientBirthDate is a placeholder"),
        (dated(birth="18000101"), None, "the file's PatientBirthDate is a placeholder"),
        (dated(birth="20200615"), None, "by the file's dates it was taken on the day of birth"),
        ({"PatientAge": "000Y"}, None, "the file's PatientAge '000Y' may be a placeholder"),
        ({"PatientAge": "000D"}, None, "the file's PatientAge '000D' may be a placeholder"),
        (dated(birth="20191215", PatientAge="000Y"), 0.5, ""),
        # what is no age and no date
        ({"PatientAge": "15"}, None, "the file's PatientAge '15' is not recognised"),
        ({"PatientAge": "12Y3M"}, None, "the file's PatientAge '12Y3M' is not recognised"),
        (dated(PatientAge="15"), 12.0, "the file's PatientAge '15' is not recognised"),
        (dated(birth="2008"), None, "the file's PatientBirthDate is not a date"),
        (dated(birth="20081340"), None, "the file's PatientBirthDate is not a date"),
        (dated(study="2020"), None, "the file's StudyDate is not a date"),
        (dated(AcquisitionDate="20240101", SeriesDate="20250101"), 12.0, ""),  # of the study
    ],
)  # fmt: skip
def test_ages(tmp_path, tags, years, odd):
    said = header(tmp_path, **tags)
    assert said.age_flag == odd
    assert said.age_years == (None if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(
    ("text", "sex", "odd"),
    [
        ("f", "female", False), ("Female", "female", False), ("M ", "male", False),
        ("", "unknown", False), ("unknown", "unknown", False),
        ("W", "unknown", True), ("O", "unknown", True), ("U", "unknown", True),
        ("1", "unknown", True), (["F", "M"], "unknown", True),
    ],
)  # fmt: skip
def test_sexes(tmp_path, text, sex, odd):
    said = header(tmp_path, PatientSex=text)
    assert said.sex == sex
    assert bool(said.sex_flag) == odd
    assert not odd or said.sex_flag.endswith("is not recognised")


def test_what_is_odd_counts_where_the_header_does():
    odd = Header("unknown", None, "odd sex", "odd age")
    assert patient_of(Patient(), odd).flags == ("odd sex", "odd age")
    assert patient_of(patient_given("male", None), odd).flags == ("odd age",)
    known = Patient("female", "table", 9.0, "table")
    assert patient_of(Patient(), odd, known) == known
    only_age = Patient("unknown", "", 9.0, "table")
    assert patient_of(Patient(), odd, only_age).flags == ("odd sex",)
    assert patient_of(Patient(), Header("male", 9.0)).flags == ()
    assert patient_of(Patient(), None) == Patient()


def test_what_is_given_and_contradicts_the_header_is_flagged():
    header = Header("male", 9.0)
    both = (SEX_CONTRADICTED, AGE_CONTRADICTED)
    assert patient_of(patient_given("female", 10.5), header).flags == both
    row = Patient("female", "table", 7.9, "table")
    assert patient_of(Patient(), header, row).flags == both
    assert patient_of(Patient(), header, row).sex == "female"
    assert patient_of(patient_given("male", 9.99), header).flags == ()  # of 009Y
    assert patient_of(patient_given("unknown", None), header).flags == ()
    assert patient_of(patient_given("female", None), None).flags == ()
    doubtful = Header("male", 9.0, age_flag="its dates contradict it")
    assert patient_of(patient_given("male", 12), doubtful).flags == ()


def test_the_call_counts_before_the_table_and_the_table_before_the_header():
    header, row = Header("male", 9.0), Patient("male", "table", 8.5, "table")
    both = patient_of(patient_given("female", 9.5), header, row)
    assert (both.sex, both.sex_from) == ("female", "option")
    assert (both.age_years, both.age_from) == (9.5, "option")
    age = patient_of(patient_given(None, 9.5), None, row)
    assert age == Patient("male", "table", 9.5, "option")
    assert patient_of(Patient(), header, row) == row
    alone = patient_of(Patient(), header)
    assert alone == Patient("male", "header", 9.0, "header")


@pytest.mark.parametrize(
    ("tags", "flags"),
    [
        ({"Modality": "CT"}, ["no radiograph by its header: Modality CT"]),
        ({"BodyPartExamined": "Chest"}, ["no hand by its header: BodyPartExamined 'CHEST'"]),
        ({"BodyPartExamined": "LEG_L"}, ["no hand by its header: BodyPartExamined 'LEG_L'"]),
        ({"BodyPartExamined": "HAND AND FOOT"}, []),
        *[({"Modality": modality}, []) for modality in ("CR", "DX", "RG", "OT", "", None)],
        *[({"BodyPartExamined": part}, []) for part in
          ("", "HAND", "L_HAND", "Wrist", "EXTREMITY", "ARM", "MAIN", "POIGNET", "SKELETON")],
    ],
)  # fmt: skip
def test_a_file_that_says_it_is_no_hand(tmp_path, tags, flags):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), **tags)
    assert [*read_dicom(file)[1].image_flags] == flags
    assert [flag for flag in load(file, ()).flags if "header" in flag] == flags


def test_other_bones_of_the_standard_are_no_hand(tmp_path):
    regions = {name.upper() for name in dir(codes.CID4009) if name[0].isupper()}
    bones = {
        "CALCANEUS", "CLAVICLE", "COCCYX", "FEMUR", "FIBULA", "HUMERUS", "MANDIBLE", "MAXILLA",
        "PATELLA", "PELVIS", "RIB", "SACRUM", "SCAPULA", "SKULL", "SPINE", "STERNUM", "THIGH",
        "ZYGOMA",
    }  # fmt: skip
    assert bones <= regions
    for part in sorted(bones | {"TIBIA", "RIB_L"}):
        flags = header(tmp_path, BodyPartExamined=part).image_flags
        assert flags == (f"no hand by its header: BodyPartExamined '{part}'",)
