"""What a set of scans shows: patients, their slices, what is found, and the captions. All from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from tools.domains.sets import instance_rng, split_of
from tools.scans import abdomen, chest, head, jaw, limbs, pelvis
from tools.scans.phantom import Phantom
from tools.scans.scanner import Scanner

ATTRIBUTES, ANATOMY, HEIGHTS, POSE, SLICE, WORDS = range(1, 7)  # streams of an instance; 0 is its split's
GENERIC = "a grey medical scan"


@dataclass(frozen=True)
class Region:
    """A part of the body.

    Attributes:
        make: a phantom of it, see `abdomen.make`.
        level: the words for a slice's height in mm.
        heights: lowest and highest slice, mm.
        findings: what may be found there.
        contrast: share of the scans with contrast medium.
        share: of all patients.
    """

    make: Callable[[Generator, bool, str], Phantom]
    level: Callable[[float], str]
    heights: tuple[float, float]
    findings: tuple[str, ...]
    contrast: float
    share: float


def _of(module: Any, contrast: float, share: float) -> Region:
    return Region(module.make, module.level, module.HEIGHTS, module.FINDINGS, contrast, share)


def _of_limb(limb: limbs.Limb, share: float) -> Region:
    make = partial(limbs.make, limb=limb)
    return Region(make, limbs.level, limbs.HEIGHTS, limbs.FINDINGS, 0.3, share)


REGIONS = {
    "abdomen": _of(abdomen, 0.6, 0.27),
    "chest": _of(chest, 0.55, 0.2),
    "pelvis": _of(pelvis, 0.5, 0.14),
    "head": _of(head, 0.25, 0.13),
    "lower jaw": _of(jaw, 0.35, 0.11),
    "thigh": _of_limb(limbs.THIGH, 0.05),
    "lower leg": _of_limb(limbs.LOWER_LEG, 0.05),
    "forearm": _of_limb(limbs.FOREARM, 0.05),
}
WINDOWS = {"soft-tissue": (-160, 240), "brain": (0, 80), "lung": (-1350, 150), "bone": (-500, 1500)}
"""Hounsfield units that become black and white, by the names that radiologists use."""
PHOTONS = (2.5e5, 1.6e6)  # the range from which scans are drawn: from grainy to smooth
OPENINGS = ("axial CT of the", "axial CT,", "CT, axial,")


@dataclass(frozen=True)
class Patient:
    """One volume, of which slices are taken.

    Attributes:
        number: which one of the set.
        region: a key of `REGIONS`.
        contrast: whether contrast medium was given.
        finding: one of the region's, or "".
        heights: of the slices, mm; the first one shows the finding.
        shift, turn: how the patient lies, see `phantom.cut`.
    """

    number: int
    split: str
    region: str
    contrast: bool
    finding: str
    heights: tuple[float, ...]
    shift: tuple[float, float]
    turn: float
    scanner: Scanner


@dataclass(frozen=True)
class Plan:
    """Decides all that a set shows; the same plan gives the same patients and slices.

    Attributes:
        seed: 0 or more.
        slices: of each patient.
        held_out_share: part of the patients that are held out, with all their slices.
        window: a key of `WINDOWS`, which captions name.
    """

    seed: int
    slices: int = 3
    held_out_share: float = 0.1
    window: str = "soft-tissue"

    def rng(self, number: int, *stream: int) -> Generator:
        """The generator of a patient for one purpose."""
        return instance_rng(self.seed, number, *stream)

    def patient(self, number: int) -> Patient:
        """The patient of that number."""
        rng = self.rng(number, ATTRIBUTES)
        shares = np.array([region.share for region in REGIONS.values()])
        name = list(REGIONS)[int(rng.choice(len(shares), p=shares / shares.sum()))]
        region = REGIONS[name]
        contrast = bool(rng.random() < region.contrast)
        finding = region.findings[int(rng.integers(len(region.findings)))] if rng.random() < 0.6 else ""
        photons = float(np.exp(rng.uniform(*np.log(PHOTONS))))
        ring = float(rng.uniform(3e-4, 1e-3)) if rng.random() < 0.1 else 0.0
        pose = self.rng(number, POSE)
        return Patient(
            number,
            split_of(self.seed, number, self.held_out_share),
            name,
            contrast,
            finding,
            heights=self._heights(number, region, contrast, finding),
            shift=(float(pose.uniform(-7, 7)), float(pose.uniform(-5, 5))),
            turn=float(pose.normal(0, 2)),
            scanner=Scanner(photons, ring),
        )

    def phantom(self, patient: Patient) -> Phantom:
        """The patient's body."""
        return self._phantom(patient.number, REGIONS[patient.region], patient.contrast, patient.finding)

    def _phantom(self, number: int, region: Region, contrast: bool, finding: str) -> Phantom:
        return region.make(self.rng(number, ANATOMY), contrast, finding)

    def _heights(self, number: int, region: Region, contrast: bool, finding: str) -> tuple[float, ...]:
        """The slices' heights: first the finding's, then others spread over the region."""
        rng = self.rng(number, HEIGHTS)
        low, high = region.heights
        found = self._phantom(number, region, contrast, finding).findings
        first = found[0].z if found else float(rng.uniform(low, high))
        shares = (first - low) / (high - low) + np.arange(1, self.slices) / self.slices
        others = low + (high - low) * ((shares + rng.uniform(-0.1, 0.1, self.slices - 1)) % 1)
        return tuple(round(float(z), 2) for z in (first, *others))

    def rows(self, patient: Patient, files: Sequence[str]) -> list[dict[str, Any]]:
        """The entries of a patient's first slices in `metadata.jsonl`, one for each file name."""
        phantom, region = self.phantom(patient), REGIONS[patient.region]
        result = []
        for number, (file_name, z) in enumerate(zip(files, patient.heights, strict=False)):
            shown = [found for found in phantom.findings if found.shown_at(z)]
            words = [found.words for found in shown]
            text = expert(
                self.rng(patient.number, WORDS, number), patient, region.level(z), words, self.window
            )
            result.append(
                {
                    "file_name": file_name,
                    "expert": text,
                    "generic": GENERIC,
                    "region": patient.region,
                    "level": region.level(z),
                    "findings": [found.kind for found in shown],
                    "contrast": patient.contrast,
                    "window": self.window,
                    "height": z,
                    "field_of_view": round(phantom.side, 1),
                    "volume": patient.number,
                    "split": patient.split,
                }
            )
        return result


def expert(rng: Generator, patient: Patient, level: str, findings: Sequence[str], window: str) -> str:
    """The caption that a radiologist might dictate; what matters most comes first."""
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))]
    contrast = "contrast-enhanced" if patient.contrast else "unenhanced"
    subject = f"{opening} {patient.region} at {level}"
    return ", ".join([subject, *findings, contrast, f"{window} window"])
