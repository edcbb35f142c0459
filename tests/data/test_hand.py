"""Finding the hand, against the exact outline of phantoms, in the films that real sets hold."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from boneage.data.hand import MASK_SIDE, detect, find_hand
from boneage.data.phantom.exposure import expose

AGES = (1, 4, 8, 12, 17)


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
    hand = find_hand(image)
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
    hand = find_hand(image)
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
    assert find_hand(image) is None


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
    alone = [find_hand(film).mask for film in films]
    with ThreadPoolExecutor(4) as pool:
        together = [hand.mask for hand in pool.map(find_hand, films)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
