"""Measure the built-in model, and its flags, on radiographs with more and more of a flaw.

python studies/rsna/quality.py /path/to/rsna [N]

Changes N (400) of the validation radiographs, on which the limits of boneage/data/quality.py were
chosen. Writes the errors in months and the shares flagged into quality.json.
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage import Predictor
from boneage.data.formats import read_radiograph
from boneage.data.layouts import read_source
from boneage.data.quality import COMPRESSED, NOISY
from boneage.data.sampler import evenly
from boneage.evaluation.intervals import mean_absolute, with_interval
from boneage.evaluation.shares import widen_share
from boneage.predict.onnx_model import OnnxModel
from boneage.run.changes import UNCHANGED, Change, jpeg, noise
from boneage.run.results import write_json
from boneage.weights import BUILTIN

OUT = Path(__file__).with_name("quality.json")
NOISE = (1, 2, 3, 4, 6, 8)  # grey levels, standard deviation
QUALITY = (90, 75, 60, 50, 30)  # of JPEG
BLUR = (1, 1.5, 2, 3)  # pixels, standard deviation; nothing flags it


def blur(deviation: float) -> Change:
    """Return the change that applies a Gaussian filter."""
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.uint8)


def measure(images: list[np.ndarray], sexes: list[str], ages: np.ndarray) -> dict[str, Any]:
    """Return the MAE of (H, W) uint8 radiographs, of all and of those not flagged, and shares.

    They are the share of each flag, and the share of readings within the 90 % interval.

    Args:
        images: the radiographs.
        sexes: their sexes.
        ages: (n,) bone ages in months.
    """
    answers = Predictor()(images, sex=sexes)
    error = np.array([12 * (answer.age_years or 0) for answer in answers]) - ages
    ends = np.array([answer.interval_years for answer in answers], float)
    within = (12 * ends[:, 0] <= ages) & (ages <= 12 * ends[:, 1])
    raised = {flag: np.array([flag in a.flags for a in answers]) for flag in (NOISY, COMPRESSED)}
    kept = error[~np.logical_or(*raised.values())]
    found = {"mae": with_interval(lambda e: {"mae": mean_absolute(e)}, error)["mae"]}
    if len(kept):
        found["mae_not_flagged"] = with_interval(lambda e: {"mae": mean_absolute(e)}, kept)["mae"]
    for name, hits in {**raised, "covered": within}.items():
        found[name] = with_interval(lambda h: {"share": h.mean(axis=-1)}, hits)["share"]
        widen_share(found[name])
    return found


def main(root: Path, n: int) -> None:
    """Measure every level."""
    table = read_source(root)
    table = table[table["id"].isin(OnnxModel(BUILTIN).contract["radiographs"]["val"])]
    table = table.iloc[evenly(len(table), n)]
    images = [np.asarray(read_radiograph(path)[0], np.uint8) for path in table["path"]]
    levels: dict[str, Change] = {UNCHANGED: lambda image: image}
    levels |= {f"noise, SD {deviation}": noise(deviation) for deviation in NOISE}
    levels |= {f"JPEG, quality {quality}": jpeg(quality) for quality in QUALITY}
    levels |= {f"blur, SD {deviation:g}": blur(deviation) for deviation in BLUR}
    measured = {}
    for name, change in levels.items():
        changed = [np.asarray(change(image)) for image in images]
        measured[name] = measure(changed, list(table["sex"]), table["age_months"].to_numpy())
        print(name, measured[name])
    write_json(OUT, measured)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 400)
