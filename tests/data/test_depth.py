"""How many grey levels are used, and that marks burnt into the pixels change nothing."""

import cv2
import numpy as np
import pytest

from boneage.data.decode import Preprocessing
from boneage.data.depth import clip_marks, full_scale
from boneage.data.hand import detect, thumbnail, to_film
from boneage.data.phantom import expose
from boneage.predict.radiograph import image_flags
from boneage.run.changes import changed_square

DEPTHS = (10, 12, 14)


def film(bits):
    """A phantom whose values fill `bits` bits of 16."""
    drawn = expose(9, "female", 400, np.random.default_rng(2)).image
    return (drawn.astype(np.uint16) << (bits - 8)) | (drawn >> (16 - bits))


def marked(image, value=65535):
    """A letter or a border that a program has written into the pixels."""
    image = image.copy()
    image[10:50, 10:18] = image[42:50, 10:35] = value
    return image


def framed(image):
    return np.pad(image, 25, constant_values=65535)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_smallest_depth_that_holds_the_values(bits):
    values = np.linspace(0, 2**bits - 1, 1000).astype(np.uint16)
    assert full_scale(values[None]) == 2**bits - 1
    assert full_scale(np.array([[0, 255]], np.uint8)) == 255


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("mark", [marked, framed])
def test_marks_are_no_values_of_the_detector(bits, mark):
    assert full_scale(mark(film(bits))) == 2**bits - 1


def test_bright_values_of_16_bits_are_no_marks():
    ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
    assert full_scale(ramp) == 65535
    assert full_scale(marked(ramp)) == 65535
    overexposed = np.minimum(2 * ramp.astype(int), 65535).astype(np.uint16)
    assert full_scale(overexposed) == 65535
    dark = ramp // 16
    dark[0, :200] = 30000  # 0.3 % of all, and more than are saturated
    dark[1, 0] = 65535
    assert full_scale(dark) == 65535


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("marks", [(), (0,), (0, 300)])
def test_inverted_values_of_a_small_depth_are_no_marks(bits, marks):
    """Such as of a TIFF of 16 bits in which zero is white; the truth is inverted in its depth."""
    inverted, expected = cornered(65535 - film(bits), *marks), 2**bits - 1 - film(bits)
    assert full_scale(inverted) == 65535
    apart = np.abs(thumbnail(inverted).astype(int) - thumbnail(expected))
    assert apart[20:-20].max() <= 5  # the rarest values may be at the ends
    assert detect(inverted).hand is not None
    assert detect(inverted).inverted
    plain, other = (
        Preprocessing(100, "squash", "stretch").square(image).pixels.astype(int)
        for image in (expected, inverted)
    )
    assert np.abs(plain - other)[10:-10].max() <= 10  # marks move the percentiles a little


@pytest.mark.parametrize("bits", DEPTHS)
def test_a_mark_changes_only_its_own_pixels(bits):
    plain, with_mark = film(bits), marked(film(bits))
    preprocessing = Preprocessing(100)
    before, after = (preprocessing.square(image).pixels for image in (plain, with_mark))
    elsewhere = np.ones((100, 100), bool)
    elsewhere[:15, :15] = False
    assert np.abs(before.astype(int) - after)[elsewhere].max() <= 2
    assert (thumbnail(with_mark)[50:] == thumbnail(np.minimum(with_mark, 2**bits - 1))[50:]).all()
    assert detect(with_mark).hand is not None
    hand = Preprocessing(100, crop="hand")
    box = hand.geometry(plain).crop.box
    np.testing.assert_allclose(hand.geometry(with_mark).crop.box, box, atol=0.03)


def cornered(image, *values):
    """Marks of different values in the corners of the left side."""
    image = image.copy()
    for value, corner in zip(values, (np.s_[:20, :20], np.s_[-20:, :20]), strict=False):
        image[corner] = value
    return image


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("offset", [20000, 30000, 50000])
@pytest.mark.parametrize("values", [(65535, 0), (0, 65535), (65500, 12)])
def test_marks_at_both_ends_do_not_squeeze_values_with_an_offset(bits, offset, values):
    plain = film(bits) + np.uint16(offset)
    with_marks = cornered(plain, *values)
    nearest = plain.max() + 2000 if values[0] > offset else plain.min() - 2000
    with_marks[0, 50:90] = np.linspace(values[0], nearest, 40)  # a blurred edge
    picture, expected = thumbnail(with_marks), thumbnail(plain)
    apart = np.abs(picture.astype(int) - expected)[20:-20]
    assert apart.max() <= 5  # the rarest values may be at the ends
    detection = detect(picture)
    assert image_flags(picture, detection) == []
    np.testing.assert_allclose(detection.hand.box, detect(plain).hand.box, atol=0.02)
    for contrast in ("none", "stretch"):
        preprocessing = Preprocessing(100, "squash", contrast)
        before, after = (preprocessing.square(i).pixels for i in (plain, with_marks))
        assert np.abs(before.astype(int) - after)[10:-10].max() <= 5


def test_a_frame_is_a_mark_too():
    plain = film(12) + np.uint16(30000)
    for value in (0, 65535):
        framed = np.pad(cornered(plain, 65535 - value), 60, constant_values=value)
        assert np.ptp(clip_marks(framed)) < 4096
        assert detect(framed).hand is not None
        by_hand = np.clip(framed, plain.min(), plain.max())
        square, expected = (
            Preprocessing(100, "squash", "stretch").square(image).pixels.astype(int)
            for image in (framed, by_hand)
        )
        assert np.abs(square - expected)[25:-25, 25:-25].max() <= 5


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("offset", [0, 1, 30000])
def test_pixels_without_marks_stay_as_they_are(bits, offset):
    image = film(bits)
    if int(image.max()) + offset <= 65535:
        image = image + np.uint16(offset)
    assert clip_marks(image) is image
    eight = (film(16) >> 8).astype(np.uint8)
    assert clip_marks(eight) is eight
    for odd in (np.full((50, 50), 7), np.eye(50) * 65535, np.arange(4).reshape(2, 2)):
        assert clip_marks(odd.astype(np.uint16)).max() == odd.max()


@pytest.mark.parametrize("bits", DEPTHS)
def test_a_frame_does_not_darken_what_is_stretched_without_a_hand(bits):
    """More pixels than the percentiles leave out are 65535; at most the full scale is white."""
    preprocessing = Preprocessing(100, "squash", "stretch")
    wide = framed(film(bits))
    clipped = np.minimum(wide, np.uint16(2**bits - 1))
    square, expected = (preprocessing.square(image).pixels for image in (wide, clipped))
    assert np.abs(square.astype(int) - expected)[10:-10, 10:-10].max() <= 3
    assert square[10:-10, 10:-10].std() > 30
    drawn, expected = to_film(wide), to_film(clipped)
    assert np.abs(drawn.astype(int) - expected)[40:-40, 40:-40].max() <= 3


def test_stress_reduces_a_file_of_16_bits_without_its_marks(tmp_path):
    squares = []
    for plain in (film(12), film(12) + np.uint16(30000)):
        for name, image in (("plain", plain), ("marked", cornered(plain, 65535))):
            cv2.imwrite(str(tmp_path / f"{name}.png"), image)
            file = str(tmp_path / f"{name}.png")
            squares.append(changed_square(file, Preprocessing(100), "half the resolution")[0])
    for before, after in (squares[:2], squares[2:]):
        assert np.abs(before.astype(int) - after)[10:].max() <= 12  # plain: by its own maximum
