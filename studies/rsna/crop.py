"""Measure how often the hand is found, and how many annotated boxes are within the crop.

python studies/rsna/crop.py /path/to/rsna /path/to/boxes.csv OUT

Writes the measurements into crop.json, and contact sheets of 200 crops into the folder OUT. The
most unusual crops, by area and aspect ratio, come first. Takes minutes.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.layouts import read_source
from boneage.data.sampler import evenly
from boneage.explain.regions import read_boxes
from boneage.run.results import write_json

SHEET, SIDE = (10, 5), 128  # columns and rows of a sheet; pixels of a crop
HAND = Preprocessing(size=SIDE, fit="pad", contrast="stretch", crop="hand")


def box_of(path: str) -> tuple[float, float, float, float] | None:
    """Return the crop's box as shares of a radiograph; None if no hand is found."""
    crop = HAND.geometry(read_radiograph(path)[0]).crop
    return None if crop.mask is None else crop.box


def sheets(table: pd.DataFrame, out: Path, n: int = 200) -> None:
    """Write contact sheets: half the most unusual crops, half an even sample of the others."""
    unusual = (np.log(table["area"] / table["area"].median()).abs() / table["area"].std()) + (
        np.log(table["aspect"] / table["aspect"].median()).abs() / table["aspect"].std()
    )
    ordered = table.assign(unusual=unusual).sort_values("unusual", ascending=False)
    rest = ordered.iloc[n // 2 :]
    even = rest.iloc[evenly(len(rest), n // 2)]
    chosen = pd.concat([ordered.iloc[: n // 2], even])
    columns, rows = SHEET
    for page in range(n // (columns * rows)):
        tiles = []
        for row in chosen.iloc[page * columns * rows : (page + 1) * columns * rows].itertuples():
            tile = HAND.square(read_radiograph(str(row.path))[0]).pixels
            tiles.append(cv2.putText(tile, str(row.id), (2, 10), 0, 0.35, 255))
        grid = np.stack(tiles).reshape(rows, columns, SIDE, SIDE).swapaxes(1, 2)
        cv2.imwrite(str(out / f"crops_{page}.png"), grid.reshape(rows * SIDE, columns * SIDE))


def main(root: Path, boxes: Path, out: Path) -> None:
    """Measure and draw."""
    table = read_source(root)
    found = Parallel(n_jobs=-1)(delayed(box_of)(path) for path in table["path"])
    table = table.assign(found=[box is not None for box in found])
    edges = pd.DataFrame([box or (0, 0, 1, 1) for box in found], columns=list("ltrb"))
    table = pd.concat([table.reset_index(drop=True), edges], axis=1)
    table["area"] = (table["r"] - table["l"]) * (table["b"] - table["t"])
    table["aspect"] = (table["r"] - table["l"]) / (table["b"] - table["t"])
    drawn = read_boxes(boxes).merge(table, on="id")
    x0, x1 = (drawn[c] / drawn["image_width"] for c in ("xmin", "xmax"))
    y0, y1 = (drawn[c] / drawn["image_height"] for c in ("ymin", "ymax"))
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    centre = x.between(drawn["l"], drawn["r"]) & y.between(drawn["t"], drawn["b"])
    whole = (x0 >= drawn["l"]) & (x1 <= drawn["r"]) & (y0 >= drawn["t"]) & (y1 <= drawn["b"])
    lost = drawn[~centre]
    measured = {
        "radiographs": len(table), "found": int(table["found"].sum()),
        "without_hand": list(table["id"][~table["found"]]),
        "boxes": len(drawn), "centres_inside": int(centre.sum()), "whole_inside": int(whole.sum()),
        "lost": [f"{row.id} {row.region}" for row in lost.itertuples()],
    }  # fmt: skip
    write_json(Path(__file__).with_name("crop.json"), measured)
    out.mkdir(parents=True, exist_ok=True)
    sheets(table[table["found"]], out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
