"""The scripts of benchmarks/ measure what they say."""

from pathlib import Path

import cv2
import numpy as np
from helpers import PROJECT

from boneage.data.formats import read_radiograph
from boneage.data.radiographs import find_radiographs


def test_repeated_radiographs_can_be_read_from_a_relative_folder(tmp_path, monkeypatch):
    """A broken link is answered at once, with an error: a speed of nothing."""
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    import predict

    Path("originals").mkdir()
    Path("links").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    cv2.imwrite("originals/hand.png", pixels)
    predict.links([Path("originals/hand.png")], 3, Path("links").absolute())
    read = [read_radiograph(file)[0] for file in find_radiographs([tmp_path / "links"])]
    assert np.array_equal(read, [pixels] * 3)
