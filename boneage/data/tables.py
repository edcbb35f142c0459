"""Read a csv or xlsx file as plain text cells with the line numbers a person sees."""

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from boneage.errors import UserError

log = logging.getLogger(__name__)

SPREADSHEETS = (".xlsx", ".xlsm")
SUFFIXES = (".csv", ".tsv", *SPREADSHEETS)
SEPARATORS = {"semicolon": ";", "tab": "\t", "pipe": "|", "comma": ","}  # commas are in text too
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b"))  # byte-order mark, zero-width space
HEAD = 1 << 16  # bytes of a file that hold its header
SAMPLE = 200  # rows that decide the separator

Line = tuple[int, list[str]]


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
    (_, header), *lines = _lines(path, separator, whole=True)
    for line, cells in lines:
        if any(cells[len(header) :]):
            raise UserError(
                f"{path} cannot be read as a table: line {line} has {len(cells)} cells, the header "
                f"{len(header)}; quote cells that hold the separator, or set data.separator="
            )
    rows = [(cells + [""] * len(header))[: len(header)] for _, cells in lines]
    index = [line for line, _ in lines]
    table = pd.DataFrame(rows, index=index, columns=pd.Index(header, dtype=str), dtype=str)
    return table.loc[:, table.columns != ""]


def read_header(path: Path, separator: str | None = None) -> list[str]:
    """Return the column names of a table, of which only the beginning is read.

    Raises:
        UserError: when the file is missing, empty, or no such table.
    """
    return [name for name in _lines(path, separator, whole=False)[0][1] if name]


def _lines(path: Path, separator: str | None, whole: bool) -> list[Line]:
    """Return the lines that are not blank, with their numbers; the first is the header."""
    known = {**SEPARATORS, **{sign: sign for sign in SEPARATORS.values()}}
    if separator is not None and separator not in known:
        raise UserError(f"data.separator={separator}: must be one of {', '.join(SEPARATORS)}")
    try:
        if path.suffix.lower() in SPREADSHEETS:
            lines = list(_spreadsheet(path, whole))
        else:
            lines = list(_csv(path, known[separator] if separator else None, whole))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table") from error
    except (OSError, ValueError, KeyError, ImportError, BadZipFile, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as a table ({reason}): save it as xlsx or as csv in UTF-8"
        ) from error
    if not lines:
        raise UserError(f"{path} is empty: it needs a header line and one row a radiograph")
    return lines


def _spreadsheet(path: Path, whole: bool) -> Iterator[Line]:
    """Yield the rows of the first sheet that is not empty."""
    sheets = pd.read_excel(
        path, sheet_name=None, header=None, dtype=object, na_filter=False,
        nrows=None if whole else SAMPLE,
    )  # fmt: skip
    rows = {name: list(_not_blank(sheet.itertuples())) for name, sheet in sheets.items()}
    filled = [name for name in rows if rows[name]]
    if whole and len(filled) > 1:
        log.warning("%s: of %d sheets only the first, %r, is read", path, len(filled), filled[0])
    yield from rows[filled[0]] if filled else ()


def _not_blank(rows: Iterable[tuple[Any, ...]]) -> Iterator[Line]:
    for row, *cells in rows:
        texts = [_clean(str(cell).removesuffix(" 00:00:00")) for cell in cells]  # a plain date
        if any(texts):
            yield row + 1, texts


def _csv(path: Path, separator: str | None, whole: bool) -> Iterator[Line]:
    """Yield the lines of a csv file, or of its beginning."""
    with path.open("rb") as file:
        content = file.read() if whole else file.read(HEAD)
    text, encoding = _decode(content, complete=whole or len(content) < HEAD)
    if whole and encoding == "cp1252":
        log.warning("%s is not UTF-8: read as Windows-1252", path)
    if "\0" in text:
        raise ValueError("it holds bytes that are no text")
    first_line = 1
    if told := re.match(r"sep=(.)\r?\n", text):  # as Excel writes it
        separator, text, first_line = told[1], text[told.end() :], 2
    if separator is None or separator not in text.lstrip().partition("\n")[0]:
        separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    cells: list[str] = []
    line = first_line
    for cells in reader:
        cleaned = [_clean(cell) for cell in cells]
        if any(cleaned):
            yield line, cleaned
        line = first_line + reader.line_num
    if whole and cells and "\n" in cells[-1] and text.count('"') % 2:
        raise ValueError(f"a quotation mark opens before line {line} and is never closed")


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
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header, *rows = [len(cells) for cells in islice(reader, SAMPLE) if any(cells)] or [0]
        agreeing = sum(cells == header for cells in rows) if header > 1 else 0
        return agreeing / max(1, len(rows)), header

    return max(SEPARATORS.values(), key=fit)


def _clean(cell: str) -> str:
    return cell.translate(INVISIBLE).strip()


def refuse(path: Path, cells: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Raise UserError for the first wrong cell, saying how many there are."""
    if wrong.any():
        first = int(wrong.to_numpy().argmax())
        more = f" ({wrong.sum():,} such rows)" if wrong.sum() > 1 else ""
        raise UserError(
            f"{path}, row {cells.index[first]}, column {cells.name!r}: "
            f"{cells.iloc[first]!r} {reason}{more}"
        )
