"""Radiograph files to 8-bit squares: pixels worked out by hand, and damaged files."""

import io
import os
import re
import struct
import tarfile
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from helpers import decode
from PIL import Image

from boneage.data import formats
from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.hand import detect
from boneage.data.images import read_image
from boneage.errors import UserError
from boneage.predict.radiograph import load

PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4  # 0 to 252
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".PNG")


def write(path, pixels):
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1])
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_8_bit_pixels_are_kept(tmp_path, suffix):
    decoded = decode(write(tmp_path / f"1{suffix}", PICTURE), Preprocessing(size=8))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, PICTURE)


def test_a_new_image_format_is_one_row(tmp_path, monkeypatch):
    path = tmp_path / "1.webp"
    Image.fromarray(PICTURE).save(path, lossless=True)
    with pytest.raises(UserError, match="WebP image"):
        read_radiograph(path)
    row = formats._image("WebP", (".webp",), b"RIFF")
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))
    np.testing.assert_array_equal(read_radiograph(path)[0], PICTURE)


def test_jpeg(tmp_path):
    smooth = np.tile(np.linspace(20, 200, 64).astype(np.uint8), (64, 1))
    decoded = decode(write(tmp_path / "1.jpeg", smooth), Preprocessing(size=64))
    assert np.abs(decoded.astype(int) - smooth).max() < 5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_colour_channels_that_are_grey(tmp_path, suffix, alpha, depth):
    full = np.iinfo(depth).max
    grey = (PICTURE.astype(depth) * (full // 255)).astype(depth)
    grey[7, 7] = full
    channels = [grey] * 3 + [np.full_like(grey, full // 3)] * alpha
    decoded = decode(write(tmp_path / f"1{suffix}", np.dstack(channels)), Preprocessing(size=8))
    expected = PICTURE.copy()
    expected[7, 7] = 255
    assert np.array_equal(decoded, expected)


def test_true_colour_by_luminance(tmp_path):
    blue_green_red = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    decoded = decode(write(tmp_path / "1.png", blue_green_red), Preprocessing(size=8))
    assert (decoded == 96).all()  # 0.114 x 200 + 0.587 x 100 + 0.299 x 50 = 96.45 (ITU-R BT.601)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("maximum", "full_scale"),
    [(255, 255), (256, 1023), (1023, 1023), (4000, 4095), (4096, 16383), (60000, 65535)],
)
def test_16_bit_files_by_their_smallest_depth(tmp_path, suffix, maximum, full_scale):
    pixels = np.full((8, 8), maximum // 2, np.uint16)
    pixels[0, 0] = maximum
    decoded = decode(write(tmp_path / f"1{suffix}", pixels), Preprocessing(size=8))
    assert decoded[0, 0] == round(maximum * 255 / full_scale)
    assert decoded[4, 4] == round(maximum // 2 * 255 / full_scale)


def test_shrinks_by_area(tmp_path):
    blocks = (PICTURE // 2).repeat(4, 0).repeat(4, 1)
    blocks[::4, ::4] += 32  # a corner of 16 pixels, which sampling near the middle would miss
    decoded = decode(write(tmp_path / "1.png", blocks), Preprocessing(size=8))
    assert np.array_equal(decoded, PICTURE // 2 + 2)


def test_grows_one_side_and_shrinks_the_other(tmp_path):
    rows = np.array([10, 30, 50, 70] * 8, np.uint8)[:, None].repeat(4, 1)  # 32 x 4
    decoded = decode(write(tmp_path / "1.png", rows), Preprocessing(size=8))
    assert (decoded == 40).all()


def test_pad_keeps_the_aspect_ratio_centred_on_black(tmp_path):
    tall = write(tmp_path / "1.png", np.full((32, 16), 200, np.uint8))
    expected = np.zeros((8, 8), np.uint8)
    expected[:, 2:6] = 200
    assert np.array_equal(decode(tall, Preprocessing(8, "pad")), expected)
    wide = write(tmp_path / "2.png", np.full((1, 4), 200, np.uint8))  # and grows
    expected = np.zeros((8, 8), np.uint8)
    expected[3:5] = 200
    assert np.array_equal(decode(wide, Preprocessing(8, "pad")), expected)
    line = write(tmp_path / "3.png", np.full((300, 1), 200, np.uint8))
    assert (decode(line, Preprocessing(8, "pad")) > 0).sum() == 8


def tiff(path, stored, shape, bits, order="<", **tags):
    """Write bytes as a TIFF file of so many bits; tags by number, as t262=0."""
    known = {256: shape[1], 257: shape[0], 258: bits, 259: 1, 262: 1, 277: 1, 278: shape[0]}
    known |= {int(name[1:]): value for name, value in tags.items()}
    if 322 not in known:
        known |= {273: 0, 279: len(stored)}
    start = 8 + 2 + 12 * (len(known) + (322 in known) * 2) + 4
    known |= {324: start, 325: len(stored)} if 322 in known else {273: start}
    entries = b"".join(struct.pack(f"{order}HHII", t, 4, 1, known[t]) for t in sorted(known))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(known))
    path.write_bytes((head + entries + bytes(4)).ljust(start, b"\0") + stored)
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("white_is_zero", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_may_say_that_zero_is_white(tmp_path, bits, white_is_zero, order):
    top = 2**bits - 1
    values = np.random.default_rng(0).integers(0, top + 1, (20, 16))
    stored = top - values if white_is_zero else values
    if bits < 8:
        planes = (stored[..., None] >> np.arange(bits)[::-1]) & 1
        content = np.packbits(planes.reshape(20, -1), axis=1).tobytes()
    else:
        content = stored.astype(f"{order}u{bits // 8}").tobytes()
    path = tiff(tmp_path / "a.tif", content, (20, 16), bits, order, t262=int(not white_is_zero))
    shown = values if bits >= 8 else values * 255 // top
    np.testing.assert_array_equal(read_image(path), shown)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_of_a_tiff(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (20, 16))
    planes = (values[..., None] >> np.arange(bits)[::-1]) & 1
    content = np.packbits(planes.reshape(20, -1), axis=1).tobytes()
    shown = read_image(tiff(tmp_path / "a.tif", content, (20, 16), bits))
    np.testing.assert_allclose(shown / 65535, values / (2**bits - 1), atol=2**-bits)
    with pytest.raises(UserError, match=rf"^\S+: damaged, or its {bits} bits per pixel are not"):
        read_image(tiff(tmp_path / "a.tif", content[:9], (20, 16), bits))


def test_a_jpeg_of_12_bits_is_told_what_to_do(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 16)).astype(np.uint16)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(values, bitspersample=12))
    with pytest.raises(UserError, match="or save it as PNG with 8 or 16 bits"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("bits", [6, 24])
def test_bits_of_a_tiff_that_nobody_reads_are_named(tmp_path, bits):
    path = tiff(tmp_path / "a.tif", bytes(20 * 16 * bits // 8), (20, 16), bits)
    with pytest.raises(UserError, match=f"its {bits} bits per pixel are not supported; save it"):
        read_image(path)


def test_a_tiff_in_tiles(tmp_path):
    shown = np.random.default_rng(0).integers(0, 2**16, (16, 16)).astype("<u2")
    path = tiff(tmp_path / "a.tif", shown.tobytes(), (16, 16), 16, t322=16, t323=16)
    np.testing.assert_array_equal(read_image(path), shown)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [1, 2, 5])
@pytest.mark.parametrize("samples", [3, 4])
def test_a_tiff_of_16_bits_with_its_colours_apart_is_refused(tmp_path, order, photometric, samples):
    """OpenCV gives other noise at each call."""
    stored = np.zeros((samples, 20, 16), np.uint16).tobytes()
    tags = {"t262": photometric, "t277": samples}
    path = tiff(tmp_path / "a.tif", stored, (20, 16), 16, order, **tags, t284=2)
    with pytest.raises(UserError, match=r"a\.tif: .*PlanarConfiguration 2\); save it in grey"):
        read_image(path)
    np.testing.assert_array_equal(
        read_image(tiff(path, stored, (20, 16), 16, order, t262=2, t277=3, t284=1)), 0
    )


def test_a_signed_tiff_is_read_where_nothing_is_negative(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**15, (20, 16)).astype("<i2")
    path = tiff(tmp_path / "a.tif", values.tobytes(), (20, 16), 16, t339=2)
    np.testing.assert_array_equal(read_image(path), values)
    values[3, 3] = -1
    with pytest.raises(UserError, match="stores int16 pixels"):
        read_image(tiff(tmp_path / "b.tif", values.tobytes(), (20, 16), 16, t339=2))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
def test_compressed_tiffs(tmp_path, compression):
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), PICTURE)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "zstd"])
def test_the_first_page_of_a_tiff_is_the_largest(tmp_path, compression):
    film = Image.fromarray(np.tile(PICTURE, (4, 4)))
    thumbnail = Image.fromarray(PICTURE)
    pages = {"film first": (film, thumbnail), "thumbnail": (thumbnail, film), "two": (film, film)}
    for name, (first, second) in pages.items():
        first.save(
            tmp_path / f"{name}.tif", save_all=True, append_images=[second], compression=compression
        )
    np.testing.assert_array_equal(read_image(tmp_path / "film first.tif"), np.asarray(film))
    for name in ("thumbnail", "two"):
        with pytest.raises(UserError, match=f"{name}.tif: contains 2 images, and the first is not"):
            read_image(tmp_path / f"{name}.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "film first.tif").read_bytes()[:-30])
    np.testing.assert_array_equal(read_image(tmp_path / "cut.tif"), np.asarray(film))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_an_animated_png_is_refused(tmp_path, hidden, deep):
    """Viewers that show no animations show the first image, which may be none of its frames."""
    pixels = [
        np.roll(PICTURE, n, axis=0).astype(np.uint16 if deep else np.uint8) for n in (0, 3, 6)
    ]
    first, *others = (Image.fromarray(one) for one in pixels)
    path = tmp_path / "a.png"
    first.save(path, save_all=True, append_images=others, default_image=hidden)
    with pytest.raises(UserError, match=r"a\.png: is an animation; save the radiograph as"):
        read_image(path)
    first.save(path, save_all=True)
    assert np.array_equal(read_image(path), pixels[0])


@pytest.mark.parametrize("deep", [False, True])
def test_a_tiff_that_does_not_say_whether_zero_is_black_is_refused(tmp_path, deep):
    Image.fromarray(PICTURE.astype(np.uint16 if deep else np.uint8)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HH", 262, 3)  # PhotometricInterpretation, a short number
    assert content.count(entry) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(entry, struct.pack("<HH", 263, 3)))
    with pytest.raises(UserError, match=r"a\.tif: does not say whether 0 is black or white"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_a_palette_gives_its_colours(tmp_path, suffix):
    image = Image.fromarray(PICTURE, "P")
    image.putpalette([255 - i // 3 for i in range(768)])
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), 255 - PICTURE)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit(tmp_path, suffix):
    Image.fromarray(PICTURE > 99).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), 255 * (PICTURE > 99))


def test_cmyk_jpeg(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    Image.fromarray(np.dstack([smooth] * 3)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth).max() <= 2


@pytest.mark.parametrize("under", [0, 130, 255])
@pytest.mark.parametrize("channels", ["LA", "RGBA", "tif", "16 bits"])
def test_what_is_transparent_is_black_whatever_lies_under_it(tmp_path, under, channels):
    seen = np.arange(8) > 2
    grey, alpha = np.where(seen, PICTURE, under), np.where(seen, 255, 0) + 0 * PICTURE
    path = tmp_path / ("a.tif" if channels == "tif" else "a.png")
    layers = [grey, alpha] if channels == "LA" else [grey, grey, grey, alpha]
    pixels = np.dstack(layers).astype(np.uint8)
    if channels == "16 bits":
        path.write_bytes(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1])
    else:
        Image.fromarray(pixels).save(path)
    scale = 257 if channels == "16 bits" else 1
    np.testing.assert_array_equal(read_image(path), np.where(seen, PICTURE, 0).astype(int) * scale)


def test_an_image_that_is_transparent_all_over_is_read(tmp_path):
    Image.fromarray(np.dstack([PICTURE, 0 * PICTURE])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)
    flag = "fully transparent: read as opaque"
    assert flag in load(tmp_path / "a.png", (Preprocessing(32),)).flags
    for alpha in (255 + 0 * PICTURE, np.eye(*PICTURE.shape) * 255):
        pixels = np.dstack([PICTURE, alpha]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "b.png")
        assert flag not in load(tmp_path / "b.png", (Preprocessing(32),)).flags


@pytest.mark.parametrize(("bits", "white_is_zero"), [(16, 0), (16, 1), (8, 1)])
def test_transparency_that_is_not_read_is_flagged(tmp_path, bits, white_is_zero):
    """No decoder reads it in these TIFF files of two samples per pixel."""
    top = 2**bits - 1
    grey = PICTURE.astype(int) * (top // 255)
    pixels = np.dstack([abs(white_is_zero * top - grey), np.full_like(grey, top)])
    stored, tags = pixels.astype(f"<u{bits // 8}").tobytes(), {"t262": 1 - white_is_zero}
    path = tiff(tmp_path / "a.tif", stored, PICTURE.shape, bits, t277=2, t338=2, **tags)
    assert "transparency not read: save it without" in load(path, (Preprocessing(32),)).flags
    np.testing.assert_allclose(read_image(path), PICTURE, atol=1)


def png(width, height, depth, colour_type, rows, *chunks, interlaced=0):
    """Return an image of packed rows, whose header is followed by pairs of kind and content."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    return content


def test_a_transparent_colour_is_not_the_one_with_red_and_blue_exchanged(tmp_path):
    row, red = bytes([200, 30, 10, 10, 30, 200]), (b"tRNS", struct.pack(">HHH", 200, 30, 10))
    (tmp_path / "a.png").write_bytes(png(2, 1, 8, 2, [row], red))
    blue = round(0.299 * 10 + 0.587 * 30 + 0.114 * 200)  # ITU-R BT.601
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), [[0, blue]], atol=1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("key", [0, 1, 255, 256, 300, 40_000, 65_280, 65_535])
def test_of_a_transparent_value_only_equal_pixels_are_black(tmp_path, depth, colours, key):
    """A whole film with few white pixels was black: 2.3 in place of 12.0 years."""
    highest = 2**depth - 1
    if key > highest or (colours == 3 and depth < 8):
        return
    values = np.array([0, 1, 2, 254, 255, 256, 300, 40_000, 65_279, 65_280, 65_281, 65_535])
    values = values[values <= highest]
    bits = "".join(f"{value:0{depth}b}" * colours for value in values)
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    transparent = (b"tRNS", struct.pack(">H", key) * colours)
    kind = 2 if colours == 3 else 0
    (tmp_path / "a.png").write_bytes(png(len(values), 3, depth, kind, [row] * 3, transparent))
    shown = values * (1 if depth >= 8 else 255 // highest)
    expected = np.where(values == key, 0, shown)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.tile(expected, (3, 1)))


UPRIGHT = {  # what is to be done to the stored pixels (EXIF 2.32, tag 274)
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_photograph_is_turned_upright(tmp_path, orientation, suffix, alpha):
    stored = np.add.outer(np.arange(0, 128, 2), np.arange(0, 96, 2)).astype(np.uint8)  # 64 x 48
    if alpha and suffix == ".jpg":
        return
    shown = stored.copy()
    shown[:8] = 0 if alpha else shown[:8]
    exif = Image.Exif()
    exif[274] = orientation
    how = {".tif": {"tiffinfo": {274: orientation}}, ".png": {"exif": exif}}
    layers = [stored, 255 * (np.arange(64) >= 8)[:, None] + 0 * stored]
    pixels = np.dstack(layers).astype(np.uint8) if alpha else stored
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path, **how.get(suffix, {"exif": exif, "quality": 100}))
    read = read_image(path).astype(int)
    assert np.abs(read - UPRIGHT[orientation](shown.astype(int))).max() <= 1


def test_an_interlaced_png_of_16_bits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (20, 16)).astype(np.uint16)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]  # fmt: skip
    rows = [row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx].astype(">u2")]
    (tmp_path / "a.png").write_bytes(png(16, 20, 16, 0, rows, interlaced=1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".tiff", ".webp", ".jp2", ".gif", ".heic", ""])
def test_the_content_counts_not_the_name(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(cv2.imencode(".png", PICTURE)[1])
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), PICTURE)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC image: convert it to PNG$"),
        (b"GIF89a\1\0\1\0", "GIF image"),
        (b"\xff\x4f\xff\x51\0\0", "JPEG 2000 image"),
        (b"PK\3\4", "zip archive: unpack it$"),
        (b"\x1f\x8b\x08", "gzip archive"),
        (tarfile.TarInfo("film.png").tobuf(), "tar archive: unpack it$"),
        (b"%PDF-1.7", "PDF document: save its image as PNG$"),
        (b"<!DOCTYPE html>", "web page or XML file$"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer .*: fetch it"),
    ],
)
def test_other_contents_are_named(tmp_path, content, kind):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=f"a.png: not a readable DICOM, PNG.*; its content: {kind}"):
        read_radiograph(tmp_path / "a.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "1.png", PICTURE)
    path.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        read_image(path)


def test_stretch_between_percentiles(tmp_path):
    path = write(tmp_path / "1.png", np.arange(50, 150, dtype=np.uint8).reshape(10, 10))
    decoded = decode(path, Preprocessing(10, contrast="stretch")).ravel()
    # percentiles 1 and 99 of 50, 51, ... 149 are 50.99 and 148.01
    assert decoded[[0, 1, 98, 99]].tolist() == [0, 0, 255, 255]
    assert decoded[50] == 129  # (100 - 50.99) x 255 / 97.02 = 128.8


def test_stretch_looks_at_the_radiograph_not_at_the_padding(tmp_path):
    pixels = np.linspace(100, 150, 128).astype(np.uint8).reshape(16, 8)
    decoded = decode(write(tmp_path / "1.png", pixels), Preprocessing(16, "pad", "stretch"))
    assert decoded[:, 4:12].min() == 0
    assert decoded[:, 4:12].max() == 255
    assert abs(decoded[:, 4:12].mean() - 127.5) < 5


def test_stretch_keeps_the_finer_levels_of_16_bits(tmp_path):
    pixels = np.linspace(1000, 1150, 4096).astype(np.uint16).reshape(64, 64)
    path = write(tmp_path / "1.png", pixels)
    assert len(np.unique(decode(path, Preprocessing(64, contrast="stretch")))) > 120


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_stretch_of_an_even_picture_is_black(tmp_path, grey):
    path = write(tmp_path / "1.png", np.full((8, 8), grey, np.uint8))
    assert not decode(path, Preprocessing(8, contrast="stretch")).any()


@pytest.mark.parametrize(
    "pixels",
    [
        np.random.default_rng(0).random((64, 48)),  # of 0 to 1, which would be nearly black
        np.ones((64, 48), np.float32), np.ones((64, 48), int), np.ones((64, 48), bool),
        np.ones((64, 48, 3), np.uint8), np.ones((1, 64, 48), np.uint8), np.ones((0, 4), np.uint8),
    ],
)  # fmt: skip
def test_pixels_of_another_kind_are_refused(pixels):
    said = rf"^pixels of shape {re.escape(str(pixels.shape))} and type {pixels.dtype}: a radiograph"
    for call in (Preprocessing(16).square, Preprocessing(16, crop="hand").square, detect):
        with pytest.raises(UserError, match=said):
            call(pixels)


def test_options_are_checked():
    for size in (0, -1, 7, 4097, 12.5, "128", None, True):
        with pytest.raises(UserError, match=rf"data\.size={size!r}: must be a whole number"):
            Preprocessing(size=size)
    with pytest.raises(UserError, match=r"data\.fit=crop: must be squash or pad"):
        Preprocessing(fit="crop")
    with pytest.raises(UserError, match=r"data\.contrast=clahe: must be none or stretch"):
        Preprocessing(contrast="clahe")


def noise():
    return np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)


def encode(kind):
    if kind in ("tiff_lzw.tif", "raw.tif"):  # the directory at the end, at the beginning
        stream = io.BytesIO()
        Image.fromarray(noise()).save(stream, "TIFF", compression=os.path.splitext(kind)[0])
        return stream.getvalue()
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if kind == "progressive.jpg" else []
    return bytes(cv2.imencode(os.path.splitext(kind)[1], noise(), options)[1])


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97, -5])
@pytest.mark.parametrize(
    "kind", ["1.png", "1.jpg", "progressive.jpg", "1.tif", "tiff_lzw.tif", "raw.tif", "1.bmp"]
)
def test_truncated_files(tmp_path, capfd, kind, kept):
    whole = encode(kind)
    path = tmp_path / kind
    path.write_bytes(whole)
    decode(path, Preprocessing(8))
    path.write_bytes(whole[: kept if kept < 0 else int(len(whole) * kept)])
    with pytest.raises(UserError, match=r"truncated or damaged|not a readable") as caught:
        decode(path, Preprocessing(8))
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_png(tmp_path, capfd):
    data = bytearray(encode("1.png"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(UserError, match="truncated or damaged"):
        decode(tmp_path / "1.png", Preprocessing(8))
    os.write(2, b"the terminal is back")
    assert capfd.readouterr() == ("", "the terminal is back")


def jpeg(layers=1, progressive=0):
    grain = np.random.default_rng(0).integers(0, 8, (320, 320, layers))
    pixels = (grain + np.arange(320)[:, None] * 3 // 4).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("damage", [lambda _: bytes(256), lambda part: part[128:]])
def test_a_jpeg_damaged_in_the_middle_is_refused(tmp_path, capfd, layers, part, damage):
    """Decoders make up the rest: errors of up to 0.75 years."""
    data = jpeg(layers)
    at = int(len(data) * part)
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:at] + damage(data[at : at + 256]) + data[at + 256 :])
    assert "truncated or damaged" in load(path, (Preprocessing(32),)).error
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize(
    ("extra", "before"),
    [(bytes(40), b"\xff\xd9"), (b"made by a camera", b"\xff\xd9"), (b"\x7f", b"\xff\xd9"),
     (bytes(3), b"\xff\xdb"), (b"\xff" * 9, b"\xff\xd9"), (b"\xff\xd9 a trailer", b"\xff\xd9")],
)  # fmt: skip
def test_bytes_that_devices_add_to_a_jpeg_do_no_harm(
    tmp_path, capfd, layers, progressive, extra, before
):
    (tmp_path / "a.jpg").write_bytes(jpeg(layers, progressive))
    plain = read_image(tmp_path / "a.jpg")
    head, _, tail = jpeg(layers, progressive).rpartition(before)
    (tmp_path / "b.jpg").write_bytes(head + extra + before + tail)
    np.testing.assert_array_equal(read_image(tmp_path / "b.jpg"), plain)
    assert not load(tmp_path / "b.jpg", (Preprocessing(32),)).error
    assert capfd.readouterr() == ("", "")  # not even from the look for colours


def png_of_size(width, height):
    return png(width, height, 8, 0, [bytes(999)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"not an image", "not a readable"),
        (b"P5 2 2 255 abcd", "not a readable"),
        (png_of_size(10_000, 10_000), "absurd size"),
        (png_of_size(2**31 - 1, 2**31 - 1), "absurd size"),
        (png_of_size(8, 8000), "truncated or damaged"),
        (
            b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 50_000, 50_000, 1, 8, *[0] * 6),
            "absurd",
        ),
    ],
)
def test_refused_contents(tmp_path, content, said):
    path = tmp_path / "1.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        decode(path, Preprocessing())
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_float_pixels_are_refused(tmp_path):
    path = write(tmp_path / "1.tif", PICTURE.astype(np.float32))
    with pytest.raises(UserError, match="stores float32 pixels"):
        decode(path, Preprocessing())


@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "tiff_lzma"])
@pytest.mark.parametrize(("kind", "mode"), [("float32", "F"), ("int32", "I")])
def test_other_pixels_are_refused_whatever_the_compression(tmp_path, compression, kind, mode):
    """Pillow would clip them to 8 bits: a white or a black image."""
    image = Image.fromarray(PICTURE.astype(kind) * 100)
    assert image.mode == mode
    image.save(tmp_path / "1.tif", compression=compression)
    with pytest.raises(UserError, match=f"stores u?{kind} pixels"):
        read_image(tmp_path / "1.tif")


@pytest.mark.parametrize("compression", [1, "zstd"])
def test_signed_pixels_of_16_bits_are_read_whatever_the_compression(tmp_path, compression):
    values = np.random.default_rng(0).integers(0, 2**15, (20, 16)).astype("<i2")
    stored, codes = (values.tobytes(), 1)
    if compression == "zstd":
        stored, codes = imagecodecs.zstd_encode(stored), 50000
    path = tiff(tmp_path / "a.tif", stored, (20, 16), 16, t339=2, t259=codes)
    np.testing.assert_array_equal(read_image(path), values)


def test_a_big_endian_tiff_that_only_pillow_decompresses(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (20, 16)).astype(">u2")
    stored = imagecodecs.zstd_encode(values.tobytes())
    path = tiff(tmp_path / "a.tif", stored, (20, 16), 16, ">", t259=50000)
    np.testing.assert_array_equal(read_image(path), values)
    assert read_image(path).dtype == np.uint16


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_tiff_of_which_8_bits_leave_few_levels_is_refused(tmp_path, layers, bits):
    """OpenCV reduces grey with transparency to 8 of its 16 bits, Pillow reduces colours."""
    values = np.random.default_rng(0).integers(0, 2**bits, (20, 16)).astype("<u2")
    opaque = np.full_like(values, 65535)
    stored = np.dstack([values, opaque] if layers == 2 else [values] * 3).tobytes()
    tags = {"t277": layers, "t262": 1 if layers == 2 else 2}
    if layers == 3:
        stored, tags["t259"] = imagecodecs.zstd_encode(stored), 50000
    path = tiff(tmp_path / "a.tif", stored, (20, 16), 16, **tags)
    if bits < 16:
        with pytest.raises(UserError, match=f" {2 ** (bits - 8)} grey levels are left: save it in"):
            read_image(path)
    else:
        np.testing.assert_allclose(read_image(path), values / 257, atol=1)


@pytest.mark.parametrize(
    ("compression", "mode"),
    [("tiff_lzw", "L"), ("tiff_lzw", "RGB"), ("packbits", "RGB"), ("tiff_adobe_deflate", "L")],
)
def test_a_tiff_with_a_damaged_strip_is_refused(tmp_path, capfd, compression, mode):
    """Its decoder would leave the rest black."""
    path = tmp_path / "a.tif"
    film = np.random.default_rng(0).integers(0, 9, (400, 300)).astype(np.uint8)
    Image.fromarray(film).convert(mode).save(path, compression=compression)
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"\xff" * 999 + data[middle + 999 :])
    assert "truncated or damaged" in load(path, (Preprocessing(32),)).error
    assert capfd.readouterr() == ("", "")


def test_a_compression_that_nobody_reads_is_refused(tmp_path):
    """OpenCV 5 gives black pixels."""
    stored = imagecodecs.jpeg2k_encode(PICTURE, codecformat="j2k")
    path = tiff(tmp_path / "a.tif", stored, PICTURE.shape, 8, t259=34712)
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"1\.png: No such file"):
        decode(tmp_path / "1.png", Preprocessing())
    with pytest.raises(UserError, match="Is a directory"):
        decode(tmp_path, Preprocessing())
