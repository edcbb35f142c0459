"""The radiographs of a run's page: as films where their files are at hand, else as stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage.data.crop import crop_around
from boneage.data.decode import Preprocessing, to_square
from boneage.data.film import to_film, to_jpeg
from boneage.data.hand import find_hand
from boneage.data.radiographs import find_radiographs, radiograph_id, read_radiograph
from boneage.errors import UserError
from boneage.evaluation.data_uri import data_uri
from boneage.evaluation.run_folder import FinishedRun

SAME = 3.0  # grey levels, mean difference up to which a file is the radiograph that was tested


def films(run: FinishedRun) -> dict[str, str]:
    """Return the pictures of a run's cases for its page, by id.

    A file below `data.root` counts where it has the id of a case, and the square that the run has
    stored of it; else that square is shown.
    """
    stored = run.images()
    squares = dict(zip(stored.get("ids", []), stored.get("cases", []), strict=True))
    pictures = squares | dict(_read(run.metrics["options"], squares))
    return {str(id_): data_uri(to_jpeg(picture), "jpeg") for id_, picture in pictures.items()}


def _read(
    options: dict[str, Any], squares: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ids and (h, w) uint8 films of the radiographs whose files are at hand."""
    try:
        preprocessing = Preprocessing(
            **{name: options[f"data.{name}"] for name in ("size", "fit", "contrast", "crop")}
        )
        files = find_radiographs([Path(options["data.root"])])
    except (UserError, KeyError, TypeError):
        return
    for file in files:
        if (square := squares.get(radiograph_id(file))) is None:
            continue
        try:
            image, _ = read_radiograph(file)
        except UserError:
            continue
        hand = find_hand(image)
        crop = crop_around(hand if preprocessing.crop == "hand" else None)
        seen = to_square(image, preprocessing, crop)
        if seen.shape == square.shape and cv2.absdiff(seen, square).mean() <= SAME:
            yield radiograph_id(file), to_film(image, hand)
