"""Read a csv or xlsx file as plain text cells with the line numbers a person sees."""

import codecs
import csv
import io
import logging
import re
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from boneage.errors import UserError

log = logging.getLogger(__name__)

SPREADSHEETS = (".xlsx", ".xlsm")
SUFFIXES = (".csv", ".tsv", *SPREADSHEETS)
SEPARATORS = {"semicolon": ";", "tab": "\t", "pipe": "|", "comma": ","}  # commas are in text too
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
INVISIBLE = "[\ufeff\u200b]"  # byte-order mark, zero-width space
HEAD = 1 << 16  # bytes of a file that hold its header
SAMPLE = 200  # rows that decide the separator, or of a spreadsheet hold its header


def read_table(path: Path, separator: str | None = None) -> pd.DataFrame:
    """Read a table as text: nothing is guessed, so leading zeros and odd values survive.

    Args:
        path: a csv file (UTF-8, UTF-16 with a byte-order mark, or else Windows-1252), or an xlsx
            file, of which the first sheet that is not empty is read.
        separator: of a csv file: comma, semicolon, tab or pipe, by name or as a character. None,
            or one that the header does not have, is the one by which the rows fit the header.

    Returns:
        Stripped text under stripped column names, blank rows and columns without a name left out;
        empty cells are "". The index is the line (or spreadsheet row) number in the file.

    Raises:
        UserError: when the file is missing, empty, or no such table.
    """
    cells = _cells(path, separator, whole=True)
    names, rows = cells.iloc[0], cells.iloc[1:]
    width = int((names != "").to_numpy().nonzero()[0].max()) + 1
    beyond = (rows.iloc[:, width:] != "").any(axis="columns")
    if beyond.any():
        raise UserError(
            f"{path} cannot be read as a table: line {beyond.idxmax()} has more cells than the "
            f"header, which has {width}; quote cells that hold the separator, or set "
            "data.separator="
        )
    table: pd.DataFrame = rows.set_axis(names.to_list(), axis="columns")
    return table.loc[:, table.columns != ""]


def read_header(path: Path, separator: str | None = None) -> list[str]:
    """Return the column names of a table, of which only the beginning is read.

    Raises:
        UserError: when the file is missing, empty, or no such table.
    """
    return [name for name in _cells(path, separator, whole=False).iloc[0] if name]


def _cells(path: Path, separator: str | None, whole: bool) -> pd.DataFrame:
    """Return stripped text by line number, blank lines left out; the first line is the header."""
    known = {**SEPARATORS, **{sign: sign for sign in SEPARATORS.values()}}
    if separator is not None and separator not in known:
        raise UserError(f"data.separator={separator}: must be one of {', '.join(SEPARATORS)}")
    try:
        if path.suffix.lower() in SPREADSHEETS:
            cells = _read_spreadsheet(path, whole)
        else:
            cells = _read_csv(path, known[separator] if separator else None, whole)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table") from error
    except (OSError, ValueError, KeyError, ImportError, BadZipFile, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as a table ({reason}): save it as xlsx or as csv in UTF-8"
        ) from error
    if cells.empty:
        raise UserError(f"{path} is empty: it needs a header line and one row a radiograph")
    return cells


def _read_spreadsheet(path: Path, whole: bool) -> pd.DataFrame:
    """Return the first sheet that is not empty."""
    sheets = pd.read_excel(
        path, sheet_name=None, header=None, dtype=object, na_filter=False,
        nrows=None if whole else SAMPLE,
    )  # fmt: skip
    texts: dict[str, pd.DataFrame] = {name: _stripped(sheet) for name, sheet in sheets.items()}
    filled = [name for name, sheet in texts.items() if len(sheet)]
    if whole and len(filled) > 1:
        log.warning("%s: of %d sheets only the first, %r, is read", path, len(filled), filled[0])
    if not filled:
        return pd.DataFrame()
    return texts[filled[0]].replace(r" 00:00:00$", "", regex=True)  # of a plain date


def _read_csv(path: Path, separator: str | None, whole: bool) -> pd.DataFrame:
    """Return the lines of a csv file, or of its beginning."""
    with path.open("rb") as file:
        content = file.read() if whole else file.read(HEAD)
    text, encoding = _decode(content, complete=whole or len(content) < HEAD)
    if whole and encoding == "cp1252":
        log.warning("%s is not UTF-8: read as Windows-1252", path)
    if "\0" in text:
        raise ValueError("it holds bytes that are no text")
    text = re.sub(INVISIBLE, "", text)
    told = re.match(r"sep=(.)(?=[\r\n])", text)  # as Excel writes it
    if told:
        separator, text = told[1], text[told.end() :]
    if separator is None or separator not in text.lstrip().partition("\n")[0]:
        separator = _separator(text)
    sample = _sample(text, separator)
    if not whole:  # which may end anywhere, also between quotation marks
        return _stripped(pd.DataFrame(sample[:1]))
    width = max(map(len, sample), default=1)
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
    return _stripped(cells)


def _stripped(cells: pd.DataFrame) -> pd.DataFrame:
    """Return stripped text by line number, without blank lines."""
    texts: pd.DataFrame = cells.fillna("").astype(str).apply(lambda column: column.str.strip())
    texts.index += 1
    return texts.loc[(texts != "").any(axis="columns")]


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
        header, *rows = [len(cells) for cells in _sample(text, separator)] or [0]
        agreeing = sum(cells == header for cells in rows) if header > 1 else 0
        return agreeing / max(1, len(rows)), header

    return max(SEPARATORS.values(), key=fit)


def _sample(text: str, separator: str) -> list[list[str]]:
    """Return the first lines that are not blank, as cells."""
    file = io.StringIO(text, newline="")
    lines = csv.reader(file, delimiter=separator, skipinitialspace=True)
    return list(islice((cells for cells in lines if any(cells)), SAMPLE))


def refuse(path: Path, cells: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Raise UserError for the first wrong cell, saying how many there are."""
    if wrong.any():
        first = int(wrong.to_numpy().argmax())
        more = f" ({wrong.sum():,} such rows)" if wrong.sum() > 1 else ""
        raise UserError(
            f"{path}, row {cells.index[first]}, column {cells.name!r}: "
            f"{cells.iloc[first]!r} {reason}{more}"
        )
