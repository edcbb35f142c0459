"""Regions of a radiograph: hand, background and marker found in it, or boxes and stored masks."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.hand import detect, ellipse, thumbnail
from boneage.data.parallel import in_parallel
from boneage.data.tables.columns import require_single
from boneage.data.tables.ids import normal_id, normal_ids
from boneage.data.tables.matching import match_ids
from boneage.data.tables.read import read_table
from boneage.errors import UserError

HAND, BACKGROUND, MARKER = "hand", "background", "marker"
SOFT_TISSUE = "soft_tissue"  # the exact hand mask of a phantom
STROKE = 9  # pixels at `hand.MASK_SIDE`: letters are thinner
STROKE_CONTRAST = 0.25  # least, as a share of the contrast of the image
JOIN = 11  # pixels: letters closer than this are one marker
MAX_LENGTH = 0.3  # share of the side: longer strokes are frames
MIN_INK = 12  # pixels
MARGIN_PIXELS = 2  # pixels around hand and marker
INPAINT_RADIUS = 3
TOP_LEFT, BOTTOM_RIGHT = ["xmin", "ymin"], ["xmax", "ymax"]
CORNERS = TOP_LEFT + BOTTOM_RIGHT
IMAGE_SIZE = ["image_width", "image_height"]
BOX_COLUMNS = ["id", "region", *CORNERS, *IMAGE_SIZE]
RESERVED = (BACKGROUND, HAND, MARKER)  # detected, not drawn by annotators
MasksOf = Callable[[Geometry], dict[str, np.ndarray]]  # of one radiograph, by region


def background_masks(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return `hand`, `background` and, if found, `marker` of an (H, W) radiograph.

    The hand finder gives the hand. The marker is the strongest group of thin bright strokes away
    from it.

    Returns:
        (h, w) bool masks, for the radiograph at `hand.MASK_SIDE` pixels; empty if no hand is found.
    """
    reduced = thumbnail(image)
    hand = detect(reduced).hand
    if hand is None:
        return {}
    masks = {HAND: hand.mask, BACKGROUND: ~hand.mask}
    marker = _find_marker(reduced, hand.mask)
    return masks if marker is None else masks | {MARKER: marker}


def paint_over(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return (n, H, W) uint8 images with masked pixels inpainted (Telea 2004)."""
    return np.stack(
        [
            cv2.inpaint(image, mask.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
            for image, mask in zip(images, masks, strict=True)
        ]
    )


def mirrored_mask(mask: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return a mirror image of a mask that overlaps neither it nor the hand; None if all do."""
    for mirrored in (mask[:, ::-1], mask[::-1], mask[::-1, ::-1]):
        if not (mirrored & (hand | mask)).any():
            return mirrored
    return None


def _find_marker(image: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return the bool mask of the marker's box in an image at `hand.MASK_SIDE` pixels."""
    relief = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, ellipse(STROKE)).astype(float)
    near = cv2.dilate(hand.astype(np.uint8), ellipse(2 * MARGIN_PIXELS + 3)) > 0
    low, high = np.percentile(image, [1, 99])
    strokes = (relief > STROKE_CONTRAST * (high - low)) & ~near
    joined = cv2.morphologyEx(strokes.astype(np.uint8), cv2.MORPH_CLOSE, ellipse(JOIN))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(joined)
    strongest, marker = 0.0, None
    for label, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        ink = strokes & (labels == label)
        plausible = (
            ink.sum() >= MIN_INK
            and width <= MAX_LENGTH * image.shape[1]
            and height <= MAX_LENGTH * image.shape[0]
            and min(width, height) > MARGIN_PIXELS + 1
        )
        if plausible and relief[ink].sum() > strongest:
            strongest = relief[ink].sum()
            marker = np.zeros(image.shape, bool)
            rows = slice(max(0, top - MARGIN_PIXELS), top + height + MARGIN_PIXELS)
            marker[rows, max(0, left - MARGIN_PIXELS) : left + width + MARGIN_PIXELS] = True
    return None if marker is None else marker & ~near


def read_boxes(path: Path, annotator: str | None = None) -> pd.DataFrame:
    """Read a table of boxes in pixels of the original file.

    Args:
        path: csv with `id`, `region`, `xmin`, `ymin`, `xmax`, `ymax`, `image_width` and
            `image_height`, and `annotator` if several people drew the same radiographs.
        annotator: use only boxes of this annotator; None uses all.

    Raises:
        UserError: when the table is missing or malformed, has no such annotator, or a box is
            empty, outside its image, or without a region; the message names the row.
    """
    table = read_table(path)
    if absent := [column for column in BOX_COLUMNS if column not in table]:
        raise UserError(f"{path} lacks the column {', '.join(absent)}")
    require_single(path, table, BOX_COLUMNS)
    numbers = table[CORNERS + IMAGE_SIZE].apply(pd.to_numeric, errors="coerce").astype(float)
    low, high, frame = (numbers[names].to_numpy() for names in (TOP_LEFT, BOTTOM_RIGHT, IMAGE_SIZE))
    inside = (frame >= 1) & (low < high) & (low < frame) & (high > 0)
    wrong = ~(inside.all(axis=1) & np.isfinite(numbers).all(axis=1))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{path}, row {table.index[row]}: the box is empty, not a number, or outside its image"
        )
    table = table.assign(id=normal_ids(table["id"]), **numbers)
    names = table["region"]
    unusable = names.str.strip().eq("") | names.isin(RESERVED)
    if unusable.any():
        row = int(np.flatnonzero(unusable)[0])
        raise UserError(
            f"{path}, row {table.index[row]}: the region {names.iloc[row]!r} is empty or a "
            f"reserved name ({', '.join(RESERVED)}): rename it"
        )
    if annotator is not None:
        if "annotator" not in table:
            raise UserError(f"{path} has no column annotator: choose none")
        require_single(path, table, ["annotator"])
        annotators = sorted(table["annotator"].unique())
        if annotator not in annotators:
            raise UserError(f"{path} has no annotator {annotator}: it has {', '.join(annotators)}")
        table = table[table["annotator"] == annotator]
    return table


def region_masks(boxes: pd.DataFrame, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return per region the (size, size) bool mask of one radiograph's boxes, as far as shown."""
    size = geometry.preprocessing.size
    masks: dict[str, np.ndarray] = {}
    for (region, *_), rows in boxes.groupby(["region", *IMAGE_SIZE]):  # copies differ in size
        mask = masks.setdefault(str(region), np.zeros((size, size), bool))
        frame = rows[IMAGE_SIZE].iloc[0].to_numpy(int)
        own = replace(geometry, height=frame[1], width=frame[0])
        top, left, height, width = own.inner
        square = own.boxes_to_square(rows[CORNERS].to_numpy())
        shown = square.clip([left, top] * 2, [left + width, top + height] * 2)
        for xmin, ymin, xmax, ymax in shown:
            columns = slice(int(np.floor(xmin)), int(np.ceil(xmax)))
            mask[int(np.floor(ymin)) : int(np.ceil(ymax)), columns] = True
    return masks


def read_masks(path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return per region the (size, size) bool mask stored for one radiograph of a phantom.

    The npz contains (H, W) bool arrays, in the geometry of the radiograph's file.

    Raises:
        UserError: when the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {region: geometry.mask_to_square(stored[region]) for region in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def find_regions(
    path: Path, files: Mapping[str, Path], annotator: str | None = None
) -> dict[str, MasksOf]:
    """Return functions that make the masks of radiographs with regions, by id; none is read yet.

    Args:
        path: table of boxes, or folder of a phantom's masks (`<id>.npz`).
        files: radiographs by id.
        annotator: use only boxes of this annotator; None uses all.

    Raises:
        UserError: when the table cannot be read.
    """
    if path.is_dir():
        stored = {normal_id(file.stem): file for file in path.glob("*.npz")}
        matches = match_ids(files, stored, path)
        return {id_: partial(read_masks, stored[match]) for id_, match in matches.items()}
    boxes = {str(id_): rows for id_, rows in read_boxes(path, annotator).groupby("id")}
    matches = match_ids(files, boxes, path)
    return {id_: partial(region_masks, boxes[match]) for id_, match in matches.items()}


def read_regions(
    path: Path,
    files: Mapping[str, Path],
    preprocessing: Preprocessing,
    annotator: str | None = None,
) -> dict[str, dict[str, np.ndarray]]:
    """Return the region masks of radiographs that have any, by id.

    The `background`, the `marker` (if found) and, unless an exact `soft_tissue` mask exists, the
    `hand` are added to the regions of `find_regions`.

    Raises:
        UserError: when the regions cannot be read.
    """
    masks = find_regions(path, files, annotator)
    work = [(files[id_], masks_of, preprocessing) for id_, masks_of in masks.items()]
    return dict(zip(masks, in_parallel(_regions_of, work, "Finding regions"), strict=True))


def _regions_of(work: tuple[Path, MasksOf, Preprocessing]) -> dict[str, np.ndarray]:
    path, masks_of, preprocessing = work
    image, _ = read_radiograph(path)
    geometry = preprocessing.geometry(image)
    return _with_background(masks_of(geometry), image, geometry)


def _with_background(
    regions: dict[str, np.ndarray], image: np.ndarray, geometry: Geometry
) -> dict[str, np.ndarray]:
    detected = background_masks(image)
    added = {name: geometry.mask_to_square(mask) for name, mask in detected.items()}
    if SOFT_TISSUE in regions:
        added.pop(HAND, None)
        shown = geometry.mask_to_square(np.ones(image.shape, bool))  # without padding
        added[BACKGROUND] = shown & ~regions[SOFT_TISSUE]
    return regions | {name: mask for name, mask in added.items() if mask.any()}
