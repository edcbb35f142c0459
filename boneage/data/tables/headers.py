"""Find the header line of a table, with or without a title or groups of columns above it."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

log = logging.getLogger(__name__)

ID_NAMES = ("id", "image id", "case id", "image", "image name", "file name", "file")
INVISIBLE = (  # characters without width, above all marks of direction, as copied text has them
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
TITLE_LINES = 10  # first lines that are searched for a header below a title


def as_written(name: str) -> str:
    """Return a column's name without regard to case and to how accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()


def letters(name: str) -> str:
    """Return a column's name without regard to case, spaces and signs."""
    return re.sub(r"[\W_]+", "", as_written(name))


def names_ids(header: Iterable[str]) -> bool:
    """Tell whether a header has a column of ids under a known name."""
    return bool({letters(name) for name in header} & {letters(name) for name in ID_NAMES})


def stripped(cells: pd.DataFrame) -> pd.DataFrame:
    """Return stripped text by line number, without blank lines."""
    texts: pd.DataFrame = cells.fillna("").astype(str).apply(lambda column: column.str.strip())
    texts.index += 1
    return texts.loc[(texts != "").any(axis="columns")]


def title_lines(lines: Sequence[Sequence[str]]) -> int:
    """Return how many lines there are above a header that names ids, else 0.

    Above it are only lines with fewer filled cells: a title of one cell, or the names of groups of
    columns, as merged cells have them. A header below such names contains no numbers.

    Args:
        lines: the cells of the first lines, without blank lines.
    """
    filled = [[cell for cell in line if cell] for line in lines[:TITLE_LINES]]
    above = next((n for n, line in enumerate(filled) if len(line) > 1 and names_ids(line)), 0)
    header, longest = filled[above] if filled else [], max(map(len, filled[:above]), default=0)
    return above if longest == 1 or _below_groups(header, longest) else 0


def _below_groups(header: Sequence[str], longest: int) -> bool:
    """Tell whether a line is a header below at most `longest` names of groups."""
    return longest < len(header) and not any(re.fullmatch(r"[\d.,]+", cell) for cell in header)


def without_title(texts: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the lines of a table from its header on; a title above it is logged."""
    above = title_lines(texts.iloc[:TITLE_LINES].to_numpy().tolist())
    if above:
        _log_title(path, int(texts.index[above]))
    return texts.iloc[above:]


@cache  # a file is read more than once
def _log_title(path: Path, line: int) -> None:
    log.warning("%s: line %d is read as the header, what is above it as a title", path, line)
