"""Patients and captions: splits by volume, captions that say what is there, tissues with their HU."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from tools.scans.files import FINER, Slices, scanned
from tools.scans.phantom import METALS, TISSUES, cut
from tools.scans.plan import GENERIC, REGIONS, SLICE, Patient, Plan
from tools.scans.scanner import Scanner

PLAN = Plan(seed=3, held_out_share=0.2)


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    """The first ninety of the plan."""
    return [PLAN.patient(number) for number in range(90)]


def rows(patient: Patient) -> list[dict]:
    """The entries of a patient's slices."""
    return PLAN.rows(patient, [f"{patient.number}_{number}.png" for number in range(3)])


def test_the_seed_makes_the_patient(patients: list[Patient]) -> None:
    assert Plan(3, held_out_share=0.2).patient(8) == PLAN.patient(8)
    assert [Plan(4).patient(number).region for number in range(9)] != [p.region for p in patients[:9]]


def test_volumes_are_split_not_slices(patients: list[Patient]) -> None:
    shares = np.mean([patient.split == "held_out" for patient in patients])
    assert shares == pytest.approx(0.2, abs=0.1)
    for patient in patients[:20]:
        assert {row["split"] for row in rows(patient)} == {patient.split}
        assert len(set(patient.heights)) == 3
        low, high = REGIONS[patient.region].heights
        assert all(low - 30 <= z <= high + 30 for z in patient.heights)
    assert {Plan(0, held_out_share=0.0).patient(number).split for number in range(20)} == {"train"}


def test_every_region_and_many_findings_occur(patients: list[Patient]) -> None:
    assert {patient.region for patient in patients} == set(REGIONS)
    found = {(patient.region, patient.finding) for patient in patients if patient.finding}
    assert len(found) > 0.5 * sum(len(region.findings) for region in REGIONS.values())


def test_captions_say_what_the_attributes_say(patients: list[Patient]) -> None:
    for patient in patients[:30]:
        phantom = PLAN.phantom(patient)
        words = {found.kind: found.words for found in phantom.findings}
        assert set(words) == ({patient.finding} if patient.finding else set())
        for number, row in enumerate(rows(patient)):
            text = row["expert"]
            assert row["generic"] == GENERIC
            assert f"{row['region']} at {row['level']}" in text
            assert ("contrast-enhanced" in text) == row["contrast"]
            assert ("unenhanced" in text) != row["contrast"]
            assert text.endswith(f"{row['window']} window")
            for kind, said in words.items():
                assert (said in text) == (kind in row["findings"])
            if number == 0:  # the first slice is where the finding is
                assert row["findings"] == list(words)
            assert not re.search(r"\s\s|, ,|,$", text)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("finding", [False, True])
def test_a_finding_changes_the_slice_that_names_it(region: str, finding: bool) -> None:
    """Every finding of a region paints something of its own at its height."""
    if not finding:
        make = REGIONS[region].make
        assert make(np.random.default_rng(1), True, "").findings == []
        return
    for kind in REGIONS[region].findings:
        with_it = REGIONS[region].make(np.random.default_rng(1), True, kind)
        (found,) = with_it.findings
        before = REGIONS[region].make(np.random.default_rng(1), True, "")
        names = {part.name for part in with_it.parts} - {part.name for part in before.parts}
        shown = cut(with_it, found.z, 128, np.random.default_rng(0), (0, 0), 0)
        seen = {with_it.parts[label].name for label in np.unique(shown.labels) if label >= 0}
        assert names & seen or kind in ("fracture", "jaw fracture"), kind


def test_tissues_have_their_hounsfield_units_in_the_picture(patients: list[Patient]) -> None:
    """Deep inside every large part of soft tissue the scan shows its HU, but for the noise."""
    checked = set()
    for number, region in enumerate(("abdomen", "chest", "pelvis", "head", "thigh")):
        patient = dataclasses.replace(
            patients[0], number=number, region=region, finding="", contrast=False, scanner=Scanner(1e7)
        )
        patient = dataclasses.replace(patient, heights=(10.0,), shift=(0.0, 0.0), turn=0.0)
        slices = Slices(PLAN, patient, (Path("x.png"),), 128)
        phantom = PLAN.phantom(patient)
        seen = scanned(slices, phantom, 0).astype(float)
        rng = PLAN.rng(number, SLICE, 0)
        labels = cut(phantom, 10.0, FINER * 128, rng, (0.0, 0.0), 0.0).labels[::FINER, ::FINER]
        for name, hu in {(part.name, part.hu) for part in phantom.parts}:
            kinds = [k for k, part in enumerate(phantom.parts) if (part.name, part.hu) == (name, hu)]
            deep = binary_erosion(np.isin(labels, kinds), iterations=3)
            if name in TISSUES and "bone" not in name and deep.sum() >= 40:
                assert seen[deep].mean() == pytest.approx(hu, abs=12), (region, name)
                checked.add(name)
    assert {"liver", "muscle", "fat", "lung", "white matter"} <= checked
    assert not checked & METALS
