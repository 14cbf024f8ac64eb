"""What a training starts from when --init_ply names a file of Gaussians, of whatever format."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from formats.compressed_ply import pack_compressed
from formats.ply import write_ply
from formats.splat import pack_splat
from formats.splats import Splats
from formats.spz import pack_spz
from gaussian_renderer import choose_engine
from scene.dataset import SceneOptions
from scene.gaussians import load_gaussians
from tests.formats.models import some_splats
from tests.programs import run_train
from tests.scene.models import write_dataset
from training.options import Options
from training.start import initial_gaussians, starting_scene
from utils.errors import UserError, Warnings

WRITERS: dict[str, Callable[[Path, Splats], object]] = {
    ".ply": write_ply,
    ".compressed.ply": lambda path, splats: path.write_bytes(pack_compressed(splats)),
    ".splat": lambda path, splats: path.write_bytes(pack_splat(splats)),
    ".spz": lambda path, splats: path.write_bytes(pack_spz(splats)),
}


def started(path: Path, sh_degree: int = 3):
    """The Gaussians that a training starts from; where these come from a file, the scene is not asked."""
    options = Options(scene=SceneOptions(init_ply=str(path)), sh_degree=sh_degree)
    return initial_gaussians(options, None, Warnings())  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", WRITERS)
def test_gaussians_of_any_format_are_taken_as_they_are(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    WRITERS[suffix](path, some_splats(40))
    read, info = load_gaussians(path)
    taken = started(path)
    assert taken["shN"].shape == (40, 15, 3) and info.sh_degree == (0 if suffix == ".splat" else 3)
    for name, values in read.items():
        assert torch.equal(taken[name][:, : values.shape[1]] if values.ndim > 1 else taken[name], values)
        assert taken[name].requires_grad
    assert not taken["shN"][:, read["shN"].shape[1] :].any()


def test_a_degree_that_the_training_does_not_have_is_refused(tmp_path):
    WRITERS[".spz"](tmp_path / "model.spz", some_splats(4, degree=2))
    assert started(tmp_path / "model.spz", sh_degree=2)["shN"].shape == (4, 8, 3)
    with pytest.raises(UserError, match=r"has SH degree 2, but --sh_degree is 1; give --sh_degree 2"):
        started(tmp_path / "model.spz", sh_degree=1)


def test_far_points_are_started_from_but_are_no_surface(tmp_path):
    """They are not among the scene's points, which say where the subject is; a file's Gaussians have none."""
    folder = write_dataset(tmp_path / "scene", ["a.png", "b.png", "c.png"])
    engine = choose_engine("cpu", lambda _: None)

    def start(**flags):
        scene = SceneOptions(source_path=str(folder), init_random=200, init_ply=flags.pop("init_ply", ""))
        options = Options(scene=scene, **flags)
        found = starting_scene(options, engine)
        return found, initial_gaussians(options, found, Warnings())["means"]

    near, start_near = start()
    far, start_far = start(far_points=3.0)
    count = len(far.far_points)
    assert count > 20 and f", and {count} far ones" in far.points_source and "far" not in near.points_source
    assert len(far.points) == len(near.points) and len(start_far) == len(start_near) + count
    np.testing.assert_array_equal(far.points.positions, near.points.positions)
    WRITERS[".ply"](tmp_path / "model.ply", some_splats(40))
    again, start_again = start(far_points=3.0, init_ply=str(tmp_path / "model.ply"))
    assert len(start_again) == 40 and not len(again.far_points)


def test_a_training_starts_from_a_compressed_ply(small_scene, tmp_path):
    splats = replace(some_splats(50), opacities=np.full(50, 2, np.float32))
    WRITERS[".compressed.ply"](tmp_path / "a.compressed.ply", splats)
    flags = ("--init_ply", tmp_path / "a.compressed.ply", "--iterations", 1, "--position_lr_init", 0)
    model = run_train(small_scene, tmp_path / "model", *flags, "--position_lr_final", 0)
    first, _ = load_gaussians(tmp_path / "a.compressed.ply")
    again, _ = load_gaussians(model / "point_cloud/iteration_1/point_cloud.ply")
    assert torch.equal(first["means"], again["means"])
    assert not torch.equal(first["sh0"], again["sh0"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.splat", bytes(100), "is no .splat file, or not a whole one: it has 100 bytes"),
        ("a.spz", b"NGSP", "is no SPZ file"),
        ("a.compressed.ply", b"ply\nformat binary_little_endian 1.0\n", "is not a whole PLY file"),
        ("a.ksplat", bytes(100), "is no file of Gaussians that is read here"),
    ],
)
def test_a_bad_file_is_one_message_and_nothing_is_written(small_scene, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        run_train(small_scene, tmp_path / "out", "--init_ply", tmp_path / name, "--iterations", 1)
    assert not (tmp_path / "out").exists()
