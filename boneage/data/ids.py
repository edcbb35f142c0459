"""One way to write the id of a radiograph or patient, whichever table or file it comes from."""

import re
import unicodedata

import pandas as pd

STORED_AS_DECIMAL = re.compile(r"(\d+)\.0+")


def normal_id(text: str) -> str:
    """Return an id as it is compared: 1377.0 is 1377, and each accented letter is one character.

    File names of macOS spell an accented letter as two characters; tables mostly as one.
    """
    text = unicodedata.normalize("NFC", text.strip())
    whole = STORED_AS_DECIMAL.fullmatch(text)
    return whole[1] if whole else text


def core(id_: str) -> str:
    """Return an id without what is written one way or the other: case, spaces, leading zeros."""
    text = " ".join(normal_id(id_).casefold().split())
    return text.lstrip("0") or "0" if text.isdigit() else text


def normal_ids(cells: pd.Series) -> pd.Series:
    """Return the ids of a column as `normal_id` writes them."""
    return cells.map(normal_id).astype(str)
