"""Read a csv file or a spreadsheet as text cells with the line numbers of the file."""

import codecs
import csv
import io
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile
from zlib import error as ZlibError

import pandas as pd

from boneage.data.tables.columns import (
    INVISIBLE,
    SEPARATORS,
    stripped,
    title_lines,
    warn_once,
    without_title,
)
from boneage.data.tables.sheets import SPREADSHEETS, is_spreadsheet, read_sheet
from boneage.errors import UserError, one_line
from boneage.terminal import require_file

if TYPE_CHECKING:
    import _csv

FOREIGN = (".xls", ".xlsb", ".ods", ".numbers")  # unsupported tables
TABLE_SUFFIXES = (".csv", ".tsv", *SPREADSHEETS, *FOREIGN)
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
NO_VALUE = ("", "na", "n/a", "nan", "none", "null", "unknown")  # cells, in any case
HEADER_BYTES = 1 << 16  # bytes of a file that contain its header
UNREADABLE = (  # what pandas and openpyxl raise on damaged or unusual files
    OSError, ValueError, LookupError, AttributeError, TypeError, ImportError, BadZipFile, csv.Error,
    SyntaxError, ArithmeticError, RuntimeError, EOFError, ZlibError,
)  # fmt: skip
SAMPLE_ROWS = 200  # rows that decide the separator, or contain the header of a spreadsheet


def read_table(path: Path, separator: str | None = None) -> pd.DataFrame:
    """Read a table as text: no types are guessed, so leading zeros and unusual values survive.

    Args:
        path: a csv file (UTF-8, UTF-16 with a byte-order mark, or else Windows-1252), or an xlsx
            file (see `read_sheet`); its content decides, not its suffix.
        separator: of a csv file, as of `Columns`. If None, or not in the header, the one by which
            the rows fit the header.

    Returns:
        Stripped text under stripped column names, blank rows and columns without a name left out;
        empty cells are "". The index is the row number that a spreadsheet program shows: a text of
        several lines in quotation marks is in one row.

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


def _cells(path: Path, separator: str | None, complete: bool) -> pd.DataFrame:
    """Return stripped text by line number, blank lines left out; the first line is the header."""
    require_file(path)
    if path.suffix.lower() in FOREIGN:
        raise UserError(f"{path}: {path.suffix} files are not supported: save it as xlsx or csv")
    try:
        if is_spreadsheet(path):
            cells = read_sheet(path, None if complete else SAMPLE_ROWS)
        else:
            cells = _read_csv(path, SEPARATORS.get(separator or "", separator), complete)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: give a table, a csv or xlsx file") from error
    except UNREADABLE as error:
        advice = "save it as xlsx or as csv in UTF-8"
        if row := re.search(r"inside string starting at row (\d+)", str(error)):
            advice = f"remove or close the quotation mark near line {int(row[1]) + 1}"
        raise UserError(
            f"{path} cannot be read as a table ({one_line(error)}): {advice}"
        ) from error
    if cells.empty:
        raise UserError(f"{path} is empty: it needs a header line and one row per radiograph")
    return cells


def _read_csv(path: Path, separator: str | None, complete: bool) -> pd.DataFrame:
    """Return the lines of a csv file, or of its beginning."""
    with path.open("rb") as file:
        content = file.read() if complete else file.read(HEADER_BYTES)
    text, encoding = _decode(content, complete=complete or len(content) < HEADER_BYTES)
    if complete and encoding == "cp1252":
        warn_once("%s is not UTF-8: read as Windows-1252", path)
    if "\0" in text:
        raise ValueError("it contains bytes that are not text")
    text = re.sub(INVISIBLE, "", text)
    declared = re.match(r"sep=(.)(?=[\r\n])", text)  # as Excel writes it
    if declared:
        separator, text = declared[1], text[declared.end() :]
    if separator is None or len(_table(text, separator)[0]) < 2:
        fitting = _separator(text)
        if separator is not None and len(_table(text, fitting)[0]) > 1:
            names = {sign: name for name, sign in SEPARATORS.items()}
            warn_once(
                "%s: data.separator=%s is not in its header: read with %s",
                path, names.get(separator, separator), names[fitting],
            )  # fmt: skip
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
    if '"' in text:  # else no row has several lines
        _refuse_joined_rows(path, text, separator)
    return without_title(stripped(cells), path)


def _refuse_joined_rows(path: Path, text: str, separator: str) -> None:
    """Raise UserError for rows that two stray quotation marks join to one row of several lines.

    Text may have line breaks between quotation marks, but after these only spaces and a separator.
    """
    lines = io.StringIO(text, newline="").readlines()
    padding = re.compile(rf'(?<=") +(?=[{re.escape(separator)}\r\n]|\Z)')
    rows, first = _lines(text, separator), 0
    for _ in rows:
        last = rows.line_num
        if last > first + 1:
            try:
                row = padding.sub("", "".join(lines[first:last]))
                list(_lines(row, separator, strict=True))
            except csv.Error as error:
                raise UserError(
                    f"{path}: lines {first + 1} to {last} are read as one row, because a quotation "
                    "mark begins a text in the first of them and ends it in the last: remove these "
                    "marks"
                ) from error
        first = last


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


def _lines(text: str, separator: str, strict: bool = False) -> "_csv.Reader":
    """Return the lines as cells; `strict` raises csv.Error for text after a closing mark."""
    return csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=strict
    )


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


def is_known(cells: pd.Series) -> pd.Series:
    """Tell which cells of text have a value."""
    return ~cells.str.strip().str.casefold().isin(NO_VALUE)
