"""DICOM files made here with pydicom: the same picture in many ways of storing it."""

import gzip

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import PICTURE, grey, written
from PIL import Image
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from boneage.data.dicom.header import age_of
from boneage.data.dicom.read import MAX_PIXELS, begins_dicom, read_dicom
from boneage.data.formats import is_radiograph, read_radiograph
from boneage.errors import UserError


def test_eight_bits(tmp_path):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8))
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.01)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_bits(tmp_path, bits):
    pixels = np.rint(PICTURE / 255 * (2**bits - 1)).astype(np.uint16)
    np.testing.assert_allclose(grey(written(tmp_path / "a.dcm", pixels, bits)), PICTURE, atol=0.2)


def test_inverted(tmp_path):
    pixels = (255 - PICTURE).astype(np.uint8)
    file = written(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.01)


def test_signed(tmp_path):
    pixels = (np.rint(PICTURE / 255 * 4095) - 2048).astype(np.int16)
    np.testing.assert_allclose(grey(written(tmp_path / "a.dcm", pixels, 12)), PICTURE, atol=0.1)


def test_rescaled(tmp_path):
    pixels = np.rint(PICTURE / 255 * 4095).astype(np.uint16)
    file = written(tmp_path / "a.dcm", pixels, 12, RescaleSlope=2, RescaleIntercept=-1000)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


def test_window(tmp_path):
    # the picture lies between 1000 and 1510; c = 1255.5 and w = 511 map 1000 to 0 and 1510 to 4095
    pixels = (1000 + 2 * PICTURE).astype(np.uint16)
    file = written(tmp_path / "a.dcm", pixels, 12, WindowCenter=1255.5, WindowWidth=511)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.2)
    several = written(
        tmp_path / "b.dcm", pixels, 12, WindowCenter=[1255.5, 100], WindowWidth=[511, 10]
    )
    np.testing.assert_array_equal(grey(several), grey(file))


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_a_negative_slope_turns_a_window_around_only_once(tmp_path, interpretation):
    shown = PICTURE if interpretation == "MONOCHROME2" else 255 - PICTURE
    stored = np.rint((255 - shown) / 255 * 4095).astype(np.uint16)  # 4095 less it is shown
    tags = {
        "RescaleSlope": -1,
        "RescaleIntercept": 4095,
        "PhotometricInterpretation": interpretation,
    }
    plain = written(tmp_path / "plain.dcm", stored, 12, **tags)
    np.testing.assert_allclose(grey(plain), PICTURE, atol=0.1)
    window = written(
        tmp_path / "window.dcm", stored, 12, **tags, WindowCenter=2048, WindowWidth=4096
    )
    np.testing.assert_allclose(grey(window), PICTURE, atol=0.2)


def test_a_slope_without_an_intercept(tmp_path):
    pixels = np.rint(PICTURE / 255 * 4095).astype(np.uint16)
    file = written(tmp_path / "a.dcm", pixels, 12, RescaleSlope=0.01)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.1)


def test_damaged_bytes_are_one_line_each(tmp_path):
    whole = written(tmp_path / "whole.dcm", PICTURE.astype(np.uint8), PatientAge="018M")
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    header = len(data) - PICTURE.size
    said = []
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(132, header, 3):
            damaged[place] = rng.integers(256)
        whole.write_bytes(damaged)
        try:
            read_dicom(whole)
        except UserError as error:
            said.append(str(error))
    assert len(said) > 30
    assert not any("\n" in line for line in said)


def test_a_window_without_width_is_none(tmp_path):
    pixels = (16 * PICTURE).astype(np.uint16)
    plain = grey(written(tmp_path / "a.dcm", pixels, 12))
    narrow = written(tmp_path / "b.dcm", pixels, 12, WindowCenter=9, WindowWidth=0)
    np.testing.assert_array_equal(grey(narrow), plain)


def test_lookup_table(tmp_path):
    pixels = PICTURE.astype(np.uint8)
    item = pydicom.Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.add_new("LUTData", "OW", (65535 - 257 * np.arange(256)).astype(np.uint16).tobytes())
    item.LUTDescriptor = [256, 0, 16]
    file = written(tmp_path / "a.dcm", pixels, VOILUTSequence=Sequence([item]))
    np.testing.assert_allclose(grey(file), 255 - PICTURE, atol=0.01)


def test_compressed(tmp_path):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8))
    packed = pydicom.dcmread(file)
    packed.compress(RLELossless)
    packed.save_as(tmp_path / "b.dcm")
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.01)


@pytest.mark.parametrize(
    ("text", "years"),
    [("018M", 1.5), ("090D", 90 / 365.25), ("052W", 364 / 365.25), ("012Y", 12), ("7Y", 7)],
)
def test_ages(text, years):
    assert age_of(text) == pytest.approx(years)


@pytest.mark.parametrize("text", ["", "12", "twelve", "012X", "0120Y", "12.5Y", "-12Y"])
def test_ages_that_are_none(text):
    assert age_of(text) is None


def test_header(tmp_path):
    pixels = PICTURE.astype(np.uint8)
    girl = read_dicom(written(tmp_path / "a.dcm", pixels, PatientSex="F", PatientAge="018M"))[1]
    assert (girl.sex, girl.age_years) == ("female", pytest.approx(1.5))
    nothing = read_dicom(written(tmp_path / "b.dcm", pixels))[1]
    assert (nothing.sex, nothing.age_years) == ("unknown", None)
    other = read_dicom(written(tmp_path / "c.dcm", pixels, PatientSex="O", PatientAge="004Y"))[1]
    assert (other.sex, other.age_years) == ("unknown", 4)


def test_known_without_its_suffix(tmp_path):
    file = written(tmp_path / "image", PICTURE.astype(np.uint8))
    assert is_radiograph(file)
    (tmp_path / "text").write_text("DICM")
    assert not is_radiograph(tmp_path / "text")
    assert not is_radiograph(file.rename(tmp_path / "DICOMDIR"))  # the list of files on a disc


def test_what_cannot_be_read_is_one_line(tmp_path):
    whole = written(tmp_path / "whole.dcm", PICTURE.astype(np.uint8))
    data = whole.read_bytes()
    stack = np.zeros((2, 20, 16), np.uint8)
    files = {
        "cut": data[: len(data) // 2],
        "pixels": data[:-50],
        "empty": b"",
        "text": b"not a DICOM file",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.dcm").write_bytes(content)
    written(tmp_path / "frames.dcm", stack, NumberOfFrames=2)
    written(tmp_path / "words.dcm", PICTURE.astype(np.uint8))
    words = pydicom.dcmread(tmp_path / "words.dcm")
    words.add_new("Rows", "LO", "many")
    words.save_as(tmp_path / "words.dcm")
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    written(tmp_path / "colour.dcm", np.zeros((20, 48), np.uint8), **colour, Columns=16)
    written(tmp_path / "huge.dcm", PICTURE.astype(np.uint8), Rows=65535, Columns=65535)
    report = pydicom.dcmread(whole)
    del report.PixelData
    report.save_as(tmp_path / "report.dcm")
    said = {
        "cut": "cut.dcm", "pixels": "cut off after 270 of 320 bytes: copy",
        "empty": "empty file",
        "text": "not a readable", "frames": "contains 2 images",
        "colour": "is RGB, not a grey .*: export", "huge": "absurd size, .*: export",
        "report": "is a Digital X-Ray Image .* pixels are missing",
        "words": "not a readable",
        "gone": "No such file",
    }  # fmt: skip
    for name, words in said.items():
        with pytest.raises(UserError, match=words) as caught:
            read_radiograph(tmp_path / f"{name}.dcm")
        assert f"{name}.dcm" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_several_images_without_their_number_are_refused(tmp_path):
    file = written(tmp_path / "a.dcm", np.zeros((2, 20, 16), np.uint8))
    with pytest.raises(UserError, match="they are 2 images"):
        read_dicom(file)


def test_one_frame_may_be_numbered(tmp_path):
    for frames in ("1", "0", ""):
        file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), NumberOfFrames=frames)
        np.testing.assert_allclose(grey(file), PICTURE, atol=0.01)


@pytest.mark.parametrize("place", ["Shared", "PerFrame"])
def test_an_enhanced_file_of_one_frame_is_read_as_a_plain_one(tmp_path, place):
    pixels = np.rint(PICTURE / 255 * 4095).astype(np.uint16)
    scale = {"RescaleSlope": 2, "RescaleIntercept": -100}
    window = {"WindowCenter": 3000, "WindowWidth": 4000}
    spacing = {"PixelSpacing": [0.1, 0.2]}
    shutter = {
        "ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [10, 8],
        "RadiusOfCircularShutter": 7,
    }  # fmt: skip
    own = {
        "PixelValueTransformation": scale, "FrameVOILUT": window, "PixelMeasures": spacing,
        "FrameDisplayShutter": shutter,
    }  # fmt: skip
    plain = grey(
        written(tmp_path / "plain.dcm", pixels, 12, **scale, **window, **spacing, **shutter)
    )
    file = pydicom.dcmread(written(tmp_path / "a.dcm", pixels, 12, NumberOfFrames=1))
    groups = pydicom.Dataset()
    for group, values in own.items():
        item = pydicom.Dataset()
        item.update(values)
        setattr(groups, f"{group}Sequence", pydicom.Sequence([item]))
    setattr(file, f"{place}FunctionalGroupsSequence", pydicom.Sequence([groups]))
    file.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(grey(tmp_path / "a.dcm"), plain)
    without = grey(written(tmp_path / "b.dcm", pixels, 12, **spacing, **shutter))
    assert np.abs(plain - without).max() > 10  # the window counts
    assert plain.shape == (10, 16)
    assert not plain[0].any()


@pytest.mark.parametrize(
    ("syntax", "little"), [(ImplicitVRLittleEndian, True), (ExplicitVRBigEndian, False)]
)
@pytest.mark.parametrize("head", ["whole", "without preamble", "without syntax"])
def test_byte_orders_and_missing_heads(tmp_path, syntax, little, head):
    pixels = np.rint(PICTURE / 255 * 4095).astype("<u2" if little else ">u2")
    file = pydicom.dcmread(written(tmp_path / "a.dcm", pixels, 12, PatientSex="F"))
    file["PixelData"].VR = "OW"
    bare = pydicom.Dataset(file)
    if head != "without preamble":
        bare.preamble, bare.file_meta = b"\0" * 128, file.file_meta
        bare.file_meta.TransferSyntaxUID = syntax
    if head == "without syntax":
        del bare.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(tmp_path / "b", bare, implicit_vr=syntax.is_implicit_VR, little_endian=little)
    assert begins_dicom((tmp_path / "b").read_bytes())
    (tmp_path / "b").rename(tmp_path / "b.dcm")
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.1)


def test_deflated(tmp_path):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", PICTURE.astype(np.uint8)))
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(tmp_path / "b.dcm")
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.01)


def test_a_deflated_file_that_would_fill_the_memory_is_refused(tmp_path):
    pixels = np.zeros((4000, 4000), np.uint8)
    file = pydicom.dcmread(written(tmp_path / "a.dcm", pixels))
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.add_new(0x7FE10010, "OB", bytes(400_000_000))  # after the pixels
    file.save_as(tmp_path / "b.dcm")
    assert (tmp_path / "b.dcm").stat().st_size < 2**20
    with pytest.raises(UserError, match=r"b\.dcm: unpacks to more than 0\.4 GB: export it again"):
        read_dicom(tmp_path / "b.dcm")


def test_the_largest_image_is_that_of_other_formats(tmp_path):
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS


def test_files_without_whole_number_pixels_say_what_they_are(tmp_path):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", PICTURE.astype(np.uint8)))
    del file.PixelData
    for kind, said in (
        (EncapsulatedPDFStorage, "Encapsulated PDF"),
        (BasicTextSRStorage, "Basic Text SR"),
        (MediaStorageDirectoryStorage, "Media Storage Directory"),
    ):
        file.SOPClassUID = kind
        file.save_as(tmp_path / "b.dcm")
        with pytest.raises(UserError, match=f"contains no image, but {said}"):
            read_dicom(tmp_path / "b.dcm")
    file.FloatPixelData = PICTURE.astype(np.float32).tobytes()
    file.save_as(tmp_path / "b.dcm")
    with pytest.raises(UserError, match="floating-point pixels"):
        read_dicom(tmp_path / "b.dcm")


@pytest.mark.parametrize("kind", ["PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "ARGB", ""])
def test_colours_are_one_line(tmp_path, kind):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), PhotometricInterpretation=kind)
    with pytest.raises(UserError, match=f"is {kind or 'of unknown colours'}, not a grey"):
        read_dicom(file)


def test_two_statements_on_what_is_white(tmp_path):
    pixels = (255 - PICTURE).astype(np.uint8)
    one = {"PhotometricInterpretation": "MONOCHROME1"}
    for shape in ("INVERSE", "IDENTITY", ""):  # the photometric interpretation counts
        file = written(tmp_path / "a.dcm", pixels, **one, PresentationLUTShape=shape)
        np.testing.assert_allclose(grey(file), PICTURE, atol=0.01)
    file = written(tmp_path / "a.dcm", pixels, PresentationLUTShape="INVERSE")
    with pytest.raises(UserError, match="contradicts itself"):
        read_dicom(file)


SHUTTERS = {  # with what they show of PICTURE, of 20 rows and 16 columns, counted from 1
    "rectangle": (
        {
            "ShutterShape": "RECTANGULAR",
            "ShutterUpperHorizontalEdge": 3,
            "ShutterLowerHorizontalEdge": 18,
            "ShutterLeftVerticalEdge": 5,
            "ShutterRightVerticalEdge": 30,  # beyond the image
        },
        lambda row, column: (row >= 3) & (row <= 18) & (column >= 5),
    ),
    "circle": (
        {
            "ShutterShape": "CIRCULAR",
            "CenterOfCircularShutter": [10, 8],
            "RadiusOfCircularShutter": 6,
        },
        lambda row, column: (row - 10) ** 2 + (column - 8) ** 2 <= 36,
    ),
    "polygon": (
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [2, 3, 2, 13, 12, 13, 12, 3],
        },
        lambda row, column: (row >= 2) & (row <= 12) & (column >= 3) & (column <= 13),
    ),
}


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", SHUTTERS)
def test_what_the_shutter_hides_is_black(tmp_path, kind, interpretation):
    tags, shown = SHUTTERS[kind]
    pixels = PICTURE if interpretation == "MONOCHROME2" else 255 - PICTURE
    file = written(
        tmp_path / "a.dcm",
        pixels.astype(np.uint8),
        PhotometricInterpretation=interpretation,
        **tags,
    )
    row, column = np.indices(PICTURE.shape) + 1
    np.testing.assert_allclose(grey(file), PICTURE * shown(row, column), atol=0.01)


@pytest.mark.parametrize(
    "tags",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [900, 900],
         "RadiusOfCircularShutter": 6},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3]},
        {"PixelSpacing": [0.1, 0.1015]},
        {"PixelSpacing": [0.1, 0]},
        {"PixelSpacing": [0.1, 100]},
        {"PixelAspectRatio": [1, 1]},
    ],
)  # fmt: skip
def test_shutters_and_spacings_that_say_nothing_change_nothing(tmp_path, tags):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), **tags)
    np.testing.assert_allclose(grey(file), PICTURE, atol=0.01)


@pytest.mark.parametrize("name", ["PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"])
def test_pixels_that_are_not_square_are_made_square(tmp_path, name):
    disc = np.hypot(*(np.indices((60, 60)) - 29.5)) < 20
    pixels = np.where(disc, 200, 10).astype(np.uint8)
    tall = written(tmp_path / "a.dcm", np.repeat(pixels, 2, axis=0), **{name: [1, 2]})
    wide = written(tmp_path / "b.dcm", np.repeat(pixels, 2, axis=1), **{name: [2, 1]})
    for file in (tall, wide):
        np.testing.assert_allclose(grey(file), pixels, atol=0.01)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_an_image_called_dcm_is_read(tmp_path, suffix):
    pixels = PICTURE.astype(np.uint8)
    (tmp_path / "a.dcm").write_bytes(cv2.imencode(suffix, pixels)[1])
    image, header = read_radiograph(tmp_path / "a.dcm")
    assert header is None
    assert np.abs(image.astype(int) - PICTURE).mean() < (20 if suffix == ".jpg" else 1e-9)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a", "1.2.840.113"])
def test_dicom_by_another_name_is_read(tmp_path, name):
    file = written(tmp_path / name, PICTURE.astype(np.uint8), PatientSex="M")
    image, header = read_radiograph(file)
    assert header.sex == "male"
    np.testing.assert_allclose(image / 65535 * 255, PICTURE, atol=0.01)


@pytest.mark.parametrize(
    ("content", "said"),
    [(gzip.compress(b"a" * 500, mtime=0), "gzip archive"), (b"PK\3\4" + bytes(200), "zip archive"),
     (b"%PDF-1.7" + bytes(200), "PDF document")],
)  # fmt: skip
def test_what_is_called_dcm_and_is_none_says_what_it_is(tmp_path, content, said):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.dcm: not a readable DICOM.*; its content: {said}"):
        read_radiograph(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("text", "sex"),
    [("f", "female"), ("Male", "male"), ("M ", "male"), ("", "unknown"), ("O", "unknown"),
     (["F", "M"], "unknown")],
)  # fmt: skip
def test_sexes(tmp_path, text, sex):
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8), PatientSex=text)
    assert read_dicom(file)[1].sex == sex


def test_odd_characters_are_no_obstacle(tmp_path, recwarn, capfd):
    file = pydicom.dcmread(written(tmp_path / "a.dcm", PICTURE.astype(np.uint8)))
    file.SpecificCharacterSet = "ISO_IR 999"
    file.add_new("PatientName", "PN", b"M\xfcller^\xff")
    file.save_as(tmp_path / "b.dcm")
    recwarn.clear()
    np.testing.assert_allclose(grey(tmp_path / "b.dcm"), PICTURE, atol=0.01)
    assert not recwarn
    assert capfd.readouterr() == ("", "")


def test_the_settings_of_pydicom_stay_as_they_are(tmp_path, monkeypatch):
    """The caller's own code may rely on pydicom's validation."""
    file = written(tmp_path / "a.dcm", PICTURE.astype(np.uint8))
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    read_dicom(file)
    assert pydicom.config.settings.reading_validation_mode == pydicom.config.RAISE
