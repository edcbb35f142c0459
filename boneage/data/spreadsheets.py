"""The sheet of a spreadsheet file that contains the table."""

import logging
from functools import cache
from pathlib import Path

import pandas as pd

from boneage.data.headers import names_ids, stripped, without_title

log = logging.getLogger(__name__)

SPREADSHEETS = (".xlsx", ".xlsm")
XLSX, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how the files begin


def read_sheet(path: Path, rows: int | None) -> pd.DataFrame:
    """Return stripped text of the first sheet that is not empty, by row number.

    Where that has no column of ids, as known names call it, and exactly one other sheet has, that
    sheet is read. What is not read is said.

    Args:
        path: the file, whatever its suffix.
        rows: how many are read; None reads all.
    """
    with path.open("rb") as file:
        sheets = pd.read_excel(
            file, sheet_name=None, header=None, dtype=object, na_filter=False, nrows=rows,
            engine="openpyxl",
        )  # fmt: skip
    texts = {str(name): without_title(stripped(sheet), path) for name, sheet in sheets.items()}
    filled = [name for name, sheet in texts.items() if len(sheet)]
    if not filled:
        return pd.DataFrame()
    with_ids = [name for name in filled if names_ids(list(texts[name].iloc[0]))]
    chosen = with_ids[0] if len(with_ids) == 1 else filled[0]
    if len(filled) > 1:
        _say_which(path, chosen, tuple(name for name in filled if name != chosen))
    return texts[chosen].replace(r" 00:00:00$", "", regex=True)  # of a plain date


@cache  # a file is read more than once
def _say_which(path: Path, chosen: str, others: tuple[str, ...]) -> None:
    log.warning(
        "%s: of %d sheets only %r is read, not %s",
        path, len(others) + 1, chosen, ", ".join(map(repr, others)),
    )  # fmt: skip
