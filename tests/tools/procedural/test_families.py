"""The families: sound meshes, one instance from one seed, mostly of the colour that the caption names."""

import numpy as np
import pytest

from tools.procedural.families import FAMILIES, MATERIALS
from tools.procedural.shapes import DETAILS, ball, block, rod, slab, turned
from tools.studio.meshes import Mesh


def areas(mesh: Mesh) -> np.ndarray:
    """(F, 3) twice the area of each triangle, along its normal."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_makes_sound_objects(name: str) -> None:
    family = FAMILIES[name]
    assert set(family.materials) <= set(MATERIALS)
    for seed in range(12):
        parts = family.make(np.random.default_rng(seed))
        assert {role for _, role in parts} <= {"main", *DETAILS}
        surface = {True: 0.0, False: 0.0}
        for mesh, role in parts:
            across = areas(mesh)
            assert np.isfinite(mesh.vertices).all()
            assert np.isfinite(mesh.uv).all()
            assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)
            agreement = (across * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1)
            assert (agreement > -1e-4).all()  # normals are on the side that the corners' order says
            surface[role == "main"] += float(np.linalg.norm(across, axis=1).sum())
        assert surface[True] > 0.2 * surface[False]
        every = np.concatenate([mesh.vertices for mesh, _ in parts])
        assert 0.4 < np.ptp(every, axis=0).max() < 2.5


@pytest.mark.parametrize("name", FAMILIES)
def test_the_seed_makes_the_instance(name: str) -> None:
    def vertices(seed: int) -> list[np.ndarray]:
        return [mesh.vertices for mesh, _ in FAMILIES[name].make(np.random.default_rng(seed))]

    assert all(np.array_equal(*pair) for pair in zip(vertices(3), vertices(3), strict=True))
    variants = [np.concatenate(vertices(seed)) for seed in range(8)]
    assert any(one.shape != variants[0].shape or not np.allclose(one, variants[0]) for one in variants[1:])


@pytest.mark.parametrize(
    ("mesh", "volume"),
    [
        (block((1, 2, 3), (5, 0, 1)), 6),
        (slab([0, 1, 3], [0, 0, 0.5], [1, 1, 0.5], 0.4), (1 + 1) * 0.4),
        (rod((0, 0, 0), (1, 1, 1), 0.1), np.pi * 0.01 * 3**0.5),
        (ball((1, 2, 3), (0.5, 1, 2)), 4 / 3 * np.pi),
        (turned([[0, 1], [1, 0], [0, 0]]), np.pi / 3),
    ],
    ids=["block", "slab", "rod", "ball", "cone"],
)
def test_solids_have_their_volume_and_face_outwards(mesh: Mesh, volume: float) -> None:
    found = (mesh.vertices[mesh.faces[:, 0]] * areas(mesh)).sum() / 6  # the divergence theorem
    assert found == pytest.approx(volume, rel=0.03)
