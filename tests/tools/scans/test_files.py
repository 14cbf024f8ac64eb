"""Slices on disk, read back as fine-tuning reads them: PNG of 16 bits and DICOM."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sds_guidance.finetune.pictures import read_picture
from tools.scans.files import OFFSET, Slices, scanned, stored_window, take
from tools.scans.plan import WINDOWS, Plan

PLAN = Plan(seed=1, slices=1)
WINDOW = WINDOWS["soft-tissue"]


def slices(path: Path) -> Slices:
    """One small slice."""
    return Slices(PLAN, PLAN.patient(2), (path,), 40)


def grey(job: Slices) -> np.ndarray:
    """The slice through the window, (40, 40) in [0, 1]."""
    hu = scanned(job, PLAN.phantom(job.patient), 0).astype(float)
    return np.clip((hu - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)


def test_a_png_holds_hounsfield_units_plus_an_offset_and_is_seen_through_the_window(tmp_path: Path) -> None:
    job = slices(tmp_path / "a.png")
    take(job)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
        stored = np.asarray(image).astype(int)
    assert np.array_equal(stored - OFFSET, scanned(job, PLAN.phantom(job.patient), 0))
    assert stored_window("soft-tissue", dicom=False) == (864, 1264)
    seen = read_picture(tmp_path / "a.png", stored_window("soft-tissue", dicom=False))
    assert np.allclose(seen.numpy(), grey(job), atol=1e-6)
    assert 0.02 < float(seen.mean()) < 0.9


def test_dicom_is_the_same_picture_in_hounsfield_units(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (pip install pydicom)")
    job = slices(tmp_path / "a.dcm")
    take(job)
    seen = read_picture(tmp_path / "a.dcm", stored_window("soft-tissue", dicom=True))
    assert np.allclose(seen.numpy(), grey(job), atol=1e-6)
    scan = pydicom.dcmread(tmp_path / "a.dcm")
    assert (scan.RescaleSlope, scan.RescaleIntercept, scan.BitsStored) == (1, -OFFSET, 12)
    assert scan.SOPInstanceUID.is_valid
    assert scan.PixelSpacing[0] == pytest.approx(PLAN.phantom(job.patient).side / 40, abs=1e-3)
    assert float(scan.ImagePositionPatient[2]) == job.patient.heights[0]
    assert "no patient" in scan.StudyDescription


def test_dicom_is_the_same_file_again(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed (pip install pydicom)")
    for name in ("a", "b"):
        take(slices(tmp_path / f"{name}.dcm"))
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
