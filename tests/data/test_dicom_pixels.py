"""Stored DICOM values to grey: every place of the bits, padding, windows, tables, codecs."""

import re
import sys

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import PICTURE, grey, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from boneage.data.dicom.read import read_dicom
from boneage.errors import UserError

TWELVE = np.rint(PICTURE / 255 * 4095).astype(np.uint16)
LEFT = {"BitsStored": 12, "HighBit": 15}


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        read_dicom(path)
    assert "\n" not in str(caught.value)
    assert re.search("export|copy|pip install", str(caught.value))  # it says what to do


def words_of(values, allocated, stored, high, signed, others):
    """Put values into bits high + 1 - stored to high of words, whose other bits are given."""
    shift, cell = high + 1 - stored, 2**stored - 1
    outside = (2**allocated - 1) & ~(cell << shift)
    packed = [
        ((int(value) & cell) << shift) | (int(other) & outside)
        for value, other in zip(values.ravel(), others.ravel(), strict=True)
    ]
    words = np.array(packed, f"u{allocated // 8}").reshape(values.shape)
    return words.view(f"i{allocated // 8}") if signed else words


@st.composite
def places(draw):
    """Draw the bits of a word, and which of them hold the value: the number and the highest."""
    allocated = draw(st.sampled_from([8, 16, 32]))
    stored = draw(st.integers(4, allocated))
    return allocated, stored, draw(st.integers(stored - 1, allocated - 1))


@settings(max_examples=150)
@given(
    place=places(),
    signed=st.booleans(),
    filling=st.sampled_from(["zeros", "ones", "noise", "overlay"]),
)
def test_any_place_of_the_bits_gives_the_plain_values(tmp_path, place, signed, filling):
    allocated, stored, high = place
    least = -(2 ** (stored - 1)) if signed else 0
    values = np.rint(PICTURE / 255 * (2.0**stored - 1)).astype(np.int64) + least
    noise = np.random.default_rng(0).integers(0, 2**allocated, PICTURE.shape)
    overlay = np.where(np.indices(PICTURE.shape).sum(0) % 9 < 2, 2**allocated - 1, 0)
    others = {"zeros": 0 * noise, "ones": 0 * noise - 1, "noise": noise, "overlay": overlay}
    words = words_of(values, allocated, stored, high, signed, others[filling])
    file = written(
        tmp_path / "a.dcm", words, BitsAllocated=allocated, BitsStored=stored, HighBit=high
    )
    expected = (values - least) / (2**stored - 1) * 255
    np.testing.assert_allclose(grey(file), expected, atol=0.01)


def test_left_aligned_values(tmp_path):
    """Read as the lower bits they would be noise: 7.3 years in place of 15.5."""
    plain = read_dicom(written(tmp_path / "plain.dcm", TWELVE, 12))[0]
    left = read_dicom(written(tmp_path / "left.dcm", TWELVE << 4, 12, **LEFT))[0]
    np.testing.assert_array_equal(left, plain)


def test_a_high_bit_that_the_values_contradict_is_wrong(tmp_path):
    file = written(tmp_path / "a.dcm", TWELVE, 12, **LEFT)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


def test_one_bit(tmp_path):
    mask = PICTURE > 127
    packed = np.packbits(mask, bitorder="little")
    file = written(
        tmp_path / "a.dcm", packed[None], 1, BitsAllocated=1, HighBit=0, Rows=20, Columns=16
    )
    np.testing.assert_array_equal(grey(file), 255 * mask)


def test_thirty_two_bits_with_few_in_use_keep_their_levels(tmp_path):
    file = written(tmp_path / "a.dcm", TWELVE.astype(np.uint32), 32)
    np.testing.assert_array_equal(read_dicom(file)[0], TWELVE)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"HighBit": 3}, "HighBit 3 does not fit"),
        ({"HighBit": 16}, "HighBit 16 does not fit"),
        ({"BitsStored": 17}, "BitsStored is 17 of BitsAllocated 16: export the file again"),
        ({"BitsStored": 0}, "BitsStored is 0 of BitsAllocated 16"),
        ({"BitsStored": ""}, "header lacks BitsStored: export the file again"),
        ({"BitsAllocated": 12}, "BitsAllocated is 12, only 1, 8, 16 and 32 are supported"),
        ({"BitsAllocated": 24}, "BitsAllocated is 24, only 1, 8, 16 and 32 are supported"),
        ({"PixelRepresentation": 2}, "PixelRepresentation is 2, it must be 0 or 1"),
        ({"PixelRepresentation": None}, "header lacks PixelRepresentation"),
        ({"PhotometricInterpretation": ""}, "is of unknown colours, not a grey radiograph"),
        ({"Rows": 0}, "claims an absurd size, 0 x 16"),
        ({"RescaleSlope": "nan"}, "RescaleSlope is nan, which is not a number"),
        ({"VOILUTFunction": "CUBIC", "WindowCenter": 9, "WindowWidth": 9}, "VOILUTFunction"),
    ],
)
def test_headers_that_contradict_themselves_are_one_line(tmp_path, tags, said):
    refused(written(tmp_path / "a.dcm", TWELVE, 12, **tags), said)


def test_damaged_streams_and_unknown_syntaxes_are_one_line(tmp_path):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE, 12))
    file.file_meta.TransferSyntaxUID = "1.2.826.0.1.3680043.8.498.1"
    file.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    refused(tmp_path / "a.dcm", "its transfer syntax 1.2.826.* is not supported: export it")
    file = pydicom.dcmread(written(tmp_path / "b.dcm", TWELVE, 12))
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    file.PixelData = pydicom.encaps.encapsulate([b"no stream at all" * 8])
    file["PixelData"].is_undefined_length = True
    file.save_as(tmp_path / "b.dcm")
    refused(tmp_path / "b.dcm", "JPEG 2000.*copy or export the file again|cut off")


def test_words_in_place_of_numbers_are_one_line(tmp_path):
    for name in ("RescaleSlope", "WindowWidth", "BitsStored", "PixelPaddingValue"):
        file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE, 12, WindowCenter=9))
        file.add_new(name, "LO", "many")
        file.save_as(tmp_path / "a.dcm")
        refused(tmp_path / "a.dcm", "many")


def test_values_that_need_more_bits_than_said_are_refused(tmp_path):
    smooth = np.add.outer(np.arange(90), np.arange(80)).astype(np.uint16) * 40  # up to 6,720
    refused(written(tmp_path / "a.dcm", smooth, 12), "more than BitsStored 12 bits")
    signed = (smooth // 2).astype(np.int16)
    refused(written(tmp_path / "b.dcm", signed, 12), "more than BitsStored 12 bits")


def film():
    """Return 12-bit values like those of a radiograph: a bright hand with edges, and grain."""
    rows, columns = np.indices((240, 180))
    hand = np.hypot(rows / 120 - 1, columns / 90 - 1) < 0.8
    bones = hand & (np.sin(columns / 7) > 0.3)
    bright = cv2.GaussianBlur(500.0 + rows + 900 * hand + 1700 * bones, None, 4)
    bright[10:30, 10:40] = 3900  # a marker
    grain = np.random.default_rng(0).normal(scale=60, size=rows.shape)
    return np.rint(bright + grain).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("stored", "store"),
    [
        (11, lambda v: v),
        (10, lambda v: v),
        (8, lambda v: v),
        (12, lambda v: v << 1),
        (12, lambda v: v << 4),  # left-aligned, but HighBit is 11
        *((12, lambda v, q=q: v * (4096 / np.percentile(v, 100 - q))) for q in (1, 10, 90)),
        (12, lambda v: (1.5 * v - 2048).astype(np.int16)),
    ],
    ids=["11", "10", "8", "left 1", "left 4", "1 %", "10 %", "90 %", "signed"],
)
def test_films_whose_values_need_more_bits_are_refused(tmp_path, inverted, stored, store):
    """Wrapped around, real films are not much rougher: ages of 8.6 and 15.6 in place of 5.8."""
    pixels = np.asarray(store(4095 - film() if inverted else film()))
    pixels = pixels if pixels.dtype == np.int16 else pixels.astype(np.uint16)
    refused(written(tmp_path / "a.dcm", pixels, stored), f"more than BitsStored {stored} bits")


@pytest.mark.parametrize("padding", [None, 4096])
@pytest.mark.parametrize("upper", ["overlay", "flag", "random"])
def test_films_with_other_upper_bits_are_read_without_them(tmp_path, upper, padding):
    pixels = 4095 - film()
    overlay = np.indices(pixels.shape).sum(0) % 40 < 3
    random = np.random.default_rng(1).integers(0, 16, pixels.shape)
    bits = {"overlay": 15 * overlay, "flag": overlay, "random": random}
    words = (pixels | (bits[upper] << 12)).astype(np.uint16)
    tags = {}
    if padding:  # with the bit that would be the next one
        words[:, :20], pixels[:, :20] = padding, 0
        tags = {"PixelPaddingValue": padding}
    file = written(tmp_path / "a.dcm", words, 12, **tags)
    np.testing.assert_allclose(grey(file), pixels / 4095 * 255, atol=0.01)


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("padding", "stored"),
    [(0, 0), (4095, 4095), (63536, 63536), (-2000, 63536), (0xF000, 0xF000)],
)
def test_padding_is_black_wherever_its_value_lies(tmp_path, interpretation, padding, stored):
    pixels = TWELVE.clip(1, 4094)
    if interpretation == "MONOCHROME1":
        pixels = 4095 - pixels
    frame = np.zeros(PICTURE.shape, bool)
    frame[:3], frame[:, -2:] = True, True
    vr = "SS" if padding < 0 else "US"
    tags = {"PhotometricInterpretation": interpretation}
    file = pydicom.dcmread(
        written(tmp_path / "a.dcm", np.where(frame, stored, pixels).astype(np.uint16), 12, **tags)
    )
    file.add_new("PixelPaddingValue", vr, padding)
    file.save_as(tmp_path / "b.dcm")
    expected = np.where(frame, 0, PICTURE)
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), expected, atol=0.2)


def test_padding_of_a_range_far_outside_the_window(tmp_path):
    values = TWELVE.astype(np.int16)
    values[:3] = np.arange(-3000, -2952).reshape(3, 16)
    file = written(
        tmp_path / "a.dcm", values, 16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-3000,
        WindowCenter=2048, WindowWidth=4096,
    )  # fmt: skip
    expected = PICTURE.copy()
    expected[:3] = 0
    np.testing.assert_allclose(grey(file), expected, atol=0.1)


@pytest.mark.parametrize("empty", ["", None])
def test_empty_elements_say_nothing(tmp_path, empty):
    names = ("HighBit", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope",
             "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames",
             "SamplesPerPixel", "PresentationLUTShape", "PatientAge", "PatientSex",
             "VOILUTSequence", "ModalityLUTSequence", "SpecificCharacterSet")  # fmt: skip
    file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE, 12))
    for name in names:
        setattr(file, name, Sequence() if name.endswith("Sequence") else empty)
    file.save_as(tmp_path / "b.dcm")
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.1)
    for name in names[1:]:  # and one at a time, beside a window
        tags = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR"}
        tags[name] = Sequence() if name.endswith("Sequence") else empty or ""
        file = written(tmp_path / "a.dcm", TWELVE, 12, **tags)
        np.testing.assert_allclose(grey(file), PICTURE, atol=0.2, err_msg=name)


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        ("LINEAR", 512, lambda x: (x - 1999.5) / 511 + 0.5),  # PS3.3 C.11.2.1.2.1
        ("", 512, lambda x: (x - 1999.5) / 511 + 0.5),
        ("linear ", 512, lambda x: (x - 1999.5) / 511 + 0.5),
        ("LINEAR_EXACT", 512, lambda x: (x - 2000) / 512 + 0.5),  # C.11.2.1.3.2
        ("SIGMOID", 512, lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 512))),  # C.11.2.1.3.1
        ("LINEAR_EXACT", 0.5, lambda x: (x - 2000) / 0.5 + 0.5),
    ],
)
def test_window_functions(tmp_path, function, width, expected):
    pixels = (1700 + 2 * PICTURE).astype(np.uint16)
    pixels[0, 0] = 2000
    file = written(
        tmp_path / "a.dcm", pixels, 12, WindowCenter=2000, WindowWidth=width,
        VOILUTFunction=function,
    )  # fmt: skip
    share = np.clip(expected(pixels.astype(float)), 0, 1)
    np.testing.assert_allclose(grey(file) / 255, share, atol=1e-4)


@pytest.mark.parametrize(
    ("centre", "width"),
    [(2048, 1), (2048, 0), (2048, -5), (0, 1), (-9000, 100), (60000, 2), ("", 100), (9, "")],
)
def test_a_window_that_shows_nothing_is_none(tmp_path, centre, width):
    file = written(tmp_path / "a.dcm", TWELVE, 12, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


@pytest.mark.parametrize("widths", [[4096, 0], [0, 4096], [4096, 1], [4096, 10, 20]])
def test_of_several_windows_the_first_with_a_meaning(tmp_path, widths):
    file = written(tmp_path / "a.dcm", TWELVE, 12, WindowCenter=[2048, 2048], WindowWidth=widths)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


def test_a_window_after_one_that_shows_nothing_is_used(tmp_path):
    tags = {"WindowCenter": [2048, 1024], "WindowWidth": [1, 2048]}
    file = written(tmp_path / "a.dcm", TWELVE, 12, **tags)
    share = np.clip((TWELVE - 1023.5) / 2047 + 0.5, 0, 1)  # C.11.2.1.2.1
    np.testing.assert_allclose(grey(file) / 255, share, atol=1e-4)


def test_padding_is_a_value_and_not_a_word_where_the_values_are_shifted(tmp_path):
    pixels = TWELVE.astype(np.uint16)
    pixels[0, :2] = 2000, 125  # whose word is 2000
    file = written(tmp_path / "a.dcm", pixels << 4, 16, **LEFT, PixelPaddingValue=2000)
    np.testing.assert_allclose(grey(file)[0, :2], [0, 125 * 255 / 4095], atol=0.1)


def test_a_slope_of_zero_rescales_nothing(tmp_path):
    file = written(tmp_path / "a.dcm", TWELVE, 12, RescaleSlope=0, RescaleIntercept=5)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


def table(entries, first, bits, as_bytes=None):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    if as_bytes:
        item.add_new("LUTData", "OW", np.asarray(entries).astype(as_bytes).tobytes())
    else:
        item.add_new("LUTData", "US", [int(each) for each in entries])
    return Sequence([item])


def test_a_lookup_table_may_begin_in_the_upper_half_of_16_bits(tmp_path):
    pixels = (40_000 + PICTURE.astype(int)).astype(np.uint16)
    lut = table(np.arange(256), 40_000, 8)
    file = written(tmp_path / "a.dcm", pixels, 16, VOILUTSequence=lut)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("as_bytes", [None, "<u2", "u1"])
def test_lookup_tables_of_any_depth(tmp_path, name, bits, as_bytes):
    if as_bytes == "u1" and bits > 8:
        return
    top = 2**bits - 1
    entries = np.rint((1 - np.arange(4096) / 4095) * top)  # 12 bits in, inverted
    file = written(tmp_path / "a.dcm", TWELVE, 12, **{name: table(entries, 0, bits, as_bytes)})
    np.testing.assert_allclose(grey(file), 255 - PICTURE, atol=255 / top + 0.1)


def test_lookup_table_with_a_start_and_ends(tmp_path):
    signed = TWELVE.astype(np.int16) - 2048
    file = written(tmp_path / "a.dcm", signed, 12, VOILUTSequence=table(np.arange(1000), -500, 10))
    expected = np.clip(signed.astype(int) + 500, 0, 999) / 1023 * 255
    np.testing.assert_allclose(grey(file), expected, atol=0.01)


def test_a_presentation_table_that_inverts_contradicts_the_header(tmp_path):
    for entries in (np.arange(256), np.arange(256)[::-1]):
        sequence = table(entries, 0, 8)
        path = written(tmp_path / "a.dcm", TWELVE, 12, PresentationLUTSequence=sequence)
        if entries[0] == 0:
            np.testing.assert_allclose(grey(path), PICTURE, atol=0.1)
        else:
            refused(path, "contradicts itself: .* by PresentationLUTSequence it is black")


def test_broken_lookup_tables(tmp_path):
    for sequence in (table(np.arange(10), 0, 3), table([0] * 10, 0, 17)):
        refused(written(tmp_path / "a.dcm", TWELVE, 12, VOILUTSequence=sequence), "lookup table")
    empty = table(np.arange(10), 0, 8)
    del empty[0].LUTData
    file = written(tmp_path / "a.dcm", TWELVE, 12, VOILUTSequence=empty)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("values", [256, [256, 0], [256, 0, 16, 1]])
def test_lookup_tables_whose_descriptor_is_not_three_values(tmp_path, name, values):
    sequence = table(np.arange(256), 0, 16)
    sequence[0].add_new("LUTDescriptor", "US", values)
    file = written(tmp_path / "a.dcm", TWELVE, 12, **{name: sequence})
    count = len(np.atleast_1d(values))
    refused(file, f"the LUTDescriptor has {count} values, not 3: export it again")


CODECS = {
    uid.JPEGLosslessSV1: lambda a, bits: imagecodecs.ljpeg_encode(a, bitspersample=bits),
    uid.JPEGLossless: lambda a, bits: imagecodecs.ljpeg_encode(a, bitspersample=bits),
    uid.JPEGLSLossless: lambda a, _: imagecodecs.jpegls_encode(a),
    uid.HTJ2KLossless: lambda a, _: imagecodecs.htj2k_encode(a),
    uid.JPEG2000Lossless: lambda a, bits: imagecodecs.jpeg2k_encode(
        a, codecformat="j2k", reversible=True, level=0, bitspersample=bits
    ),
}


def compressed(path, syntax, bits, signed=False):
    """Write the picture compressed, and return what was compressed."""
    least = -(2 ** (bits - 1)) if signed else 0
    values = np.rint(PICTURE / 255 * (2**bits - 1)).astype(np.int64) + least
    pixels = values.astype(("i" if signed else "u") + ("1" if bits == 8 else "2"))
    file = pydicom.dcmread(written(path, pixels, bits))
    if signed and syntax in (uid.JPEGLosslessSV1, uid.JPEGLossless, uid.JPEGLSLossless):
        pixels = (pixels.astype(int) & (2**bits - 1)).astype(f"u{pixels.itemsize}")  # know no sign
    frame = CODECS[syntax](pixels, bits)
    _wrap(file, frame, syntax)
    file.save_as(path)
    return frame


def _wrap(file, frame, syntax):
    file.PixelData = encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_codecs(tmp_path, syntax, bits, signed):
    compressed(tmp_path / "a.dcm", syntax, bits, signed)
    np.testing.assert_allclose(grey(tmp_path / "a.dcm"), PICTURE, atol=0.3)


@pytest.mark.parametrize(
    "syntax", [None, *CODECS], ids=lambda syntax: getattr(syntax, "keyword", "")
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_unsigned_values_under_a_header_of_signed_ones(tmp_path, syntax, bits):
    """With the sign, the brighter half would be darker than the other."""
    path = tmp_path / "a.dcm"
    if syntax not in CODECS:
        values = np.rint(PICTURE / 255 * (2**bits - 1)).astype("u1" if bits == 8 else "u2")
        written(path, values, bits)
    else:
        compressed(path, syntax, bits)
    file = pydicom.dcmread(path)
    file.PixelRepresentation = 1
    file.save_as(path)
    np.testing.assert_allclose(grey(path), PICTURE, atol=0.3)


def test_unsigned_values_under_a_header_of_signed_ones_in_the_other_byte_order(tmp_path):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE.astype(">u2"), 12))
    file.PixelRepresentation, file["PixelData"].VR = 1, "OW"
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "b.dcm", file, implicit_vr=False, little_endian=False)
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.3)


@pytest.mark.parametrize("letter", [127, -128])
def test_letters_at_an_end_of_the_range_are_no_doubt_about_the_sign(tmp_path, letter):
    values = np.where(PICTURE == 180, letter, PICTURE / 3 - 128 * (letter > 0)).astype(np.int8)
    expected = values.astype(int) + 128
    np.testing.assert_allclose(grey(written(tmp_path / "a.dcm", values)), expected, atol=0.01)


def test_twelve_bit_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint16) * 37
    file = pydicom.dcmread(written(tmp_path / "a.dcm", smooth, 12))
    _wrap(file, imagecodecs.jpeg8_encode(smooth, 100, bitspersample=12), uid.JPEGExtended12Bit)
    file.save_as(tmp_path / "a.dcm")
    np.testing.assert_allclose(grey(tmp_path / "a.dcm"), smooth / 4095 * 255, atol=2)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_a_jpeg_damaged_in_the_middle_is_refused(tmp_path, syntax):
    pixels = (film() >> 4).astype(np.uint8)
    file = pydicom.dcmread(written(tmp_path / "a.dcm", pixels))
    frame = imagecodecs.jpeg8_encode(pixels, 90)
    _wrap(file, frame, syntax)
    file.save_as(tmp_path / "a.dcm")
    assert np.abs(grey(tmp_path / "a.dcm") - pixels).mean() < 3
    middle = len(frame) // 2
    _wrap(file, frame[:middle] + bytes(256) + frame[middle + 256 :], syntax)
    file.save_as(tmp_path / "b.dcm")
    refused(tmp_path / "b.dcm", "they are damaged, or not JPEG .*: copy or export the file again")


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [(uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode),
     (uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode),
     (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
     (uid.HTJ2KLossless, imagecodecs.htj2k_encode)],
)  # fmt: skip
def test_compressed_images_are_counted_whatever_the_header_says(tmp_path, syntax, encode):
    pixels = PICTURE.astype(np.uint8)
    file = pydicom.dcmread(written(tmp_path / "a.dcm", pixels))
    _wrap(file, encode(pixels), syntax)
    file.PixelData = encapsulate([encode(pixels)], fragments_per_frame=3)
    file.save_as(tmp_path / "a.dcm")
    assert np.abs(grey(tmp_path / "a.dcm") - PICTURE).mean() < 3
    file.PixelData = encapsulate([encode(pixels)] * 2)
    file.save_as(tmp_path / "b.dcm")
    with pytest.raises(UserError, match="they are 2 images: give one radiograph per file"):
        read_dicom(tmp_path / "b.dcm")


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.keyword)
def test_cut_off_and_mismatched_frames_are_one_line(tmp_path, syntax):
    """CharLS would look for the end for ever."""
    path = tmp_path / "a.dcm"
    frame = compressed(path, syntax, 12)
    file = pydicom.dcmread(path)
    _wrap(file, frame[: len(frame) // 2], syntax)
    file.save_as(tmp_path / "cut.dcm")
    refused(tmp_path / "cut.dcm", "cannot be decoded")
    _wrap(file, frame, syntax)
    file.Rows = 10
    file.save_as(tmp_path / "size.dcm")
    refused(tmp_path / "size.dcm", "cannot be decoded")


@pytest.mark.parametrize(
    "syntax",
    [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.HTJ2K,
     uid.JPEGExtended12Bit],
)  # fmt: skip
def test_a_missing_decoder_names_the_package(tmp_path, monkeypatch, syntax):
    compressed(tmp_path / "a.dcm", uid.JPEGLosslessSV1, 12)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    refused(tmp_path / "a.dcm", r"a\.dcm: .*pip install imagecodecs, to decompress")


def test_syntaxes_that_nobody_decodes_are_named(tmp_path):
    compressed(tmp_path / "a.dcm", uid.JPEGLosslessSV1, 12)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    file.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    file.save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", "MPEG2")


@pytest.mark.parametrize(
    "syntax",
    [*CODECS, uid.HTJ2K, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.RLELossless],
    ids=lambda syntax: syntax.keyword,
)
@pytest.mark.parametrize(
    "frame",
    [b"\xff\xd8\xff\xe0junk" * 20 + b"\xff\xd9", bytes(90) + b"\xff\xd9",
     b"\xff\xd8\xff\xc3\0\x0b\x0c\0\x14\0\x10\1\1\x11\0" + bytes(60) + b"\xff\xd9",
     b"\xff\xd8\xff\xf7\0\x0b\x0c\0\x14\0\x10\1\1\x11\0" + bytes(60) + b"\xff\xd9"],
    ids=["junk", "zeros", "JPEG header alone", "JPEG-LS header alone"],
)  # fmt: skip
def test_junk_in_place_of_a_frame_says_what_to_do(tmp_path, syntax, frame):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE, 12))
    _wrap(file, frame, syntax)
    file.save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", r"they are (damaged|cut off).*copy or export the file again$")


def test_a_file_that_says_nothing_of_itself(tmp_path):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", TWELVE, 12))
    del file.PixelData, file.Modality, file.file_meta.MediaStorageSOPClassUID
    file.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    refused(tmp_path / "a.dcm", "does not say what it is: copy or export the file again")
