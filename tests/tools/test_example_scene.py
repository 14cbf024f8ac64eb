"""The example scene that ships with the project, and the tool that makes it."""

import importlib.util
import math
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from scene.camera_paths import look_at
from scene.cameras import Camera
from tools import make_example_scene
from tools.example_scene import daylight, points, prints
from tools.make_example_scene import Options, dome
from tools.studio import renderer, textures
from tools.studio.materials import Material
from tools.studio.meshes import Mesh, blade, box, lathe, spline, tube
from utils.errors import UserError

SHIPPED = Path(__file__).resolve().parents[2] / "examples" / "still_life"

needs_mitsuba = pytest.mark.skipif(
    importlib.util.find_spec("mitsuba") is None, reason="mitsuba is not installed (pip install mitsuba)"
)


@pytest.fixture(scope="module")
def model() -> pycolmap.Reconstruction:
    """The shipped COLMAP model."""
    return pycolmap.Reconstruction(SHIPPED / "sparse" / "0")


def test_the_shipped_scene_is_whole_and_small(model: pycolmap.Reconstruction) -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    photographs = {path.name for path in (SHIPPED / "images").iterdir()}
    assert {image.name for image in model.images.values()} == photographs
    assert len(photographs) == 30
    (camera,) = model.cameras.values()
    assert camera.model == pycolmap.CameraModelId.PINHOLE
    for path in (SHIPPED / "images").iterdir():
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (camera.width, camera.height)) == ("RGB", (320, 240))


def test_points_reproject_to_their_observations(model: pycolmap.Reconstruction) -> None:
    """By projection written out here, in the project's convention of pixels and poses."""
    (camera,) = model.cameras.values()
    errors = []
    for image in model.images.values():
        pose = image.cam_from_world().matrix()
        seen = [point for point in image.points2D if point.has_point3D()]
        assert len(seen) >= 100
        world = np.array([model.points3D[point.point3D_id].xyz for point in seen])
        local = world @ pose[:, :3].T + pose[:, 3]
        assert (local[:, 2] > 0.2).all()
        fx, fy, cx, cy = camera.params
        pixels = np.stack([fx * local[:, 0] / local[:, 2] + cx, fy * local[:, 1] / local[:, 2] + cy], -1)
        errors.append(np.linalg.norm(pixels - np.array([point.xy for point in seen]), axis=1))
    error = np.concatenate(errors)
    assert 0.1 < error.mean() < 0.6  # noisy keypoints, triangulated; a shift by half a pixel would show
    assert np.quantile(error, 0.99) < 1.5
    assert error.max() < points.LARGEST_ERROR
    assert model.compute_mean_reprojection_error() < 0.6  # the same, a mean over points


def test_the_shipped_points_are_many_and_seen_often(model: pycolmap.Reconstruction) -> None:
    lengths = np.array([point.track.length() for point in model.points3D.values()])
    assert 3000 <= len(lengths) <= 6000
    assert lengths.min() >= 2
    assert np.mean(lengths >= 3) > 0.9


def test_the_colours_of_points_are_those_of_the_photographs(model: pycolmap.Reconstruction) -> None:
    total, shuffled = [], []
    for image in list(model.images.values())[::7]:
        pixels = np.array(Image.open(SHIPPED / "images" / image.name)).astype(float)
        seen = [point for point in image.points2D if point.has_point3D()]
        column, row = np.array([point.xy for point in seen]).astype(int).T
        colours = np.array([model.points3D[point.point3D_id].color for point in seen]).astype(float)
        total.append(np.abs(pixels[row, column] - colours).mean())
        shuffled.append(np.abs(pixels[row[::-1], column[::-1]] - colours).mean())
    assert np.mean(total) < 0.5 * np.mean(shuffled)


def test_textures_depend_on_the_seed_alone() -> None:
    def make(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        planks, relief = textures.wood(rng, 40, 60, 4, ("#b98a58", "#7a4c2b"))
        cover = prints.book_cover(rng, 420, 300, ("plain", "views"), ("#102030", *4 * ("#e0e0d0",)))
        return [planks, relief, cover, textures.plaster(rng, 30, 50, 3 * ("#c08040",))[0]]

    first, again, other = make(3), make(3), make(4)
    for one, same, different in zip(first, again, other, strict=True):
        assert np.array_equal(one, same)
        assert not np.array_equal(one, different)
        assert one.min() >= 0
        assert one.max() <= 1


def test_lettering_reads_from_left_to_right() -> None:
    rows = ["".join(" #"[int(bit)] for bit in row) for row in prints.lettering("LT")]
    assert rows[0] == "#     ##### "
    assert rows[6] == "#####   #   "


def test_a_line_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        prints.print_line(np.zeros((20, 20, 3)), "wide", 0.1, 0.5, 0.5, "#ffffff")


@pytest.mark.parametrize(
    "mesh",
    [
        box((1, 2, 3)),
        lathe([[0, 1], [0.6, 0.7], [0.8, 0.2], [0, 0]], 24, 20),
        tube(spline([[0.0, 0, 0], [0.0, 0.3, 1], [0.5, 0, 2]], 20), 0.1),
    ],
    ids=["box", "lathe", "tube"],
)
def test_closed_meshes_face_outwards(mesh: Mesh) -> None:
    """The volume by the divergence theorem is positive, and normals agree with the order of the corners."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    assert (a * across).sum() / 6 > 0
    agreement = (across * mesh.normals[mesh.faces].mean(1)).sum(-1)
    assert (agreement > -1e-9).all()
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)


def test_a_leaf_faces_up() -> None:
    assert (blade(1, 0.3, fold=0.1, droop=0.2).normals[:, 2] > 0).all()


def test_look_at_puts_the_target_in_the_middle_and_up_upwards() -> None:
    position, target = torch.tensor([1.0, -2, 0.5]), torch.tensor([0.2, 0.1, 0.3])
    pose = look_at(position, target, torch.tensor([0.0, 0, 3]))

    def seen(point: torch.Tensor) -> torch.Tensor:
        return pose[:3, :3] @ point + pose[:3, 3]

    assert torch.allclose(seen(target), torch.tensor([0, 0, float((target - position).norm())]), atol=1e-6)
    assert torch.allclose(seen(position), torch.zeros(3), atol=1e-6)
    above = seen(target + torch.tensor([0, 0, 0.1]))
    assert abs(float(above[0])) < 1e-6
    assert float(above[1]) < -0.05
    assert float(torch.linalg.det(pose)) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="no view"):
        look_at(position, position + torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 0, 1]))


def test_rays_undo_projection() -> None:
    camera = dome(np.random.default_rng(0), 5, 64, 48)[1]
    pixels = np.random.default_rng(1).uniform(0, 48, (20, 2))
    centre, directions = points.rays(camera, pixels)
    again, depth = points.project(camera, centre + 2.5 * directions)
    assert np.allclose(again, pixels, atol=1e-4)
    assert (depth > 0).all()


def test_triangulation_finds_points_from_exact_pixels_and_errs_as_the_noise_says() -> None:
    cameras = dome(np.random.default_rng(0), 6, 320, 240)
    world = np.random.default_rng(1).uniform(-0.2, 0.2, (50, 3))
    point, view = (index.ravel() for index in np.meshgrid(np.arange(50), np.arange(6)))
    pixels = np.concatenate([points.project(camera, world)[0] for camera in cameras])
    exact = points.triangulate(cameras, 50, point, view, pixels)
    assert np.abs(exact - world).max() < 1e-5
    noise = np.random.default_rng(2).normal(0, 0.3, pixels.shape)
    error = np.linalg.norm(points.triangulate(cameras, 50, point, view, pixels + noise) - world, axis=1)
    assert 0.0002 < error.mean() < 0.002  # 0.3 pixels are 1.1 mm at 1.1 m, and six views see each point


def test_corners_are_found_where_they_are() -> None:
    image = np.full((60, 80, 3), 40, np.uint8)
    image[20:40, 30:55] = 200
    found = points.corners(image, 16)
    wanted = np.array([(30, 20), (55, 20), (30, 40), (55, 40)])
    distances = np.linalg.norm(found[:, None] - wanted, axis=-1)
    assert distances.min(axis=0).max() < 2.5
    assert distances.min(axis=1).max() < 2.5


def test_a_missing_renderer_is_one_helpful_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(UserError, match="pip install mitsuba"):
        make_example_scene.main(Options(output=str(tmp_path / "scene")))
    assert not (tmp_path / "scene").exists()


@needs_mitsuba
def test_a_surface_point_projects_to_the_pixel_where_mitsuba_sees_it() -> None:
    """Mitsuba's own sensor and the project's camera agree on every ray, also off the image's middle."""
    ground = Mesh(*_large_square())
    scene = daylight.build([(ground, Material(np.array([0.5, 0.5, 0.5])))])
    mitsuba = renderer.load_mitsuba()
    up, position = torch.tensor([0.1, 0, 1.0]), torch.tensor([0.3, -1.0, 0.6])
    focal = 32 / math.tan(math.radians(27))
    intrinsics = torch.tensor([[focal, 0, 32], [0, focal, 24], [0, 0, 1]])
    camera = Camera("view", look_at(position, torch.zeros(3), up), intrinsics, 64, 48)
    sensor = renderer.sensor(mitsuba, camera)
    for pixel in ((0.5, 40.5), (32.0, 24.0), (63.5, 30.5), (10.5, 47.5)):
        film = mitsuba.Point2f(pixel[0] / 64, pixel[1] / 48)
        ray, _ = sensor.sample_ray(0.0, 0.5, film, mitsuba.Point2f(0.5, 0.5))
        hit = scene.ray_intersect(mitsuba.Ray3f(ray.o, ray.d))
        assert hit.is_valid()
        seen, _ = points.project(camera, np.array(hit.p)[None])
        assert np.allclose(seen[0], pixel, atol=0.01)
        centre, directions = points.rays(camera, np.array([pixel]))
        distance, normal = renderer.first_hits(scene, centre[None], directions)
        assert np.allclose(centre + distance[0] * directions[0], np.array(hit.p), atol=1e-4)
        assert np.allclose(np.abs(normal[0]), [0, 0, 1], atol=1e-5)


def _large_square() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    corners = np.array([[-9.0, 9, 0], [9, 9, 0], [-9, -9, 0], [9, -9, 0]])
    upwards = np.tile([0.0, 0, 1], (4, 1))
    return corners, upwards, corners[:, :2] / 18 + 0.5, np.array([[0, 2, 1], [1, 2, 3]])


@needs_mitsuba
@pytest.mark.slow
def test_the_tool_makes_goes_on_with_and_repeats_a_scene(tmp_path: Path) -> None:
    options = Options(output=str(tmp_path / "first"), samples=4, width=32, height=24, views=9)
    make_example_scene.main(options)
    first = tmp_path / "first"
    model = pycolmap.Reconstruction(first / "sparse" / "0")
    assert model.is_valid()
    assert model.num_points3D() > 10
    assert sorted(image.name for image in model.images.values()) == [f"view_0{n}.jpg" for n in range(9)]
    assert all((first / "images" / image.name).is_file() for image in model.images.values())

    (first / "images" / "view_01.jpg").rename(tmp_path / "taken.jpg")
    kept = (first / "images" / "view_00.jpg").stat().st_mtime_ns
    model_bytes = (first / "sparse" / "0" / "points3D.bin").read_bytes()
    make_example_scene.main(options)
    assert (first / "images" / "view_01.jpg").read_bytes() == (tmp_path / "taken.jpg").read_bytes()
    assert (first / "images" / "view_00.jpg").stat().st_mtime_ns == kept
    assert (first / "sparse" / "0" / "points3D.bin").read_bytes() == model_bytes

    options.seed = 1
    with pytest.raises(UserError, match="made with"):
        make_example_scene.main(options)


@needs_mitsuba
def test_a_video_goes_from_the_first_view_of_the_lowest_row_to_the_first_of_the_highest(
    tmp_path: Path,
) -> None:
    """Its first and last frame are those photographs, but for noise and compression."""
    options = Options(output=str(tmp_path), samples=8, width=48, height=36, views=6, video_frames=5)
    make_example_scene.main(options)
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "video.mp4"))
    assert next(frames)["size"] == (48, 36)
    shown = [np.frombuffer(frame, np.uint8).reshape(36, 48, 3) for frame in frames]
    assert len(shown) == 5
    scene = daylight.build(make_example_scene.scene_items(0))
    cameras = dome(np.random.default_rng([0, 1]), 6, 48, 36)
    for frame, place in ((0, 0), (-1, 2)):
        photograph = renderer.picture(scene, cameras[place], 16, seed=7)
        misses = [np.abs(each.astype(float) - photograph).mean() for each in shown]
        assert np.argmin(misses) == frame % 5
        assert min(misses) < 12
    made = (tmp_path / "video.mp4").stat().st_mtime_ns
    make_example_scene.main(options)
    assert (tmp_path / "video.mp4").stat().st_mtime_ns == made


@pytest.mark.parametrize(("name", "value"), [("samples", 0), ("width", 8), ("views", 1), ("seed", -1)])
def test_a_number_out_of_range_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"--{name} {value}: allowed is"):
        make_example_scene.main(Options(**{name: value}))  # type: ignore[arg-type]
