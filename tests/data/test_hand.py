"""Finding the hand, cropping to it, and its contrast, on phantoms whose exact outline is known."""

from concurrent.futures import ThreadPoolExecutor
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
from boneage.data.hand import (
    LONGER_SIDE,
    MASK_SIDE,
    Crop,
    Hand,
    crop_around,
    detect,
    to_film,
    to_jpeg,
)
from boneage.data.phantom import expose
from boneage.run.experiment import train

AGES = (1, 4, 8, 12, 17)
CROPPED = Preprocessing(64, contrast="stretch", crop="hand")


def phantom(age, seed=0):
    drawn = expose(age, "female", MASK_SIDE, np.random.default_rng([seed, age]))
    return drawn.image, drawn.masks["soft_tissue"]


def overlap(found, exact):
    """Share of all pixels of either that both have."""
    return (found & exact).sum() / (found | exact).sum()


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("seed", range(4))
def test_the_hand_of_a_phantom(age, seed):
    image, exact = phantom(age, seed)
    hand = detect(image).hand
    assert hand.mask.shape == image.shape
    assert overlap(hand.mask, exact) > 0.7
    y, x = np.nonzero(exact)
    height, width = image.shape
    box = (x.min() / width, y.min() / height, (x.max() + 1) / width, (y.max() + 1) / height)
    assert np.abs(np.array(hand.box) - box).max() < 0.06
    y, x = np.nonzero(hand.mask)
    own = (x.min() / width, y.min() / height, (x.max() + 1) / width, (y.max() + 1) / height)
    np.testing.assert_allclose(hand.box, own)


def in_a_field(image, exact):
    """A faint hand in a collimated field on black."""
    field = 60 + 0.5 * image.astype(float)
    frame, mask = np.zeros((420, 400)), np.zeros((420, 400), bool)
    inside = np.s_[80 : 80 + image.shape[0], 90 : 90 + image.shape[1]]
    frame[inside], mask[inside] = field, exact
    return frame.astype(np.uint8), mask


def in_a_white_frame(image, exact):
    framed = cv2.copyMakeBorder(image, 30, 25, 25, 40, cv2.BORDER_CONSTANT, value=255)
    return framed, np.pad(exact, ((30, 25), (25, 40)))


def larger_in_16_bits(image, exact):
    size = (4 * image.shape[1], 4 * image.shape[0])
    return 7 * cv2.resize(image, size).astype(np.uint16), exact


@pytest.mark.parametrize("film", [in_a_field, in_a_white_frame, larger_in_16_bits])
@pytest.mark.parametrize("age", AGES[1:])  # an infant's flesh is too faint in a small field
def test_the_hand_in_other_films(film, age):
    image, exact = film(*phantom(age, seed=5))
    hand = detect(image).hand
    size = hand.mask.shape[::-1]
    exact = cv2.resize(exact.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    assert overlap(hand.mask, exact) > 0.75


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 160), np.uint8),
        np.full((200, 160), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (200, 160), dtype=np.uint8),
        np.tile(np.arange(160, dtype=np.uint8), (200, 1)),
        cv2.rectangle(np.zeros((200, 160), np.uint8), (30, 30), (130, 170), 200, cv2.FILLED),
        cv2.circle(np.zeros((200, 160), np.uint8), (80, 100), 60, 200, cv2.FILLED),
        np.ones((1, 1), np.uint8),
    ],
    ids=["black", "white", "noise", "gradient", "rectangle", "disc", "pixel"],
)
def test_no_hand(image):
    assert detect(image).hand is None


@pytest.mark.parametrize("age", AGES[1:])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_the_way_a_hand_lies(age, inverted, quarter_turns):
    image, exact = phantom(age, seed=6)
    lying = np.rot90(255 - image if inverted else image, quarter_turns)
    detection = detect(np.ascontiguousarray(lying))
    assert (detection.inverted, detection.quarter_turns) == (inverted, quarter_turns)
    assert overlap(detection.hand.mask, np.rot90(exact, quarter_turns)) > 0.7


@pytest.mark.parametrize("age", AGES[1:])
def test_two_hands(age):
    image, _ = phantom(age, seed=7)
    assert not detect(image).two
    assert detect(np.hstack([image, image[:, ::-1]])).two
    assert detect(np.hstack([image, np.zeros((MASK_SIDE, 10), np.uint8), image])).two


@pytest.mark.parametrize(("side", "two"), [(30, False), (35, True)])
@pytest.mark.parametrize(("likelihood", "orientation"), [(0.89, (False, 0)), (0.91, (True, 1))])
@pytest.mark.parametrize("rotated", [False, True])
def test_the_largest_hand_counts_and_only_a_sure_orientation(
    monkeypatch, side, two, likelihood, orientation, rotated
):
    """A second hand has more than 0.4 of the area: of 50 x 50 pixels, 30 x 30 are 0.36.

    What is larger, but on average not likely enough, is no hand.
    """
    shares, orientations = np.zeros((112, 112), np.float32), np.zeros(8, np.float32)
    shares[8:58, 8:58] = 0.9
    shares[62:, :60] = 0.5
    shares[66 : 66 + side, 66 : 66 + side] = 0.9
    orientations[5] = likelihood  # inverted, and turned once
    shares = shares[::-1, ::-1].copy() if rotated else shares
    monkeypatch.setattr("boneage.data.hand._run", lambda square: (shares, orientations))
    detection = detect(np.tile(np.arange(112, dtype=np.uint8), (112, 1)))
    near, far = (54, 104) if rotated else (8, 58)
    assert np.array(detection.hand.box) * 112 == pytest.approx([near, near, far, far], abs=1.5)
    assert detection.two is two
    assert (detection.inverted, detection.quarter_turns) == orientation


def test_threads_do_not_disturb_each_other():
    films = [phantom(age, seed)[0] for age in AGES for seed in range(4)]
    alone = [detect(film).hand.mask for film in films]
    with ThreadPoolExecutor(4) as pool:
        together = [found.hand.mask for found in pool.map(detect, films)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=[3, 9, 15])
def film(request):
    """A hand in the corner of a large dark film, and its exact outline."""
    drawn = expose(request.param, "male", 256, np.random.default_rng(request.param))
    padding = ((60, 20), (20, 60))
    return np.pad(drawn.image, padding), np.pad(drawn.masks["soft_tissue"], padding)


def test_the_crop_holds_the_hand_and_little_else(film):
    image, exact = film
    crop = CROPPED.geometry(image).crop
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
    geometry = Geometry(100, 200, CROPPED, Crop((0.1, 0.2, 0.3, 0.7)))
    assert geometry.seen_in(50, 400) == (slice(10, 35), slice(40, 120))  # half as high
    assert CROPPED.geometry(square).crop == Crop()  # nothing there: the whole, without a mask


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
    geometry = CROPPED.geometry(faint)
    crop = geometry.crop
    plain, with_marker = (geometry.square(picture).pixels for picture in (faint, marked))
    inside = crop.hand_in(64, 64)
    middle = np.median(plain[inside])
    assert np.percentile(plain[inside], 99) > 240
    assert abs(np.median(with_marker[inside]) - middle) < 40
    # what is avoided: stretched by the whole crop, the hand is dark beside the marker
    by_all = replace(geometry, crop=Crop(crop.box)).square(marked).pixels
    assert np.median(by_all[inside]) < 0.5 * middle


@pytest.mark.parametrize(("start", "end"), [(0, 100), (20, 80)])
def test_the_stretch_by_hand(start, end):
    """Of the hand where it lies in the crop: the mask is of the whole radiograph."""
    image = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    mask = np.zeros((100, 100), bool)
    mask[:, 20:60] = True
    preprocessing = Preprocessing(end - start, contrast="stretch", crop="hand")
    crop = Crop((start / 100, start / 100, end / 100, end / 100), mask)
    square = Geometry(100, 100, preprocessing, crop).square(image).pixels
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
    cache = open_cache(table, CROPPED, tmp_path / "cache")
    assert cache.without_hand == [1]
    assert open_cache(table, CROPPED, tmp_path / "cache").without_hand == [1]
    squares = np.load(cache.path)
    assert (squares[1] == decode(paths[1], Preprocessing(64, contrast="stretch"))).all()
    assert (squares[0] != decode(paths[0], Preprocessing(64, contrast="stretch"))).any()
    assert open_cache(table, Preprocessing(64), tmp_path / "cache").without_hand == []


def test_the_checkpoint_carries_the_crop(configure, tmp_path):
    first = train(configure("data.crop=hand", "data.contrast=stretch"))
    best = tmp_path / "run/checkpoints/best.ckpt"
    again = train(configure("train=false", f"ckpt_path={best}", run="again"))
    assert again["test"] == first["test"]
