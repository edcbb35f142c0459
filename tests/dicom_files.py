"""DICOM files made with pydicom, for the tests that read them."""

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from boneage.data.dicom.read import read_dicom

PICTURE = np.add.outer(12.0 * np.arange(20), np.arange(16) % 5)  # as smooth as a radiograph
PICTURE[-1], PICTURE[3:6, 4:9] = 255, 180  # 0 to 255, with an edge


@disable_value_validation()
def written(path, pixels, bits=8, **tags):
    """Write pixels as they are, of so many bits stored; a tag of None is left out."""
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
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    """Return what is read, on the scale of 0 to 255."""
    return read_dicom(path)[0] / 65535 * 255
