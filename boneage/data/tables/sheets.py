"""Read a spreadsheet as text cells."""

import logging
import re
from functools import cache
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import pandas as pd

from boneage.data.decoders import NO_WARNINGS, shared
from boneage.data.tables.columns import (
    INVISIBLE,
    names_ids,
    stripped,
    warn_once,
    without_title,
)
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)
SPREADSHEETS = (".xlsx", ".xlsm")
XLSX, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # first bytes of the files
WORKBOOK = "xl/workbook.xml"  # in an xlsx file
STRICT = b"http://purl.oclc.org/ooxml/"  # in the names of another variety, without sheets to pandas
FORMULA = re.compile(  # in a sheet's XML, without a value; t="str" may have an empty text as value
    rb'<c (?![^>]*t="str")[^>]*><f[^>]*(?:/>|>[^<]*</f>)\s*(?:<v ?/>|<v></v>)?\s*</c>'
)
CELL_ERROR = re.compile(  # in a sheet's XML; #N/A is what tables write for no value
    rb'<c [^>]*t="e"[^>]*>(?:<f[^>]*(?:/>|>[^<]*</f>))?\s*<v>(#(?!N/A)[^<]+)</v>'
)
HIDDEN_ROW = re.compile(  # in a sheet's XML, with something in its first cell
    rb'<row [^>]*hidden="(?:1|true)"(?:[^>]*[^/>])?>\s*<c [^>]*[^/>]>'
)
MERGED = re.compile(rb'<mergeCell ref="([A-Z]+(\d+):[A-Z]+(?!\2")\d+)"')  # over several rows
PREFIX = re.compile(rb"(</?)\w+:")  # of all names, as Microsoft's own library writes them
LARGEST_BYTES = 2**29  # of an unpacked xlsx file; labels of 12,611 radiographs have 2 MB
EXACT_DIGITS = 15  # of a number in a spreadsheet


def is_spreadsheet(path: Path) -> bool:
    """Tell an xlsx file from a csv file by its first bytes, and log it if the suffix differs.

    Raises:
        UserError: for an old Excel file, one with a password, and other unsupported archives.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head == OLD_EXCEL:
        raise UserError(
            f"{path} is an old Excel file, or has a password: save it as xlsx without a "
            "password, or as csv"
        )
    if head == XLSX and is_zipfile(path):
        _require_workbook(path)
    named = path.suffix.lower() in SPREADSHEETS
    if (head == XLSX) != named and head:
        kind = "an xlsx file" if head == XLSX else "a csv file"
        warn_once("%s is read as %s, despite its name", path, kind)
    return head == XLSX


def _require_workbook(path: Path) -> None:
    """Raise UserError for another zip archive, or an xlsx file that is not supported or too large.

    Some MB may unpack to more than the memory holds.
    """
    with ZipFile(path) as book:
        names = book.namelist()
        if "[Content_Types].xml" not in names:
            raise UserError(
                f"{path} is a zip archive, not a table: unpack it, or give an xlsx or csv"
            )
        if (size := sum(member.file_size for member in book.infolist())) > LARGEST_BYTES:
            raise UserError(
                f"{path} unpacks to {size / 1e9:.1f} GB, far more than a table of radiographs: "
                "delete empty rows and columns, or save it as csv"
            )
        if WORKBOOK in names and STRICT in book.read(WORKBOOK):
            raise UserError(
                f"{path} is a Strict Open XML file: save it as a usual xlsx file (Excel Workbook), "
                "or as csv"
            )


def read_sheet(path: Path, rows: int | None) -> pd.DataFrame:
    """Return stripped text of the first sheet that is not empty, by row number.

    If it has no id column under a known name, and exactly one other sheet has, that sheet is read.
    A hidden sheet is read only if no visible one has ids. Skipped sheets, formulas without a
    value, errors and hidden rows are logged.

    Args:
        path: the file, whatever its suffix.
        rows: number of rows to read; None reads all.
    """
    with (
        path.open("rb") as file,
        shared(NO_WARNINGS),  # of drop-down lists, styles and other things that are no cells
        pd.ExcelFile(file, engine="openpyxl") as book,
    ):
        sheets = pd.read_excel(
            book, sheet_name=None, header=None, dtype=object, na_filter=False, nrows=rows
        )
        visible = {str(s.title) for s in book.book.worksheets if s.sheet_state == "visible"}
    _warn_of_cells(path)
    texts = {
        str(name): without_title(stripped(sheet.map(_as_shown)), path)
        for name, sheet in sheets.items()
    }
    filled = [name for name, sheet in texts.items() if len(sheet)]
    if not filled:
        return pd.DataFrame()
    with_ids = [name for name in filled if names_ids(list(texts[name].iloc[0]))]
    with_ids = [name for name in with_ids if name in visible] or with_ids
    shown = [name for name in filled if name in visible] or filled
    chosen = with_ids[0] if len(with_ids) == 1 else shown[0]
    if len(filled) > 1:
        others = ", ".join(repr(name) for name in filled if name != chosen)
        warn_once("%s: of %d sheets only %r is read, not %s", path, len(filled), chosen, others)
    return texts[chosen].replace(r" 00:00:00$", "", regex=True)  # of a plain date


def _as_shown(cell: object) -> object:
    """Return a cell's value: text without invisible characters, which no one has typed.

    A long number becomes text that says that its last digits are lost.
    """
    if isinstance(cell, str):
        return re.sub(INVISIBLE, "", cell)
    rounded = isinstance(cell, int | float) and abs(cell) >= 10**EXACT_DIGITS
    return f"{cell:.{EXACT_DIGITS - 1}E}" if rounded else cell


@cache  # a file is read more than once
def _warn_of_cells(path: Path) -> None:
    """Warn of formulas without a value, errors, merged cells, and rows that a filter hides."""
    with ZipFile(path) as book:
        names = [name for name in book.namelist() if name.startswith("xl/worksheets/")]
        sheets = [PREFIX.sub(rb"\1", book.read(name)) for name in names]
    if n := sum(len(FORMULA.findall(sheet)) for sheet in sheets):
        log.warning(
            "%s: %s without a computed value, read as empty: save the file once in a spreadsheet "
            "program",
            path, plural(n, "formula"),
        )  # fmt: skip
    if errors := [error.decode() for sheet in sheets for error in CELL_ERROR.findall(sheet)]:
        log.warning(
            "%s: %s with an error, such as %s, read as empty: correct the formula",
            path, plural(len(errors), "cell"), errors[0],
        )  # fmt: skip
    if merged := [ref.decode() for sheet in sheets for ref, _ in MERGED.findall(sheet)]:
        log.warning(
            "%s: of merged cells only the first has the value: fill all of %s", path,
            join_first(merged),
        )  # fmt: skip
    if n := sum(len(HIDDEN_ROW.findall(sheet)) for sheet in sheets):
        log.warning(
            "%s: %s hidden, perhaps by a filter, but read like the others: delete unwanted rows",
            path, "1 row is" if n == 1 else f"{n:,} rows are",
        )  # fmt: skip
