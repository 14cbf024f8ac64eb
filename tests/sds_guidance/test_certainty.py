"""Warping photographs by depth: planes, whose warp is a homography, and things that stand in the way."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from sds_guidance import View
from sds_guidance.certainty import certainty, in_sight, nearest, warped_photographs
from utils.warping import reproject, sample

WIDTH, HEIGHT = 40, 30
LENS = torch.tensor([[40.0, 0.0, 21.0], [0.0, 42.0, 14.0], [0.0, 0.0, 1.0]])


def camera(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> Camera:
    """A camera at (x, y, z), turned about its y axis."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor(
        [[math.cos(turn), 0.0, -math.sin(turn)], [0.0, 1.0, 0.0], [math.sin(turn), 0.0, math.cos(turn)]]
    )
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([x, y, z])
    return Camera("view", pose, LENS, WIDTH, HEIGHT)


def centres(width: int = WIDTH, height: int = HEIGHT) -> torch.Tensor:
    """(H, W, 2): the pixels' centres."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def rays() -> torch.Tensor:
    """(H, W, 3): where the pixels look, at z = 1."""
    ones = torch.ones(HEIGHT, WIDTH, 1)
    return torch.cat([centres(), ones], dim=-1) @ LENS.inverse().T


def plane_depth(normal: torch.Tensor, offset: float) -> torch.Tensor:
    """(H, W): depth of the plane normal . X = offset in a camera's own frame."""
    return offset / (rays() @ normal)


def test_a_plane_is_warped_by_its_homography():
    """H = K' (R + t n^T / d) K^-1, in the textbook's form (Hartley and Zisserman, chapter 13)."""
    here, there = camera(0.3, -0.2, 0.1, turn=0.05), camera(-0.4, 0.3, -0.5, turn=-0.15)
    there = replace(there, intrinsics=LENS * torch.tensor([[1.5], [1.2], [1.0]]))
    normal, offset = torch.tensor([0.2, -0.1, 0.9]), 4.0
    move = there.world_to_camera.double() @ here.world_to_camera.double().inverse()
    middle = move[:3, :3] + move[:3, 3:] @ normal.double()[None] / offset
    homography = there.intrinsics.double() @ middle @ LENS.double().inverse()
    expected = torch.cat([centres(), torch.ones(HEIGHT, WIDTH, 1)], dim=-1).double() @ homography.T

    pixels, distance = reproject(here, there, plane_depth(normal, offset))
    torch.testing.assert_close(pixels.double(), expected[..., :2] / expected[..., 2:], atol=1e-4, rtol=0)
    assert float(distance.min()) > 0


def test_a_point_keeps_its_place_in_the_world():
    here, there = camera(0.3, 0.1, 0.0, turn=0.3), camera(-0.3, 0.4, -0.8, turn=-0.2)
    depth = 2.0 + torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    pixels, distance = reproject(here, there, depth)
    worlds = []
    for seen, at, far in ((here, centres(), depth), (there, pixels, distance)):
        points = torch.cat([at, torch.ones(HEIGHT, WIDTH, 1)], dim=-1) @ LENS.inverse().T * far[..., None]
        worlds.append(points @ seen.world_to_camera[:3, :3] + seen.position)
    torch.testing.assert_close(*worlds, atol=1e-4, rtol=0)


def test_what_lies_behind_the_other_camera_is_at_no_distance():
    ahead = camera(z=5.0)
    pixels, distance = reproject(camera(), ahead, torch.full((HEIGHT, WIDTH), 3.0))
    assert float(distance.max()) < 0
    assert not in_sight(pixels, distance, torch.ones(HEIGHT, WIDTH, dtype=torch.bool), ahead).any()


def test_sampling_is_exact_on_a_ramp_and_at_centres():
    ramp = centres().permute(2, 0, 1)
    at = torch.tensor([[[0.5, 0.5], [7.25, 3.5], [39.5, 29.5], [12.0, 20.75]]])
    torch.testing.assert_close(sample(ramp, at).permute(1, 2, 0), at)
    torch.testing.assert_close(sample(ramp, centres()), ramp)
    beyond = torch.tensor([[[-5.0, 3.5], [45.0, 31.0]]])
    expected = torch.tensor([[[0.5, 3.5], [39.5, 29.5]]])
    torch.testing.assert_close(sample(ramp, beyond).permute(1, 2, 0), expected)


def in_front_of_a_wall() -> torch.Tensor:
    """(H, W): a wall at depth 8, before it a board at depth 4, seen in the columns 15 to 24."""
    depth = torch.full((HEIGHT, WIDTH), 8.0)
    depth[:, 15:25] = 4.0
    return depth


def test_a_board_hides_the_wall_from_a_camera_on_the_other_side():
    """From x = 1 the board moves by 10 pixels and the wall by 5: what the board now covers is not seen."""
    everything = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    depth = in_front_of_a_wall()
    aside = camera(x=1.0)
    pixels, distance = reproject(camera(), aside, depth)
    seen = in_sight(pixels, distance, everything, aside)
    # The board lands on the columns 5 to 14, the wall's columns 10 to 14 with it; 0 to 4 are out.
    expected = torch.ones(WIDTH, dtype=torch.bool)
    expected[:5] = False
    expected[10:15] = False
    wrong = (seen != expected).float().mean(dim=0)
    assert float(wrong[[column for column in range(WIDTH) if column not in (9, 15)]].max()) == 0
    assert seen[:, 15:25].all()

    without_board = in_sight(pixels, distance, depth == 8.0, aside)
    assert without_board[:, 10:15].all()
    assert not without_board[:, 15:25].any()


def test_a_slanted_surface_does_not_hide_itself():
    """Even in a coarse picture, where its depth changes much from pixel to pixel: up to 70 degrees here."""
    depth = plane_depth(torch.tensor([0.7, 0.0, 0.71]), 3.0)
    assert float((depth[:, 0::2] / depth[:, 1::2]).max()) > 1.03
    pixels, distance = reproject(camera(), camera(), depth)
    assert in_sight(pixels, distance, depth > 0, camera()).all()


# ---- a painted wall, photographed


def wall_colours(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(3, ...): the paint of the wall z = 5 at these world coordinates."""
    return torch.stack([0.5 + 0.1 * x, 0.5 + 0.1 * y, 0.5 + 0.05 * (x - y)]).clamp(0, 1)


def wall_view(seen: Camera, alpha: float = 1.0) -> View:
    """The wall z = 5 from a camera that looks straight at it."""
    depth = torch.full((HEIGHT, WIDTH), 5.0 - float(seen.position[2]))
    points = rays() * depth[..., None] + seen.position
    rgb = wall_colours(points[..., 0], points[..., 1])
    return View(seen, rgb, torch.full((1, HEIGHT, WIDTH), alpha), depth[None])


def photographed(seen: Camera, folder: Path, *, shade: float = 1.0, mask: np.ndarray | None = None) -> Camera:
    """The camera with its photograph of the wall, in a file."""
    path = folder / f"{len(list(folder.iterdir()))}.png"
    picture = (wall_view(seen).rgb * shade).permute(1, 2, 0).numpy()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(path)
    mask_path = None
    if mask is not None:
        mask_path = path.with_suffix(".mask.png")
        Image.fromarray(mask).save(mask_path)
    photograph = Photograph(path, WIDTH, HEIGHT, PixelCache(10**6), mask_path=mask_path)
    return replace(seen, photograph=photograph)


def test_what_two_photographs_show_is_certain_and_what_one_shows_by_half(tmp_path):
    """From x = -1.5 and x = 1.5, of the wall that the view sees 12 columns are out of the picture."""
    photographers = [photographed(camera(x), tmp_path) for x in (-1.5, 1.5)]
    known, reference = certainty(wall_view(camera(), alpha=0.75), photographers)
    expected = torch.full((HEIGHT, WIDTH), 0.75)
    expected[:, :12] /= 2
    expected[:, -12:] /= 2
    torch.testing.assert_close(known, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(reference, wall_view(camera()).rgb, atol=1 / 255, rtol=0)


def test_what_no_photograph_shows_is_not_known(tmp_path):
    known, reference = certainty(smeared(wall_view(camera())), [photographed(camera(-1.5), tmp_path)])
    assert torch.equal(known[:, -12:], torch.zeros(HEIGHT, 12))
    assert torch.equal(reference[:, :, -12:], smeared(wall_view(camera())).rgb[:, :, -12:])
    seen = reference[:, :, :-12]
    torch.testing.assert_close(seen, wall_view(camera()).rgb[:, :, :-12], atol=1 / 255, rtol=0)


def smeared(view: View, by: float = 0.02) -> View:
    """The view with other colours than the photographs'."""
    return replace(view, rgb=view.rgb + by)


@pytest.mark.parametrize(("difference", "agreement"), [(0.0, 1.0), (0.025, 0.75), (0.04, 0.36), (0.055, 0.0)])
def test_agreement_falls_with_the_square_of_the_difference(tmp_path, difference, agreement):
    photographers = [photographed(camera(x), tmp_path) for x in (0.0, 0.01)]
    known, _ = certainty(smeared(wall_view(camera()), difference), photographers)
    middle = known[5:25, 10:30]
    torch.testing.assert_close(middle, torch.full_like(middle, agreement), atol=0.05, rtol=0)


def test_a_witness_who_disagrees_counts(tmp_path):
    shades = (1.0, 1.0, 0.5)
    photographers = [photographed(camera(x / 100), tmp_path, shade=shade) for x, shade in enumerate(shades)]
    known, _ = certainty(wall_view(camera()), photographers)
    middle = known[5:25, 10:30]
    torch.testing.assert_close(middle, torch.full_like(middle, 2 / 3), atol=0.01, rtol=0)


def test_a_single_pixel_that_agrees_by_chance_does_not_convince(tmp_path):
    view = smeared(wall_view(camera()), 0.3)
    view.rgb[:, 15, 20] -= 0.3
    known, _ = certainty(view, [photographed(camera(x), tmp_path) for x in (0.0, 0.01)])
    assert not known.any()


def test_wrong_depth_makes_a_picture_uncertain(tmp_path):
    """At a third of the depth the photographs' pixels are others."""
    view = wall_view(camera())
    photographers = [photographed(camera(x), tmp_path) for x in (-1.5, 1.5)]
    right, _ = certainty(view, photographers)
    wrong, _ = certainty(replace(view, depth=view.depth / 3), photographers)
    assert float(right.mean()) > 0.6
    assert float(wrong.mean()) < 0.1


@pytest.mark.parametrize("change", [{"alpha": 0.4}, {"depth": 0.0}], ids=["thin", "nothing"])
def test_without_a_surface_nothing_is_certain(tmp_path, change):
    view = wall_view(camera())
    layers: dict[str, Any] = {name: torch.full((1, HEIGHT, WIDTH), value) for name, value in change.items()}
    view = replace(view, **layers)
    known, reference = certainty(view, [photographed(camera(), tmp_path)])
    assert torch.equal(known, torch.zeros(HEIGHT, WIDTH))
    assert torch.equal(reference, view.rgb)


def test_what_a_mask_leaves_out_is_not_known(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :20] = 255
    known, _ = certainty(wall_view(camera()), [photographed(camera(), tmp_path, mask=mask)])
    torch.testing.assert_close(known, torch.from_numpy(mask).float() / 255 / 2, atol=0.01, rtol=0)


def test_the_nearest_photograph_that_agrees_has_the_word(tmp_path):
    near, far = camera(0.1), camera(0.2)
    dimmed, true = photographed(near, tmp_path, shade=0.95), photographed(far, tmp_path)
    view = wall_view(camera())
    _, reference = certainty(view, [true, dimmed])
    torch.testing.assert_close(reference[:, 5:25, 5:35], 0.95 * view.rgb[:, 5:25, 5:35], atol=0.005, rtol=0)
    others = [photographed(camera(x), tmp_path, shade=0.5) for x in (0.01, 0.02)]
    _, reference = certainty(view, [true, *others])
    torch.testing.assert_close(reference[:, 5:25, 5:35], view.rgb[:, 5:25, 5:35], atol=0.005, rtol=0)


def test_warped_photographs_show_what_any_of_them_sees_and_of_several_the_nearest(tmp_path):
    """Whether the rendering agrees or not. From x = 1 the wall's first 8 columns are out of sight."""
    view, near = smeared(wall_view(camera()), 0.3), photographed(camera(1.0), tmp_path, shade=0.5)
    truth = wall_view(camera()).rgb
    picture, seen = warped_photographs(view, [near])
    assert seen[:, 8:].all() and not seen[:, :8].any() and not picture[:, :, :8].any()
    torch.testing.assert_close(picture[:, :, 8:], 0.5 * truth[:, :, 8:], atol=1 / 255, rtol=0)

    picture, seen = warped_photographs(view, [photographed(camera(-1.5), tmp_path), near])
    assert seen.all()
    torch.testing.assert_close(picture[:, :, 8:], 0.5 * truth[:, :, 8:], atol=1 / 255, rtol=0)
    torch.testing.assert_close(picture[:, :, :8], truth[:, :, :8], atol=1 / 255, rtol=0)


def test_the_nearest_photographers_are_asked():
    photographers = [camera(x) for x in (5.0, -1.0, 2.0, -3.0, 0.5, 4.0)]
    found = [float(it.position[0]) for it in nearest(camera(), photographers)]
    assert found == pytest.approx([0.5, -1.0, 2.0, -3.0])
