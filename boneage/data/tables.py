"""Read a csv or xlsx file as plain text cells with the line numbers a person sees."""

from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from boneage.errors import UserError

SUFFIXES = (".csv", ".xlsx")
SEPARATORS = ",;\t"


def read_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """Read a table as text: nothing is guessed, so leading zeros and odd values survive.

    Args:
        path: a csv file (comma, semicolon or tab; UTF-8 with or without byte-order mark), or an
            xlsx file, of which the first sheet is read.
        rows: how many lines to read at most, None for all; the first is the header.

    Returns:
        Stripped text under stripped column names, blank rows left out; empty cells are "". The
        index is the line (or spreadsheet row) number in the file, the header being line 1.

    Raises:
        UserError: when the file is missing, empty, or no such table.
    """
    try:
        if not path.stat().st_size:
            raise _empty(path)
        if path.suffix.lower() == ".xlsx":
            cells = pd.read_excel(path, header=None, dtype=object, na_filter=False, nrows=rows)
        else:
            with path.open(encoding="utf-8-sig") as file:
                header = file.readline()
            cells = pd.read_csv(
                path,
                sep=max(SEPARATORS, key=header.count),
                header=None,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
                nrows=rows,
            )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such label table") from error
    except (OSError, ValueError, BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as a table ({reason}): save it as xlsx or as csv in UTF-8"
        ) from error
    cells = cells.fillna("").astype(str).apply(lambda column: column.str.strip())
    cells.index += 1
    cells = cells.loc[(cells != "").any(axis="columns")]
    if not len(cells):
        raise _empty(path)
    table: pd.DataFrame = cells.iloc[1:]
    table.columns = pd.Index(cells.iloc[0])
    return table


def _empty(path: Path) -> UserError:
    return UserError(f"{path} is empty: it needs a header line and one row a radiograph")
