"""What the header of a DICOM file says of the patient, and what is odd about that."""

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from boneage.data.labels import MAX_AGE_YEARS
from boneage.data.sexes import WRITTEN

if TYPE_CHECKING:
    from pydicom import Dataset

YEAR = 365.25  # days
DAYS = {"D": 1.0, "W": 7.0, "M": YEAR / 12, "Y": YEAR}
STUDY_DATES = ("StudyDate", "AcquisitionDate", "ContentDate", "SeriesDate")  # the first counts
CONTRADICTION = 1.0  # years between PatientAge, which may be in whole years, and the dates
PLACEHOLDERS = 1900  # nobody was born in this year or before it
SHOWN = 20  # characters of an odd value


@dataclass(frozen=True)
class Header:
    """What a DICOM file says of the patient.

    Args:
        sex: "female", "male" or "unknown".
        age_years: chronological age at the study, None where the file does not say.
        odd_sex: what is odd about what it says of the sex; empty if nothing is.
        odd_age: the same of the age.
    """

    sex: str
    age_years: float | None
    odd_sex: str = ""
    odd_age: str = ""


def header_of(file: "Dataset") -> Header:
    """Return what a file says of the patient: the age by PatientAge, else by its dates."""
    sex, odd_sex = _sex(_text(file, "PatientSex"))
    age, odd_age = _age(_text(file, "PatientAge"), *_age_by_dates(file))
    return Header(sex, age, odd_sex, odd_age)


def age_of(text: str) -> float | None:
    """Return years of a DICOM age string such as 018M, 090D, 052W or 012Y; None of any other."""
    match = re.fullmatch(r"(\d{1,3})\s*([DWMY])", text.strip().upper())
    return int(match[1]) * DAYS[match[2]] / YEAR if match else None


def _sex(text: str) -> tuple[str, str]:
    """Return a PatientSex, and what is odd about it."""
    sex = WRITTEN.get(text.casefold())
    return (sex, "") if sex else ("unknown", f"the file's PatientSex {_short(text)} is not read")


def _age(text: str, by_dates: float | None, odd_dates: str) -> tuple[float | None, str]:
    """Return a chronological age in years, and what is odd about it.

    Args:
        text: PatientAge.
        by_dates: the age by the dates, in years; negative for a study before the birth.
        odd_dates: why there is none.
    """
    if by_dates is not None and by_dates < 0:
        by_dates, odd_dates = None, "the file's study is dated before the birth"
        if usable := _usable(age_of(text)):
            return usable, odd_dates
    if not text:
        return _age_of_dates_alone(by_dates, odd_dates)
    age = age_of(text)
    if age is None:
        return _usable(by_dates), f"the file's PatientAge {_short(text)} is not read"
    if by_dates is not None and abs(age - by_dates) > CONTRADICTION:
        return _usable(age), "the file's dates contradict its PatientAge"
    if age > MAX_AGE_YEARS:
        return None, f"the file's PatientAge is over {MAX_AGE_YEARS} years"
    if age == 0 and not by_dates:  # programs write it where they do not know
        return None, f"the file's PatientAge {_short(text)} may be a placeholder"
    return (age or by_dates), ""


def _age_of_dates_alone(by_dates: float | None, odd_dates: str) -> tuple[float | None, str]:
    """Return the age of a file without PatientAge, and what is odd about it."""
    if by_dates is not None and by_dates > MAX_AGE_YEARS:
        odd_dates = f"by the file's dates the patient is over {MAX_AGE_YEARS} years"
    elif by_dates == 0:
        odd_dates = "by the file's dates it was taken on the day of birth"
    return _usable(by_dates), odd_dates


def _usable(age: float | None) -> float | None:
    """Return an age that a patient of this field can have, else None."""
    return age if age is not None and 0 < age <= MAX_AGE_YEARS else None


def _age_by_dates(file: "Dataset") -> tuple[float | None, str]:
    """Return years from birth to study, or why there are none; the dates are not told."""
    if not (text := _text(file, "PatientBirthDate")):
        return None, ""
    birth = _date(text)
    if birth is None:
        return None, "the file's PatientBirthDate is no date"
    if birth.year <= PLACEHOLDERS:
        return None, "the file's PatientBirthDate is a placeholder"
    texts = [text for name in STUDY_DATES if (text := _text(file, name))]
    study = next(filter(None, map(_date, texts)), None)
    if study is None:
        return None, "the file's StudyDate is no date" if texts else ""
    return (study - birth).days / YEAR, ""


def _date(text: str) -> date | None:
    """Return the date that YYYYMMDD says (or YYYY.MM.DD, as it was once), None of any other."""
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
    return repr(text[:SHOWN])
