"""Who sees what: exact depth of planes against counts by hand; PSNR by class against the metric's own."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols.visibility import CLASSES, NO_SURFACE, Surface, Visibility, psnr_by_class, sightings
from scene.cameras import Camera
from tests.protocols.test_runner import CELL
from utils.image_metrics import psnr
from utils.images import image_tensor

WIDTH, HEIGHT, FOCAL = 40, 8, 20.0
WALL, PLATE, HALF = 10.0, 5.0, 1.0  # depths; half the plate's width, scene units


def camera(x: float, turned: bool = False) -> Camera:
    """At (x, 0, 0), looking along z, or against it."""
    pose = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])) if turned else torch.eye(4)
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([x, 0.0, 0.0])
    lens = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return Camera("any", pose, lens, WIDTH, HEIGHT)


def surface(x: float, plate: bool = False, turned: bool = False) -> Surface:
    """What such a camera sees of a wall, and in front of it of a plate that is as high as the picture."""
    columns = torch.arange(WIDTH) + 0.5
    at = x + (columns - WIDTH / 2) / FOCAL * PLATE
    row = torch.where((at.abs() < HALF) & plate, PLATE, WALL)
    return Surface(
        camera(x, turned), row.expand(HEIGHT, -1).clone(), torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    )


def test_of_a_wall_a_camera_beside_sees_all_but_a_strip() -> None:
    """A shift by 3 units is one of 20 * 3 / 10 = 6 pixels on the wall, one by -5 of 10 the other way."""
    found = sightings(surface(0), [surface(3), surface(-5), surface(0, turned=True)])
    columns = np.arange(WIDTH)
    expected = (columns >= 6).astype(int) + (columns < WIDTH - 10)
    assert found.dtype == torch.uint8
    assert (found.numpy() == expected).all()


def test_what_is_behind_a_plate_is_not_seen() -> None:
    """From x = 3 the plate, |X| < 1 at depth 5, hides the wall, at depth 10, for -5 < X < -1."""
    view = surface(0)  # sees the wall alone, as if the plate were not there
    found = sightings(view, [surface(3, plate=True)])
    at = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL * WALL
    inside = np.arange(WIDTH) >= 6
    hidden = np.abs(at + 3) < 2
    sure = np.abs(np.abs(at + 3) - 2) > 0.75  # of 3 x 3 pixels, half a unit each, the farthest counts
    assert (hidden & sure).sum() == 4
    assert (found.numpy()[:, sure] == (inside & ~hidden)[sure]).all()
    assert (sightings(surface(0, plate=True), [surface(0, plate=True)]) == 1).all()  # nobody hides himself


def test_what_is_masked_is_not_seen_and_where_nothing_is_nobody_is_asked() -> None:
    view, source = surface(0), surface(0)
    view.depth[:, 30:] = torch.inf
    source.counted[:, :10] = False
    source.depth[:, 20:25] = torch.inf  # a hole hides nothing
    found = sightings(view, [source])
    assert (found[:, :10] == 0).all() and (found[:, 10:30] == 1).all()
    assert (found[:, 30:] == NO_SURFACE).all()


def test_more_cameras_than_a_byte_holds_are_not_taken_for_none() -> None:
    assert (sightings(surface(0), [surface(0)] * 300) == NO_SURFACE - 1).all()


def test_psnr_of_a_class_is_the_metrics_over_its_pixels_of_all_views() -> None:
    random = np.random.default_rng(0)
    shape = (6, 7)
    views = range(3)
    pairs = [tuple(random.integers(0, 256, (2, *shape, 3), dtype=np.uint8)) for _ in views]
    maps = [random.choice([0, 1, 2, 9, NO_SURFACE], shape).astype(np.uint8) for _ in views]
    masks = [random.random(shape) > 0.3, None, np.ones(shape, bool)]
    found = psnr_by_class(pairs, maps, masks)
    image, photograph = (image_tensor(np.concatenate(side)) for side in zip(*pairs, strict=True))
    count = np.concatenate(maps)
    counted = np.concatenate([np.ones(shape, bool) if mask is None else mask for mask in masks])
    for name, inside in zip(CLASSES, ([0], [1], [2, 9]), strict=True):
        pixels = np.isin(count, inside) & counted
        assert found[name]["share"] == pytest.approx(pixels.sum() / counted.sum())
        expected = psnr(image, photograph, torch.from_numpy(pixels).float())
        assert found[name]["PSNR"] == pytest.approx(expected, abs=1e-4)
    surfaceless = ((count == NO_SURFACE) & counted).sum() / counted.sum()
    assert math.fsum(each["share"] or 0 for each in found.values()) == pytest.approx(1 - surfaceless)


def test_a_class_without_pixels_or_without_error_has_no_psnr() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    found = psnr_by_class([(picture, picture)], [np.ones((2, 2), np.uint8)], [None])
    assert found["one"] == {"share": 1.0, "PSNR": None}
    assert found["none"] == {"share": 0.0, "PSNR": None}


def test_models_that_are_still_to_be_trained_are_known_for_estimates(tmp_path: Path) -> None:
    """One for each scene; where poses are found anew, one for each number of photographs."""
    cells = [CELL, replace(CELL, seed=1), replace(CELL, views=6), replace(CELL, scene="fox", pixels=10**6)]
    visibility = Visibility(tmp_path, 300, "cpu")
    models = visibility.missing_models(cells)
    assert [(it.scene, it.iterations, it.pixels) for it in models] == [
        ("fern", 300, 10_000),
        ("fox", 300, 320 * 240),
    ]
    posed = [replace(it, pose_source="train", split=(("a",), ("b",))) for it in cells]
    assert [(it.scene, it.views) for it in visibility.missing_models(posed)] == [
        ("fern", 3),
        ("fern", 6),
        ("fox", 3),
    ]
    (tmp_path / "fern/reference_300/point_cloud/iteration_300").mkdir(parents=True)
    assert [it.scene for it in visibility.missing_models(cells)] == ["fox"]
    assert Visibility(tmp_path, 0, "cpu").missing_models(cells) == []
