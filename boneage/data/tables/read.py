"""Read a csv file or a spreadsheet as text cells with the line numbers of the file."""

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile
from zipfile import Path as ZipPath

import pandas as pd

from boneage.data.tables.headers import names_ids, stripped, title_lines, without_title
from boneage.errors import UserError, join_first, one_line, plural

log = logging.getLogger(__name__)
SPREADSHEETS = (".xlsx", ".xlsm")
XLSX, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # first bytes of the files
FOREIGN = (".xls", ".xlsb", ".ods", ".numbers")  # unsupported tables
TABLE_SUFFIXES = (".csv", ".tsv", *SPREADSHEETS, *FOREIGN)
SEPARATORS = {"semicolon": ";", "tab": "\t", "pipe": "|", "comma": ","}  # text contains commas too
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
INVISIBLE = "[\ufeff\u200b]"  # byte-order mark, zero-width space
NO_VALUE = ("", "na", "n/a", "nan", "none", "null", "unknown")  # cells, in any case
HEADER_BYTES = 1 << 16  # bytes of a file that contain its header
FORMULA = re.compile(  # in a sheet's XML, without a value; t="str" may have an empty text as value
    rb'<c (?![^>]*t="str")[^>]*><f[^>]*(?:/>|>[^<]*</f>)\s*(?:<v ?/>|<v></v>)?\s*</c>'
)
HIDDEN_ROW = re.compile(  # in a sheet's XML, with something in its first cell
    rb'<row [^>]*hidden="(?:1|true)"(?:[^>]*[^/>])?>\s*<c [^>]*[^/>]>'
)
MERGED = re.compile(rb'<mergeCell ref="([A-Z]+(\d+):[A-Z]+(?!\2")\d+)"')  # over several rows
EXACT_DIGITS = 15  # of a number in a spreadsheet
UNREADABLE = (  # what pandas and openpyxl raise on damaged or unusual files
    OSError, ValueError, LookupError, AttributeError, TypeError, ImportError, BadZipFile, csv.Error,
)  # fmt: skip
SAMPLE_ROWS = 200  # rows that decide the separator, or contain the header of a spreadsheet


def read_sheet(path: Path, rows: int | None) -> pd.DataFrame:
    """Return stripped text of the first sheet that is not empty, by row number.

    If it has no id column under a known name, and exactly one other sheet has, that sheet is read.
    A hidden sheet is read only if no visible one has ids. Skipped sheets, formulas without a
    value and hidden rows are logged.

    Args:
        path: the file, whatever its suffix.
        rows: number of rows to read; None reads all.
    """
    with path.open("rb") as file, pd.ExcelFile(file, engine="openpyxl") as book:
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
        _log_sheet(path, chosen, tuple(name for name in filled if name != chosen))
    return texts[chosen].replace(r" 00:00:00$", "", regex=True)  # of a plain date


def _as_shown(cell: object) -> object:
    """Return a cell's value, but a long number as text that says that its last digits are lost."""
    rounded = isinstance(cell, int | float) and abs(cell) >= 10**EXACT_DIGITS
    return f"{cell:.{EXACT_DIGITS - 1}E}" if rounded else cell


@cache  # a file is read more than once
def _log_sheet(path: Path, chosen: str, others: tuple[str, ...]) -> None:
    log.warning(
        "%s: of %d sheets only %r is read, not %s",
        path, len(others) + 1, chosen, ", ".join(map(repr, others)),
    )  # fmt: skip


@cache
def _warn_of_cells(path: Path) -> None:
    """Warn of formulas without a value, merged cells, and hidden rows: a filter removes nothing."""
    with ZipFile(path) as book:
        names = [name for name in book.namelist() if name.startswith("xl/worksheets/")]
        sheets = [book.read(name) for name in names]
    if n := sum(len(FORMULA.findall(sheet)) for sheet in sheets):
        log.warning(
            "%s: %s without a computed value, read as empty: save the file once in a spreadsheet "
            "program",
            path, plural(n, "formula"),
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


def read_table(path: Path, separator: str | None = None) -> pd.DataFrame:
    """Read a table as text: no types are guessed, so leading zeros and unusual values survive.

    Args:
        path: a csv file (UTF-8, UTF-16 with a byte-order mark, or else Windows-1252), or an xlsx
            file (see `read_sheet`); its content decides, not its suffix.
        separator: of a csv file: comma, semicolon, tab or pipe, by name or as a character. If
            None, or not in the header, the one by which the rows fit the header.

    Returns:
        Stripped text under stripped column names, blank rows and columns without a name left out;
        empty cells are "". The index is the line (or spreadsheet row) number in the file.

    Raises:
        UserError: when the file is missing, empty, or not such a table.
    """
    cells = _cells(path, separator, complete=True)
    names, rows = cells.iloc[0], cells.iloc[1:]
    width = int((names != "").to_numpy().nonzero()[0].max()) + 1
    beyond = (rows.iloc[:, width:] != "").any(axis="columns")
    if beyond.any():
        advice = (
            "give every column a name, all in one row"
            if path.suffix.lower() in SPREADSHEETS
            else "quote cells that contain the separator, or set it in a first line such as sep=; "
            "(in training also with data.separator=)"
        )
        raise UserError(
            f"{path} cannot be read as a table: line {beyond.idxmax()} has more cells than the "
            f"header, which has {width}; {advice}"
        )
    table: pd.DataFrame = rows.set_axis(names.to_list(), axis="columns")
    return table.loc[:, table.columns != ""]


def read_header(path: Path, separator: str | None = None) -> list[str]:
    """Return the column names of a table; only its beginning is read.

    Raises:
        UserError: when the file is missing, empty, or not such a table.
    """
    return [name for name in _cells(path, separator, complete=False).iloc[0] if name]


def check_separator(separator: str | None) -> None:
    """Raise UserError for an invalid separator."""
    if separator not in (None, *SEPARATORS, *SEPARATORS.values()):
        raise UserError(f"data.separator={separator}: must be one of {', '.join(SEPARATORS)}")


def _cells(path: Path, separator: str | None, complete: bool) -> pd.DataFrame:
    """Return stripped text by line number, blank lines left out; the first line is the header."""
    check_separator(separator)
    if path.suffix.lower() in FOREIGN:
        raise UserError(f"{path}: {path.suffix} files are not supported: save it as xlsx or csv")
    try:
        if _is_spreadsheet(path):
            cells = read_sheet(path, None if complete else SAMPLE_ROWS)
        else:
            cells = _read_csv(path, SEPARATORS.get(separator or "", separator), complete)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give a table, a csv or xlsx file") from error
    except UNREADABLE as error:
        raise UserError(
            f"{path} cannot be read as a table ({one_line(error)}): save it as xlsx or as csv in "
            "UTF-8"
        ) from error
    if cells.empty:
        raise UserError(f"{path} is empty: it needs a header line and one row per radiograph")
    return cells


def _is_spreadsheet(path: Path) -> bool:
    """Tell an xlsx file from a csv file by its first bytes, and log it if the suffix differs."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == OLD_EXCEL:
        raise UserError(
            f"{path} is an old Excel file, or has a password: save it as xlsx without a "
            "password, or as csv"
        )
    if head == XLSX and is_zipfile(path) and not ZipPath(path, "[Content_Types].xml").exists():
        raise UserError(f"{path} is a zip archive, not a table: unpack it, or give an xlsx or csv")
    named = path.suffix.lower() in SPREADSHEETS
    if (head == XLSX) != named and head:
        _log_kind(path, "an xlsx file" if head == XLSX else "a csv file")
    return head == XLSX


@cache  # a file is read more than once
def _log_kind(path: Path, kind: str) -> None:
    log.warning("%s is read as %s, despite its name", path, kind)


@cache
def _log_separator(path: Path, asked: str, fitting: str) -> None:
    names = {sign: name for name, sign in SEPARATORS.items()}
    log.warning(
        "%s: data.separator=%s is not in its header: read with %s",
        path, names.get(asked, asked), names[fitting],
    )  # fmt: skip


def _read_csv(path: Path, separator: str | None, complete: bool) -> pd.DataFrame:
    """Return the lines of a csv file, or of its beginning."""
    with path.open("rb") as file:
        content = file.read() if complete else file.read(HEADER_BYTES)
    text, encoding = _decode(content, complete=complete or len(content) < HEADER_BYTES)
    if complete and encoding == "cp1252":
        log.warning("%s is not UTF-8: read as Windows-1252", path)
    if "\0" in text:
        raise ValueError("it contains bytes that are not text")
    text = re.sub(INVISIBLE, "", text)
    declared = re.match(r"sep=(.)(?=[\r\n])", text)  # as Excel writes it
    if declared:
        separator, text = declared[1], text[declared.end() :]
    if separator is None or len(_table(text, separator)[0]) < 2:
        fitting = _separator(text)
        if separator is not None and len(_table(text, fitting)[0]) > 1:
            _log_separator(path, separator, fitting)
        separator = fitting
    if not complete:  # it may end anywhere, also between quotation marks
        return stripped(pd.DataFrame(_table(text, separator)[:1]))
    width = max(map(len, _lines(text, separator)), default=0) or 1
    cells = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        names=range(width),
        index_col=False,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,
        skipinitialspace=True,
    )
    return without_title(stripped(cells), path)


def _decode(content: bytes, complete: bool) -> tuple[str, str]:
    """Return text and its encoding; an incomplete text may end within a character."""
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, complete), encoding
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise
        return content.decode("cp1252"), "cp1252"


def _separator(text: str) -> str:
    """Return the separator by which the most rows have as many cells as the header."""

    def fit(separator: str) -> tuple[float, int]:
        header, *rows = [len(cells) for cells in _table(text, separator)]
        agreeing = sum(cells == header for cells in rows) if header > 1 else 0
        return agreeing / max(1, len(rows)), header

    return max(SEPARATORS.values(), key=fit)


def _table(text: str, separator: str) -> list[list[str]]:
    """Return the first lines that are not blank, from the header on, at least one."""
    lines = list(islice(filter(any, _lines(text, separator)), SAMPLE_ROWS))
    return lines[title_lines(lines) :] or [[]]


def _lines(text: str, separator: str) -> Iterator[list[str]]:
    """Return the lines as cells."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)


def refuse(path: Path, cells: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Raise UserError for the first wrong cell, with the number of wrong cells."""
    if wrong.any():
        first = int(wrong.to_numpy().argmax())
        more = f" ({wrong.sum():,} such rows)" if wrong.sum() > 1 else ""
        if not cells.iloc[first] and path.suffix.lower() in SPREADSHEETS:
            more += "; #N/A counts as empty, and so does a formula without a computed value"
        raise UserError(
            f"{path}, row {cells.index[first]}, column {cells.name!r}: "
            f"{cells.iloc[first]!r} {reason}{more}"
        )
