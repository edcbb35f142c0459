"""What files say about their radiographs besides pixels: the sex, the patient, and copies."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from boneage.data.folders import log_skipped
from boneage.data.splits import UNUSED
from boneage.data.tables.columns import column_option
from boneage.data.tables.ids import count_patients, patients_with_several, rows_alike
from boneage.data.tables.sexes import warn_of_headers
from boneage.errors import join_first, plural
from boneage.weights import sha256

if TYPE_CHECKING:
    from boneage.data.cache import Cache  # which needs the framework: calibrate does without

log = logging.getLogger(__name__)

FIRST_BYTES = 4096  # bytes, in which most different files differ
MOST_FILMS = 30  # radiographs of one patient; more with one PatientID are of anonymised patients


def fill_from_headers(table: pd.DataFrame, cache: "Cache") -> pd.DataFrame:
    """Return the table with the sexes and patients that it lacks, from DICOM headers.

    It warns of sexes that contradict the header, and of headers of images other than hands.

    Args:
        table: columns `id` and `sex`, and `patient` and `site` where they are known.
        cache: its decoded radiographs, in the same order.
    """
    if cache.flags:
        log.warning(
            "%s not of hands according to DICOM headers: %s; if that is right, remove "
            "them from the table",
            plural(len(cache.flags), "radiograph"),
            join_first([f"{table['id'].iloc[row]}: {flag}" for row, flag in cache.flags.items()]),
        )
    with_header = table.iloc[list(cache.sexes)]
    warn_of_headers(with_header["id"], with_header["sex"], cache.sexes.values())
    sexes: pd.Series = table["sex"].copy()
    rows = [row for row in cache.sexes if sexes.iloc[row] == "unknown"]
    sexes.iloc[rows] = [cache.sexes[row] for row in rows]
    if rows:
        log.info("The sex of %s is read from the DICOM header", plural(len(rows), "radiograph"))
    return fill_patients(table.assign(sex=sexes), cache.same_patient)


def fill_patients(table: pd.DataFrame, same_patient: list[list[int]]) -> pd.DataFrame:
    """Return the table with the patients of DICOM headers, if it has no patient column.

    They are added only if some patient has several radiographs. As a PatientID may identify a
    child, a patient is named by the first radiograph; "" is a patient with no other.

    Args:
        table: column `id`, and `patient` and `site` where they are known.
        same_patient: positions of rows with the same PatientID, two or more each.
    """
    if "patient" in table or not same_patient:
        return table
    patients = _patients(table, same_patient)
    if not patients.any():
        return table
    table = table.assign(patient=patients)
    log.info(
        "The patients are read from the DICOM headers (PatientID): %s of %s; "
        "to count each radiograph as a separate patient, set %s to the column of ids",
        plural(len(table), "radiograph"),
        plural(count_patients(table) or 0, "patient"),
        column_option("patient"),
    )
    return table


def _patients(table: pd.DataFrame, same_patient: list[list[int]]) -> pd.Series:
    """Return the patient of each row by PatientID, which is unique only within a site."""
    ids = table["id"].tolist()
    sites = table["site"].tolist() if "site" in table else [""] * len(ids)
    patients = [""] * len(ids)
    for rows in same_patient:
        if len(rows) > min(MOST_FILMS, len(table) / 2):
            log.warning(
                "%s have the same PatientID in their DICOM headers, such as %s: it is not used. If "
                "patients have several radiographs, add a column 'patient' to the table",
                plural(len(rows), "radiograph"),
                ids[rows[0]],
            )
            continue
        for same in rows_alike({row: sites[row] for row in rows}):
            for row in same:
                patients[row] = f"patient of {ids[same[0]]}"
    return pd.Series(patients, index=table.index)


def warn_of_copies(files: Mapping[str, Path], where: Path) -> None:
    """Warn of files with the same content; only those of one size and beginning are read.

    Args:
        files: of radiographs, by id.
        where: their folder or table, for the message.
    """
    sizes = {id_: file.stat().st_size for id_, file in files.items() if file.is_file()}
    one_size = rows_alike({id_: size for id_, size in sizes.items() if size})
    try:
        begun = {id_: (sizes[id_], _beginning(files[id_])) for ids in one_size for id_ in ids}
        contents = {id_: sha256(files[id_]) for ids in rows_alike(begun) for id_ in ids}
    except OSError as error:
        log_skipped(error)
        return
    if copies := [join_first(ids, separator=" = ") for ids in rows_alike(contents)]:
        log.warning(
            "%s: %s under different ids: %s. If copies are in different folds, the results are too "
            "good: remove them, or give them one patient",
            where,
            plural(len(copies), "radiograph"),
            join_first(copies),
        )


def _beginning(file: Path) -> bytes:
    """Return a checksum of a file's first bytes."""
    with file.open("rb") as content:
        return hashlib.sha256(content.read(FIRST_BYTES)).digest()


def warn_of_leaks(table: pd.DataFrame, cache: "Cache") -> None:
    """Warn of copies of a radiograph, and of patients of the headers, in more than one fold.

    Args:
        table: columns `id`, `fold` and `cache_row`, and `patient` where it is known.
        cache: the decoded radiographs.
    """
    used = table[table["fold"] != UNUSED].set_index("cache_row")
    ids, folds = used["id"].to_dict(), used["fold"].to_dict()
    copies = [[row for row in rows if row in ids] for rows in cache.same_pixels]
    apart = [same for same in copies if len({folds[row] for row in same}) > 1]
    if pairs := [join_first([ids[row] for row in same], separator=" = ") for same in apart]:
        log.warning(
            "%s in more than one fold under different ids: %s. The results are too good: remove "
            "the copies, or give them one patient",
            plural(len(pairs), "radiograph"),
            join_first(pairs),
        )
    if shared := patients_with_several(used, "fold"):
        log.warning(
            "%s with radiographs in more than one of the label tables, by the PatientID in DICOM "
            "headers: %s. The results are too good: keep each patient in one table",
            plural(len(shared), "patient"),
            join_first(shared),
        )
