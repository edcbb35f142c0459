"""How many grey levels are used, and that marks burnt into the pixels change nothing."""

import numpy as np
import pytest

from boneage.data.crop import Crop, find_crop
from boneage.data.decode import Preprocessing, to_square
from boneage.data.depth import full_scale
from boneage.data.hand import look, small
from boneage.data.phantom.exposure import expose

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


@pytest.mark.parametrize("bits", DEPTHS)
def test_a_mark_changes_only_its_own_pixels(bits):
    plain, with_mark = film(bits), marked(film(bits))
    preprocessing = Preprocessing(100)
    before, after = (to_square(image, preprocessing, Crop()) for image in (plain, with_mark))
    elsewhere = np.ones((100, 100), bool)
    elsewhere[:15, :15] = False
    assert np.abs(before.astype(int) - after)[elsewhere].max() <= 2
    assert (small(with_mark)[50:] == small(np.minimum(with_mark, 2**bits - 1))[50:]).all()
    assert look(with_mark).hand is not None
    box = find_crop(plain, "hand").box
    np.testing.assert_allclose(find_crop(with_mark, "hand").box, box, atol=0.03)
