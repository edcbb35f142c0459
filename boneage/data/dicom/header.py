"""The patient data of a DICOM header, and anomalies in them."""

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from boneage.data.tables.ids import NO_PATIENT, core
from boneage.data.tables.sexes import SPELLINGS
from boneage.stages import MAX_AGE_YEARS

if TYPE_CHECKING:
    from pydicom import Dataset

YEAR = 365.25  # days
DAYS = {"D": 1.0, "W": 7.0, "M": YEAR / 12, "Y": YEAR}
STUDY_DATES = ("StudyDate", "AcquisitionDate", "ContentDate", "SeriesDate")  # the first counts
CONTRADICTION = 1.0  # years between PatientAge, which may be in whole years, and the dates
PLACEHOLDERS = 1900  # dates of birth up to this year
NO_RADIOGRAPH = ("CT", "ES", "GM", "MR", "NM", "OP", "OPT", "PT", "SM", "US", "XC")  # modalities
OTHER_PARTS = {  # of the body (PS3.16 annex L), not with a hand on one radiograph
    "ABDOMEN", "ANKLE", "BREAST", "CALCANEUS", "CHEST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW",
    "FEMUR", "FIBULA", "FOOT", "HEAD", "HEART", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE",
    "MANDIBLE", "MAXILLA", "NECK", "PATELLA", "PELVIS", "RIB", "SACRUM", "SCAPULA", "SHOULDER",
    "SKULL", "SPINE", "SSPINE", "STERNUM", "THIGH", "THORAX", "TIBIA", "TOE", "TSPINE", "ZYGOMA",
}  # fmt: skip
HAND_WORDS = re.compile("HAND|WRIST|FINGER|THUMB|FOREARM|CARP|BONE ?AGE")
VALUE_LENGTH = 20  # characters of a value that is not recognised


@dataclass(frozen=True)
class Header:
    """The patient data of a DICOM file.

    Args:
        sex: "female", "male" or "unknown".
        age_years: chronological age at the study, None if the file does not contain it.
        sex_flag: what is wrong with the sex in the file; empty if nothing is.
        age_flag: the same for the age.
        patient: PatientID without differences of spelling, empty if there is none.
        image_flags: why it is not the radiograph of a hand.
    """

    sex: str
    age_years: float | None
    sex_flag: str = ""
    age_flag: str = ""
    patient: str = ""
    image_flags: tuple[str, ...] = ()


def header_of(file: "Dataset") -> Header:
    """Return the patient data of a file: the age from PatientAge, else from its dates."""
    sex, sex_flag = _sex(_text(file, "PatientSex"))
    age, age_flag = _age(_text(file, "PatientAge"), *_age_by_dates(file))
    patient = core(_text(file, "PatientID"))
    patient = "" if patient in NO_PATIENT else patient
    return Header(sex, age, sex_flag, age_flag, patient, _image_flags(file))


def age_of(text: str) -> float | None:
    """Return the years in a DICOM age string such as 018M, 090D, 052W or 012Y, else None."""
    match = re.fullmatch(r"(\d{1,3})\s*([DWMY])", text.strip().upper())
    return int(match[1]) * DAYS[match[2]] / YEAR if match else None


def _image_flags(file: "Dataset") -> tuple[str, ...]:
    """Return why a file is not the radiograph of a hand, by its header."""
    modality = _text(file, "Modality").upper()
    part = _text(file, "BodyPartExamined").upper()
    flags = []
    if modality in NO_RADIOGRAPH:
        flags.append(f"no radiograph by its header: Modality {modality}")
    if OTHER_PARTS & {*re.findall("[A-Z]+", part)} and not HAND_WORDS.search(part):
        flags.append(f"no hand by its header: BodyPartExamined {_short(part)}")
    return tuple(flags)


def _sex(text: str) -> tuple[str, str]:
    """Return the sex in PatientSex, and its flag."""
    if sex := SPELLINGS.get(text.casefold()):
        return sex, ""
    return "unknown", f"the file's PatientSex {_short(text)} is not recognised"


def _age(text: str, by_dates: float | None, dates_flag: str) -> tuple[float | None, str]:
    """Return a chronological age in years, and its flag.

    Args:
        text: PatientAge.
        by_dates: the age by the dates, in years; negative for a study before the birth.
        dates_flag: why there is none.
    """
    if by_dates is not None and by_dates < 0:
        by_dates, dates_flag = None, "the file's study is dated before the birth"
        if usable := _usable(age_of(text)):
            return usable, dates_flag
    if not text:
        return _age_of_dates_alone(by_dates, dates_flag)
    age = age_of(text)
    if age is None:
        return _usable(by_dates), f"the file's PatientAge {_short(text)} is not recognised"
    if by_dates is not None and abs(age - by_dates) > CONTRADICTION:
        return _usable(age), "the file's dates contradict its PatientAge"
    if age > MAX_AGE_YEARS:
        return None, f"the file's PatientAge is over {MAX_AGE_YEARS} years"
    if age == 0 and not by_dates:  # programs write it if they do not know the age
        return None, f"the file's PatientAge {_short(text)} may be a placeholder"
    return (age or by_dates), ""


def _age_of_dates_alone(by_dates: float | None, dates_flag: str) -> tuple[float | None, str]:
    """Return the age of a file without PatientAge, and its flag."""
    if by_dates is not None and by_dates > MAX_AGE_YEARS:
        dates_flag = f"by the file's dates the patient is over {MAX_AGE_YEARS} years"
    elif by_dates == 0:
        dates_flag = "by the file's dates it was taken on the day of birth"
    return _usable(by_dates), dates_flag


def _usable(age: float | None) -> float | None:
    """Return an age within the range of the field, else None."""
    return age if age is not None and 0 < age <= MAX_AGE_YEARS else None


def _age_by_dates(file: "Dataset") -> tuple[float | None, str]:
    """Return years from birth to study, or why there are none; the dates are not disclosed."""
    if not (text := _text(file, "PatientBirthDate")):
        return None, ""
    birth = _date(text)
    if birth is None:
        return None, "the file's PatientBirthDate is not a date"
    if birth.year <= PLACEHOLDERS:
        return None, "the file's PatientBirthDate is a placeholder"
    texts = [text for name in STUDY_DATES if (text := _text(file, name))]
    study = next(filter(None, map(_date, texts)), None)
    if study is None:
        return None, "the file's StudyDate is not a date" if texts else ""
    return (study - birth).days / YEAR, ""


def _date(text: str) -> date | None:
    """Return the date of YYYYMMDD (or the older YYYY.MM.DD), else None."""
    match = re.fullmatch(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})", text)
    try:
        return date(int(match[1]), int(match[3]), int(match[4])) if match else None
    except ValueError:
        return None


def _text(file: "Dataset", name: str) -> str:
    """Return an element as text, empty where it is missing."""
    value = file.get(name)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return "" if value is None else str(value).strip(" \t\r\n\0")


def _short(text: str) -> str:
    return repr(text[:VALUE_LENGTH])
