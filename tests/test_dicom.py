"""DICOM files made here with pydicom: the same picture in many ways of storing it."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless

from boneage.data.dicom import age_of, is_dicom, read_dicom
from boneage.errors import UserError

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 16)).astype(np.float64)  # 0 to 255
PICTURE[0, :2] = 0, 255


def written(path, pixels, bits=8, **tags):
    """Write pixels as they are, as a radiograph of so many bits stored."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.Modality, file.PhotometricInterpretation = "DX", "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.BitsStored, file.HighBit = 1, bits, bits - 1
    file.BitsAllocated = 8 * pixels.dtype.itemsize
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    """Return what is read, on the scale of 0 to 255."""
    return read_dicom(path)[0] / 65535 * 255


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


@pytest.mark.parametrize("text", ["", "12", "twelve", "012X", "0120Y", "200Y"])
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
    assert is_dicom(file)
    (tmp_path / "text").write_text("DICM")
    assert not is_dicom(tmp_path / "text")


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
        "cut": "cut.dcm", "pixels": "cannot be decoded", "empty": "no readable DICOM",
        "text": "no readable", "frames": "holds 2 pictures", "colour": "is RGB, not a grey",
        "huge": "absurd size",
        "report": "holds no picture", "words": "no readable DICOM", "gone": "no readable DICOM",
    }  # fmt: skip
    for name, words in said.items():
        with pytest.raises(UserError, match=words) as caught:
            read_dicom(tmp_path / f"{name}.dcm")
        assert f"{name}.dcm" in str(caught.value)
        assert "\n" not in str(caught.value)
