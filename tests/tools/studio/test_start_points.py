"""Points on surfaces: even over the area, seen by two cameras, in the colours that these show."""

import numpy as np
import pytest

from scene.cameras import Camera
from tools.studio.cameras import direction, on_sphere
from tools.studio.materials import Item, Material
from tools.studio.meshes import Mesh, box
from tools.studio.renderer import assembled
from tools.studio.start_points import on_surfaces, points_in_sight

SIZE = np.array([1.0, 0.6, 0.4])
AZIMUTHS = (-50, 10, 70, 120)


def cameras(*azimuths: float) -> list[Camera]:
    """Cameras round the box, a little above it."""
    lens = {"target": [0, 0, 0.2], "distance": 4.0, "resolution": 32}
    return [on_sphere(f"{azimuth}", azimuth, 25, **lens) for azimuth in azimuths]  # type: ignore[arg-type]


def grey(mesh: Mesh) -> Item:
    """The mesh, to be hit by rays."""
    return mesh, Material(np.array([0.5, 0.5, 0.5]))


def faces(points: np.ndarray) -> np.ndarray:
    """(N, 3) outward normals of the box's faces on which the points lie."""
    places = (points - [0, 0, SIZE[2] / 2]) / (SIZE / 2)
    axis = np.abs(places).argmax(axis=1)
    assert np.allclose(np.abs(places).max(axis=1), 1, atol=1e-5)
    return np.eye(3)[axis] * np.sign(places)


def test_points_are_even_over_the_area_and_know_their_normal() -> None:
    points, normals = on_surfaces(np.random.default_rng(0), [box(SIZE.tolist())], 6000)
    outward = faces(points)
    assert np.allclose(normals, outward, atol=1e-9)
    areas = np.prod(SIZE) / SIZE  # of a face across each axis
    for axis in range(3):
        for sign in (-1, 1):
            share = (outward[:, axis] == sign).mean()
            assert share == pytest.approx(areas[axis] / areas.sum() / 2, abs=0.02)
    top = points[outward[:, 2] == 1][:, :2] / SIZE[:2] + 0.5
    cells = np.bincount(np.floor(4 * top).astype(int) @ [1, 4], minlength=16)
    assert cells.min() > 0.6 * cells.mean()


def test_points_are_seen_by_two_cameras_and_have_the_mean_of_their_colours() -> None:
    """Each picture has one colour, so a point's colour says which cameras see it: those before its face."""
    pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")
    mesh, placed = box(SIZE.tolist()), cameras(*AZIMUTHS)
    shades = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [100, 100, 100]])
    images = [np.full((32, 32, 3), shade, np.uint8) for shade in shades]
    scene = assembled([grey(mesh)], {}, 2)
    cloud = points_in_sight(np.random.default_rng(0), scene, [mesh], placed, images, 400)
    outward = faces(cloud.positions)
    positions = np.stack([camera.position.numpy() for camera in placed])
    to_camera = positions - cloud.positions[:, None]
    cosine = (to_camera * outward[:, None]).sum(-1) / np.linalg.norm(to_camera, axis=-1)
    sees = cosine > 0.2
    assert len(cloud) == 400 and (sees.sum(axis=1) >= 2).all()
    expected = (sees[..., None] * shades).sum(axis=1) / sees.sum(axis=1, keepdims=True)
    assert np.abs(cloud.colours - expected).max() <= 0.5
    assert (
        len(np.unique(outward, axis=0)) == 3
    )  # left and back are seen by one camera each, the bottom by none


def test_what_is_hidden_gets_no_points() -> None:
    pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")
    shell = box((2.0, 2.0, 2.0)).moved([0, 0, -0.5])
    inside, placed = box(SIZE.tolist()), cameras(0, 20)
    images = [np.zeros((32, 32, 3), np.uint8)] * 2
    scene, rng = assembled([grey(shell), grey(inside)], {}, 2), np.random.default_rng(0)
    assert not len(points_in_sight(rng, scene, [inside], placed, images, 50))
    outside = points_in_sight(rng, scene, [shell, inside], placed, images, 50)
    assert len(outside) == 50
    assert (np.abs(outside.positions - [0, 0, 0.5]).max(axis=1) > 0.99).all()


def test_one_camera_is_enough_where_there_is_only_one() -> None:
    pytest.importorskip("mitsuba", reason="mitsuba is not installed (pip install mitsuba)")
    mesh, placed = box(SIZE.tolist()), cameras(0)
    images = [np.zeros((32, 32, 3), np.uint8)]
    cloud = points_in_sight(
        np.random.default_rng(0), assembled([grey(mesh)], {}, 2), [mesh], placed, images, 50
    )
    assert len(cloud) == 50
    assert (cloud.positions @ direction(0, 25) > -0.1).all()
