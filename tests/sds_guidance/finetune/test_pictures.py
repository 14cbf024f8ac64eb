"""Pictures of every kind become RGB in [0, 1]; scans need a window; damaged files are said to be so."""

import numpy as np
import pytest
import torch
from PIL import Image

from sds_guidance.finetune.pictures import UnreadablePicture, read_picture
from utils.errors import UserError


def grey(values):
    return torch.tensor(values, dtype=torch.float32).expand(3, -1, -1)


def save_dicom(path, stored, slope=1.0, intercept=0.0, photometric="MONOCHROME2"):
    pydicom = pytest.importorskip("pydicom")
    scan = pydicom.Dataset()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    scan.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    scan.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    scan.Rows, scan.Columns = stored.shape
    scan.BitsAllocated = scan.BitsStored = 16
    scan.HighBit, scan.PixelRepresentation, scan.SamplesPerPixel = 15, 1, 1
    scan.PhotometricInterpretation = photometric
    scan.RescaleSlope, scan.RescaleIntercept = slope, intercept
    scan.PixelData = stored.astype(np.int16).tobytes()
    scan.save_as(path, enforce_file_format=True)


def test_colours_and_eight_bit_greys_are_divided_by_255(tmp_path):
    Image.fromarray(np.array([[[255, 0, 51]]], np.uint8)).save(tmp_path / "a.png")
    torch.testing.assert_close(read_picture(tmp_path / "a.png", None).flatten(), torch.tensor([1, 0, 0.2]))
    Image.fromarray(np.array([[51, 255]], np.uint8)).save(tmp_path / "b.png")
    torch.testing.assert_close(read_picture(tmp_path / "b.png", None), grey([[0.2, 1.0]]))


def test_what_is_transparent_is_white(tmp_path):
    Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", None)
    assert picture[:, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_the_exif_turn_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", None).shape == (3, 8, 4)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_scan_of_sixteen_bits_is_seen_through_its_window(tmp_path, suffix):
    path = tmp_path / f"scan.{suffix}"
    Image.fromarray(np.array([[0, 1000, 2000, 3000, 65535]], np.uint16)).save(path)
    torch.testing.assert_close(read_picture(path, (1000, 3000)), grey([[0, 0, 0.5, 1, 1]]))
    with pytest.raises(UserError, match=r"intensities from 0 to 65535; state the window.*--intensity_window"):
        read_picture(path, None)


def test_dicom_is_read_in_hounsfield_units(tmp_path):
    save_dicom(tmp_path / "a.dcm", np.array([[0, 1000, 1400]]), slope=1.0, intercept=-1000.0)
    torch.testing.assert_close(read_picture(tmp_path / "a.dcm", (-1000, 600)), grey([[0, 0.625, 0.875]]))
    with pytest.raises(UserError, match="from -1000 to 400"):
        read_picture(tmp_path / "a.dcm", None)


def test_a_dicom_whose_low_values_are_bright_is_turned_round(tmp_path):
    save_dicom(tmp_path / "a.dcm", np.array([[0, 25, 100]]), photometric="MONOCHROME1")
    torch.testing.assert_close(read_picture(tmp_path / "a.dcm", (0, 100)), grey([[1, 0.75, 0]]))


def test_a_window_is_not_for_pictures_with_colours(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="--intensity_window is for grey scans"):
        read_picture(tmp_path / "a.png", (0, 1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "dcm"])
def test_damaged_files_are_unreadable(tmp_path, suffix):
    if suffix == "dcm":
        pytest.importorskip("pydicom")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadablePicture):
        read_picture(path, None)
    if suffix != "dcm":
        Image.effect_noise((64, 64), 90).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(UnreadablePicture):
            read_picture(path, None)
