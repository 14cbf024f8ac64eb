"""The readers on real scenes: what COLMAP triangulated lands where COLMAP saw it, and silhouettes agree."""

import numpy as np
import pycolmap
import pytest
import torch

from scene.dataset import SceneOptions, load_scene, posed_photographs
from tests.scene.test_colmap import projected
from utils.errors import Warnings

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("name", "count"), [("fern", 20), ("kitchen", 24), ("fox", 50), ("ethiopian_head", 50)]
)
@pytest.mark.parametrize("resolution", [1, 4])
def test_points_land_where_they_were_seen(data_root, name, count, resolution):
    folder = data_root / name
    scene = load_scene(SceneOptions(source_path=str(folder), resolution=resolution, image_memory=0.0), seed=0)
    assert len(scene.train_cameras) == count and scene.test_cameras == []
    model = pycolmap.Reconstruction(folder / "sparse/0")
    images = {image.name: image for image in model.images.values()}
    errors = []
    for camera in scene.train_cameras:
        image = images[camera.name]
        seen = [point for point in image.points2D if point.has_point3D()]
        places = np.array([model.points3D[point.point3D_id].xyz for point in seen])
        scale = [camera.width / image.camera.width, camera.height / image.camera.height]
        ours = projected(camera, places)
        colmaps = np.array([image.project_point(place) for place in places]) * scale
        np.testing.assert_allclose(ours, colmaps, atol=0.01)
        expected = np.array([point.xy for point in seen]) * scale
        errors.append(np.linalg.norm(ours - expected, axis=1))
    assert np.concatenate(errors).mean() < 0.8 / resolution  # fern's is the largest


def test_few_views_of_fern(data_root):
    options = SceneOptions(source_path=str(data_root / "fern"), resolution=4, eval=True, n_views=3)
    scene = load_scene(options, seed=0)
    # of 20 photographs numbers 0, 8, 16 are held out; of the other 17 numbers 0, 8, 16 are chosen
    assert [camera.name for camera in scene.test_cameras] == ["000.jpg", "008.jpg", "016.jpg"]
    assert [camera.name for camera in scene.train_cameras] == ["001.jpg", "010.jpg", "019.jpg"]
    model = pycolmap.Reconstruction(data_root / "fern/sparse/0")
    ids = {
        image.image_id for image in model.images.values() if image.name in ("001.jpg", "010.jpg", "019.jpg")
    }
    seen = [len({e.image_id for e in point.track.elements} & ids) >= 2 for point in model.points3D.values()]
    assert len(scene.points) == sum(seen) < len(seen)


def test_masks_of_the_head_leave_the_object(data_root):
    options = SceneOptions(source_path=str(data_root / "ethiopian_head"), resolution=8, n_views=5)
    scene = load_scene(options, seed=0)
    for camera in scene.train_cameras:
        assert camera.photograph is not None
        image, weight = camera.photograph.target(torch.zeros(3))
        assert weight is not None and weight.shape == image.shape[1:]
        assert 0.1 < float(weight.mean()) < 0.9


def test_what_the_training_silhouettes_carve_lies_in_the_test_silhouettes(data_root):
    """The visual hull of the 64 training views, projected into views that did not carve it."""
    options = SceneOptions(source_path=str(data_root / "lego_blender"), resolution=4, eval=True)
    scene = load_scene(options, seed=0)
    assert (len(scene.train_cameras), len(scene.test_cameras)) == (64, 12)
    axis = np.linspace(-1.3, 1.3, 60)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)

    def covered(camera, points):
        alpha = camera.photograph.pixels().alpha
        column, row = np.floor(projected(camera, points)).astype(int).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        result = np.zeros(len(points), bool)
        result[inside] = alpha[row[inside], column[inside]] > 127
        return result

    for camera in scene.train_cameras:
        points = points[covered(camera, points)]
    assert len(points) > 1000  # a wrong axis carves nearly everything away
    for camera in scene.test_cameras:
        assert covered(camera, points).mean() > 0.93


def test_the_fox_stands_alike_in_a_transforms_json_and_in_a_colmap_model(data_root):
    """The same photographs, posed by two programs, agree up to a similarity: axes, order, names are right."""
    posed = [
        posed_photographs(SceneOptions(source_path=str(data_root / name)), Warnings()).train
        for name in ("fox", "fox_nerf")
    ]
    assert [each.name for each in posed[0]] == [each.name for each in posed[1]]
    rotations = [np.stack([each.world_to_camera[:3, :3] for each in own]) for own in posed]
    centres = [
        np.stack([-each.world_to_camera[:3, :3].T @ each.world_to_camera[:3, 3] for each in own])
        for own in posed
    ]
    first, second = (each - each.mean(axis=0) for each in centres)
    left, values, right = np.linalg.svd(second.T @ first)  # Umeyama's least squares
    assert np.linalg.det(left @ right) > 0
    turn, scale = left @ right, values.sum() / (first**2).sum()
    apart = np.linalg.norm(scale * first @ turn.T - second, axis=1)
    assert apart.max() < 0.01 * np.linalg.norm(second, axis=1).mean()
    between = np.einsum("nij,jk,nlk->nil", rotations[1], turn, rotations[0])
    angles = np.degrees(np.arccos((np.trace(between, axis1=1, axis2=2) - 1) / 2))
    assert angles.max() < 1.5


def test_the_fox_of_the_transforms_json_is_undistorted(data_root):
    options = SceneOptions(source_path=str(data_root / "fox_nerf"), eval=True, resolution=4, init_random=100)
    scene = load_scene(options, seed=0)
    assert (scene.kind, len(scene.train_cameras), len(scene.test_cameras)) == ("nerfstudio", 43, 7)
    assert any("photographs of a OPENCV camera are undistorted" in line for line in scene.warnings.lines())
    for camera in scene.train_cameras:
        assert camera.own_photograph.pixels().rgb.shape == (camera.height, camera.width, 3)
