"""Cropping to the hand, and the contrast of the hand itself, on phantoms whose hand is known."""

from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import decode
from PIL import Image

from boneage.data.cache import open_cache
from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import LONGER_SIDE, Crop, Hand, crop_around, to_film, to_jpeg
from boneage.data.phantom.exposure import expose
from boneage.run.experiment import train

HAND = Preprocessing(64, contrast="stretch", crop="hand")


@pytest.fixture(params=[3, 9, 15])
def film(request):
    """A hand in the corner of a large dark film, and its exact outline."""
    drawn = expose(request.param, "male", 256, np.random.default_rng(request.param))
    padding = ((60, 20), (20, 60))
    return np.pad(drawn.image, padding), np.pad(drawn.masks["soft_tissue"], padding)


def test_the_crop_holds_the_hand_and_little_else(film):
    image, exact = film
    crop = HAND.geometry(image).crop
    rows, columns = crop.slices(*image.shape)
    assert exact[rows, columns].sum() > 0.99 * exact.sum()
    y, x = np.nonzero(exact)
    tight = (np.ptp(y) + 1) * (np.ptp(x) + 1)
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 1.3 * tight
    assert Preprocessing(64).geometry(image).crop == Crop()


def test_slices_of_a_crop():
    square = np.zeros((100, 100), np.uint8)
    assert Crop((0.1, 0.2, 0.3, 0.7)).slices(100, 200) == (slice(20, 70), slice(20, 60))
    assert Crop((0.1, 0.2, 0.3, 0.7)).slices(15, 15) == (slice(3, 11), slice(1, 5))  # cuts none off
    assert Crop((0.5, 0.5, 0.5, 0.5)).slices(1, 1) == (slice(0, 1), slice(0, 1))
    geometry = Geometry(100, 200, HAND, Crop((0.1, 0.2, 0.3, 0.7)))
    assert geometry.seen_in(50, 400) == (slice(10, 35), slice(40, 120))  # half as high
    assert HAND.geometry(square).crop == Crop()  # nothing there: the whole, without a mask


def test_the_margin_is_a_share_of_each_side_of_the_hand_within_the_radiograph():
    mask = np.ones((4, 4), bool)
    box = crop_around(Hand(mask, (0.1, 0.2, 0.5, 0.4))).box
    np.testing.assert_allclose(box, (0.088, 0.194, 0.512, 0.406))  # 3 % of 0.4 and of 0.2
    assert crop_around(Hand(mask, (0.0, 0.0, 1.0, 1.0))).box == (0.0, 0.0, 1.0, 1.0)


def test_a_marker_does_not_darken_the_hand(film):
    image, exact = film
    faint = (0.3 * image).astype(np.uint8)
    y, x = np.nonzero(exact)
    corner = np.zeros(image.shape, bool)
    corner[y.min() : y.min() + 40, x.min() : x.min() + 40] = True
    beside = corner & (cv2.dilate(exact.astype(np.uint8), np.ones((9, 9))) == 0)
    marked = np.where(beside, 255, faint).astype(np.uint8)
    assert beside.sum() > 200
    geometry = HAND.geometry(faint)
    crop = geometry.crop
    plain, with_marker = (geometry.image_to_square(picture) for picture in (faint, marked))
    inside = crop.hand_in(64, 64)
    middle = np.median(plain[inside])
    assert np.percentile(plain[inside], 99) > 240
    assert abs(np.median(with_marker[inside]) - middle) < 40
    # what is avoided: stretched by the whole crop, the hand is dark beside the marker
    by_all = replace(geometry, crop=Crop(crop.box)).image_to_square(marked)
    assert np.median(by_all[inside]) < 0.5 * middle


@pytest.mark.parametrize(("start", "end"), [(0, 100), (20, 80)])
def test_the_stretch_by_hand(start, end):
    """Of the hand where it lies in the crop: the mask is of the whole radiograph."""
    image = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    mask = np.zeros((100, 100), bool)
    mask[:, 20:60] = True
    preprocessing = Preprocessing(end - start, contrast="stretch", crop="hand")
    crop = Crop((start / 100, start / 100, end / 100, end / 100), mask)
    square = Geometry(100, 100, preprocessing, crop).image_to_square(image)
    seen = image[start:end, start:end]
    low, high = np.percentile(seen, 1), np.percentile(image[:, 20:60], 99)
    expected = np.clip(np.rint((seen - low) * 255 / (high - low)), 0, 255)
    np.testing.assert_allclose(square, expected, atol=1)


def test_a_film_has_the_contrast_of_its_hand():
    image = np.tile(np.linspace(0, 250, LONGER_SIDE).astype(np.uint8), (LONGER_SIDE, 1))
    mask = np.zeros(image.shape, bool)
    mask[:, 100:300] = True
    low, high = np.percentile(image[:, 100:300], (1, 99.7))
    expected = np.clip(np.rint((image - low) * 255 / (high - low)), 0, 255)
    film = to_film(image, Hand(mask, (100 / LONGER_SIDE, 0, 300 / LONGER_SIDE, 1)))
    np.testing.assert_allclose(film, expected, atol=1)


def test_a_jpeg_has_the_colours_of_its_image():
    red = np.full((16, 16, 3), (200, 30, 10), np.uint8)
    read = np.asarray(Image.open(BytesIO(to_jpeg(red))), int)
    assert np.abs(read - red).max() <= 4


def test_films_without_a_hand_stay_whole_and_are_named(film, tmp_path):
    cv2.imwrite(str(tmp_path / "hand.png"), film[0])
    slope = np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (80, 1))
    cv2.imwrite(str(tmp_path / "slope.png"), slope)
    paths = [str(tmp_path / f"{name}.png") for name in ("hand", "slope")]
    table = pd.DataFrame({"id": ["hand", "noise"], "path": paths})
    cache = open_cache(table, HAND, tmp_path / "cache")
    assert cache.without_hand == [1]
    assert open_cache(table, HAND, tmp_path / "cache").without_hand == [1]
    squares = np.load(cache.path)
    assert (squares[1] == decode(paths[1], Preprocessing(64, contrast="stretch"))).all()
    assert (squares[0] != decode(paths[0], Preprocessing(64, contrast="stretch"))).any()
    assert open_cache(table, Preprocessing(64), tmp_path / "cache").without_hand == []


def test_the_checkpoint_carries_the_crop(configure, tmp_path):
    first = train(configure("data.crop=hand", "data.contrast=stretch"))
    best = tmp_path / "run/checkpoints/best.ckpt"
    again = train(configure("train=false", f"ckpt_path={best}", run="again"))
    assert again["test"] == first["test"]
