"""Slices on disk: PNG of 16 bits, or DICOM; and the job of making a patient's."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.scans.phantom import Phantom, cut
from tools.scans.plan import SLICE, WINDOWS, Patient, Plan
from tools.studio.captioned_sets import write_picture
from utils.files import whole_file
from utils.optional_modules import optional_module

OFFSET = 1024
"""A stored value is the Hounsfield units plus this, so that none is negative."""
FINER = 2  # pixels of the cut for one of the picture, each way
UID_ROOT = "2.25."  # of identifiers that anybody may draw


@dataclass(frozen=True)
class Slices:
    """The slices of one patient: a job for `studio.batch`.

    Attributes:
        files: one for each of the patient's first heights; a suffix of .dcm makes DICOM of it, .png a PNG.
        resolution: pixels, both ways.
    """

    plan: Plan
    patient: Patient
    files: tuple[Path, ...]
    resolution: int


def files_of(slices: Slices) -> list[Path]:
    """The files that `take` writes."""
    return list(slices.files)


def take(slices: Slices) -> None:
    """Cuts, scans and writes the slices that are not there yet."""
    phantom = slices.plan.phantom(slices.patient)
    for number, path in enumerate(slices.files):
        if path.is_file():
            continue
        hu = scanned(slices, phantom, number)
        if path.suffix == ".dcm":
            write_dicom(path, hu, slices, number, phantom.side / slices.resolution)
        else:
            write_picture(path, stored(hu))


def scanned(slices: Slices, phantom: Phantom, number: int) -> np.ndarray:
    """(R, R) int16 Hounsfield units of a slice of the patient, whose phantom is given."""
    patient = slices.patient
    rng = slices.plan.rng(patient.number, SLICE, number)
    fine = cut(phantom, patient.heights[number], FINER * slices.resolution, rng, patient.shift, patient.turn)
    return patient.scanner.picture(fine.hu, phantom.side, slices.resolution, rng)


def stored(hu: np.ndarray) -> np.ndarray:
    """Hounsfield units as the uint16 that files hold."""
    return (hu + OFFSET).astype(np.uint16)


def stored_window(window: str, dicom: bool) -> tuple[int, int]:
    """What --intensity_window wants for a set: DICOM is read in Hounsfield units, PNG as it is stored."""
    low, high = WINDOWS[window]
    return (low, high) if dicom else (low + OFFSET, high + OFFSET)


def load_pydicom() -> Any:
    """The module.

    Raises:
        UserError: it is not installed.
    """
    return optional_module("pydicom", "--dicom needs pydicom")


def write_dicom(path: Path, hu: np.ndarray, slices: Slices, number: int, pitch: float) -> None:
    """Writes (R, R) Hounsfield units as a CT image, whole; `pitch` is mm from pixel to pixel.

    Identifiers follow from the set's seed, the patient and the slice, and there is no date, so the same
    settings give the same bytes.
    """
    pydicom = load_pydicom()
    patient, window = slices.patient, WINDOWS[slices.plan.window]
    rows, columns = hu.shape
    scan = pydicom.Dataset()
    scan.file_meta = pydicom.dataset.FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    scan.file_meta.MediaStorageSOPClassUID = scan.SOPClassUID = pydicom.uid.CTImageStorage
    identity = _uid(slices, number + 2)
    scan.file_meta.MediaStorageSOPInstanceUID = scan.SOPInstanceUID = identity
    scan.StudyInstanceUID, scan.SeriesInstanceUID = _uid(slices, 0), _uid(slices, 1)
    scan.FrameOfReferenceUID = scan.SeriesInstanceUID
    scan.ImageType, scan.Modality = ["DERIVED", "SECONDARY", "AXIAL"], "CT"
    scan.PatientName, scan.PatientID = f"Phantom^{patient.number:06d}", f"phantom-{patient.number:06d}"
    scan.StudyDescription = "computed phantom, no patient"
    scan.BodyPartExamined = patient.region.upper()
    scan.InstanceNumber = number + 1
    scan.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    corner = (pitch - pitch * columns) / 2
    scan.ImagePositionPatient = [round(corner, 3), round(corner, 3), patient.heights[number]]
    scan.PixelSpacing, scan.SliceThickness = [round(pitch, 4)] * 2, 1
    scan.Rows, scan.Columns, scan.SamplesPerPixel = rows, columns, 1
    scan.PhotometricInterpretation = "MONOCHROME2"
    scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 12, 11, 0
    scan.RescaleSlope, scan.RescaleIntercept, scan.RescaleType = 1, -OFFSET, "HU"
    scan.WindowCenter, scan.WindowWidth = sum(window) // 2, window[1] - window[0]
    scan.PixelData = stored(hu).tobytes()
    buffer = io.BytesIO()
    scan.save_as(buffer, enforce_file_format=True)
    with whole_file(path) as file:
        file.write(buffer.getvalue())


def _uid(slices: Slices, number: int) -> str:
    """An identifier of the patient's study (0), series (1) or slice (from 2)."""
    return f"{UID_ROOT}{slices.plan.seed + 1}{slices.patient.number:08d}{number:04d}"
