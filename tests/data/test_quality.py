"""Noise and blocks of compression: measured as they were made, in the units of the square."""

import cv2
import numpy as np
import pytest

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.hand import Crop
from boneage.data.phantom.write import expose
from boneage.data.quality import COMPRESSED, MAX_BLOCKS, NOISY, blocks, noise
from boneage.predict.radiograph import see


def smooth(side=256):
    """Return a (side, side) uint8 picture of soft shapes, without noise."""
    coarse = np.random.default_rng(0).uniform(50, 200, (8, 8)).astype(np.float32)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return picture.round().clip(30, 225).astype(np.uint8)


def noisy(image, deviation, seed=1):
    values = image + np.random.default_rng(seed).normal(0, deviation, image.shape)
    return values.round().clip(0, 255).astype(np.uint8)


def jpeg(image, quality):
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def square_of(image, size=256, contrast="none", box=(0.0, 0.0, 1.0, 1.0)):
    return Geometry(*image.shape, Preprocessing(size, contrast=contrast), Crop(box)).square(image)


@pytest.mark.parametrize("deviation", [3, 8, 15])
def test_noise_has_the_deviation_that_was_added(deviation):
    image = noisy(smooth(), deviation)
    assert noise(image, square_of(image)) == pytest.approx(deviation, rel=0.05)
    assert noise(smooth(), square_of(smooth())) < 1


@pytest.mark.parametrize(("size", "box"), [(64, (0, 0, 1, 1)), (128, (0.25, 0, 0.75, 1))])
def test_noise_is_that_of_the_reduced_and_stretched_square(size, box):
    """Against the square of the noisy picture without that of the plain one."""
    plain = smooth(1024)
    image = noisy(plain, 20)
    square = square_of(image, size, "stretch", box)
    low, high = np.percentile(plain, [1, 99])
    assert 255 / (high - low) == pytest.approx(square.gain, rel=0.1)
    difference = square.pixels.astype(float) - square_of(plain, size, "stretch", box).pixels
    inside = (square.pixels > 20) & (square.pixels < 235)
    assert noise(image, square) == pytest.approx(difference[inside].std(), rel=0.15)


def test_blocks_are_found_on_any_grid_and_in_16_bits():
    plain, compressed = smooth(), jpeg(noisy(smooth(), 2), 30)
    found = blocks(compressed, square_of(compressed))
    assert blocks(plain, square_of(plain)) < 0.1 < MAX_BLOCKS < found
    others = {
        "cropped": compressed[3:, 5:],
        "turned": np.ascontiguousarray(np.rot90(compressed[:, 1:])),
        "mirrored": np.ascontiguousarray(compressed[:, ::-1]),
        "16 bits": compressed.astype(np.uint16) * 257,
        "bordered": cv2.copyMakeBorder(compressed, 37, 37, 37, 37, cv2.BORDER_CONSTANT, value=[0]),
    }
    for name, image in others.items():
        square = square_of(image, image.shape[0])  # at the scale of the file
        assert blocks(image, square) == pytest.approx(found, rel=0.25), name


def test_what_is_no_compression_has_no_blocks():
    plain = smooth()
    edged = plain.copy()
    edged[:, 64:] += 30  # an edge where a block could begin
    framed = cv2.copyMakeBorder(plain, 32, 32, 32, 32, cv2.BORDER_CONSTANT, value=[255])
    white = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    enlarged = cv2.resize(white, (256, 256), interpolation=cv2.INTER_NEAREST)  # repeated pixels
    for image in (edged, framed, noisy(plain, 8), 0 * plain, plain[:9, :9], enlarged):
        assert blocks(image, square_of(image)) < 0.1


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 2), (16, 16), (17, 400), (5000, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_any_shape(shape, dtype):
    image = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    for contrast in ("none", "stretch"):
        square = square_of(image, 64, contrast)
        assert np.isfinite([noise(image, square), blocks(image, square)]).all()


def test_less_of_noise_and_blocks_is_seen_of_a_reduced_file():
    image = noisy(smooth(1024), 8)
    compressed = jpeg(noisy(smooth(1024), 2), 75)
    for size in (1024, 512, 256):
        assert noise(image, square_of(image, size)) == pytest.approx(8 * size / 1024, rel=0.05)
    whole, quarter = (blocks(compressed, square_of(compressed, size)) for size in (1024, 256))
    assert quarter == pytest.approx(whole / 4)
    assert quarter < MAX_BLOCKS < whole


def test_flags_of_a_radiograph():
    drawn = expose(10, "female", 256, np.random.default_rng(0)).image
    hand = cv2.GaussianBlur(drawn, (0, 0), 1.5)  # without the noise of the phantom
    both = Preprocessing(32), Preprocessing(256, contrast="stretch", crop="hand")
    told = [see(picture, both, False).flags for picture in (hand, noisy(hand, 8), jpeg(hand, 20))]
    assert told == [[], [NOISY], [COMPRESSED]]
    dark = np.full((256, 256), 7, np.uint8)
    assert see(noisy(dark, 1), both, False).flags == ["nearly empty"]  # and nothing to stretch
