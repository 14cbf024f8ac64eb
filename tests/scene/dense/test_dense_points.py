"""The dense start: on the surface, off the masks, the same bits, and nothing of photographs not chosen."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import minimum_filter

from scene.dataset import SceneOptions, load_scene
from scene.dense import dense_points
from scene.dense.views import view_of
from scene.points import PointCloud
from tests.scene.dense.world import BALL, RADIUS, depths_along, distance_to_surface, rays, world
from tests.scene.models import POINTS, write_dataset

ROOT = Path(__file__).parents[3]
NONE = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


def fingerprint(folder: Path) -> str:
    """A digest of all points and colours of the world at half its size, pictures written to the folder."""
    halves = [
        replace(camera.resized(128, 100), photograph=replace(camera.own_photograph, width=128, height=100))
        for camera in world(folder)
    ]
    points = dense_points(halves, NONE)
    assert len(points) > 1000
    return hashlib.sha256(points.positions.tobytes() + points.colours.tobytes()).hexdigest()


def test_points_lie_on_the_surface(tmp_path):
    cameras = world(tmp_path)  # of three exposures
    points = dense_points(cameras, NONE)
    assert len(points) > 5000
    positions = points.positions.astype(np.float64)
    depth = np.linalg.norm(positions - cameras[1].position.numpy(), axis=1)
    error = distance_to_surface(positions) / depth
    assert np.quantile(error, 0.95) < 0.01 and np.median(error) < 0.001
    # none hovers before what all cameras see
    local = positions @ cameras[1].world_to_camera[:3, :3].double().numpy().T
    local += cameras[1].world_to_camera[:3, 3].double().numpy()
    places = local @ cameras[1].intrinsics.double().numpy().T
    columns, rows = np.floor(places[:, :2] / places[:, 2:]).astype(int).T
    inside = (columns >= 0) & (columns < cameras[1].width) & (rows >= 0) & (rows < cameras[1].height)
    truth = depths_along(cameras[1])
    nearest = minimum_filter(truth, 11)  # a window that meets the ball's outline may show either
    assert (local[inside, 2] > 0.97 * nearest[rows[inside], columns[inside]]).all()
    ball = np.linalg.norm(positions - BALL, axis=1) < 1.02 * RADIUS
    assert ball.sum() > 300
    # the colours are the surface's, up to the exposure
    assert points.colours.std() > 30


def test_masked_and_transparent_pixels_have_no_points(tmp_path):
    cameras, masked = world(tmp_path), []
    for number, camera in enumerate(cameras):
        directions, origin = rays(camera)
        left = (origin + depths_along(camera)[..., None] * directions)[..., 0] < 0
        mask = Image.fromarray(np.where(left, 0, 255).astype(np.uint8))
        if number == 0:  # by its alpha, the others by a mask
            picture = Image.open(tmp_path / camera.name)
            picture.putalpha(mask)
            picture.save(tmp_path / camera.name)
            photograph = camera.own_photograph
        else:
            mask.save(tmp_path / f"mask_{number}.png")
            photograph = replace(camera.own_photograph, mask_path=tmp_path / f"mask_{number}.png")
        masked.append(replace(camera, photograph=photograph))
    points = dense_points(masked, NONE)
    assert len(points) > 2000
    assert points.positions[:, 0].min() > -0.02


def test_one_thread_or_two(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.scene.dense.test_dense_points import fingerprint"
    )
    digests = set()
    for count in ("1", "2"):
        environment = os.environ | {"NUMBA_NUM_THREADS": count, "OMP_NUM_THREADS": count}
        done = subprocess.run(
            [sys.executable, "-c", f"{program}; print(fingerprint(Path(sys.argv[1])))", str(tmp_path)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64


@pytest.mark.parametrize("points", [POINTS[:0], POINTS[:7]])
def test_pictures_without_texture_fall_back_and_say_so(tmp_path, points):
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png", "c.png"], points=points)
    scene = load_scene(SceneOptions(source_path=str(folder), points="dense", init_random=300), seed=0)
    assert len(scene.points) == len(points) + 300
    assert scene.points_source == (
        f"{len(points)} points (0 of dense stereo, {len(points)} SfM points seen in at least two of the 3 "
        "training photographs) and 300 random points in the training cameras' view"
    )
    assert any("random ones in the cameras' view are added" in line for line in scene.warnings.lines())


def test_a_single_photograph_has_no_second_one_to_look_at(tmp_path):
    assert dense_points(world(tmp_path)[:1], NONE) is NONE


def test_other_photographs_are_not_looked_at(tmp_path):
    """What is in the test photographs, and in those that --n_views leaves out, changes nothing."""
    shutil.copytree(ROOT / "examples/still_life", tmp_path / "scene")
    options = SceneOptions(
        source_path=str(tmp_path / "scene"), eval=True, n_views=3, resolution=2, points="dense"
    )
    scene = load_scene(options, seed=0)
    chosen = {camera.name for camera in scene.train_cameras}
    for path in (tmp_path / "scene/images").iterdir():
        if path.name not in chosen:
            noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    again = load_scene(options, seed=1)
    np.testing.assert_array_equal(scene.points.positions, again.points.positions)
    np.testing.assert_array_equal(scene.points.colours, again.points.colours)
    assert len(scene.points) > 500 and scene.points_source == again.points_source
    assert "of dense stereo" in scene.points_source


@pytest.mark.data
def test_points_of_the_fern_look_alike_in_its_photographs(data_root):
    options = SceneOptions(
        source_path=str(data_root / "fern"), eval=True, n_views=3, resolution=4, points="dense"
    )
    scene = load_scene(options, seed=0)
    assert len(scene.points) > 2000
    views = [view_of(camera) for camera in scene.train_cameras]
    positions = scene.points.positions.astype(np.float64)
    seen = np.stack([view.sees(positions) for view in views])
    assert (seen.sum(axis=0) >= 2).mean() > 0.999  # an SfM point may lie just outside a picture
    own = scene.points.colours.astype(float).mean(axis=1) / 255
    for view, inside in zip(views, seen, strict=True):
        local = positions[inside] @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]
        places = local @ view.intrinsics.T
        columns, rows = np.rint(places[:, :2] / places[:, 2:]).astype(int).T
        shown = view.rgb.mean(axis=2)[
            rows.clip(0, view.grey.shape[0] - 1), columns.clip(0, view.grey.shape[1] - 1)
        ]
        assert np.corrcoef(shown, own[inside])[0, 1] > 0.8
