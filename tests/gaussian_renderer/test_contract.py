"""The CPU engine keeps gsplat's contract: arguments, refusals, meta; gsplat's own strategy runs on it."""

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import gsplat
import pytest
import torch
from gsplat import DefaultStrategy
from gsplat.rendering import RollingShutterType

from gaussian_renderer import render
from gaussian_renderer.cpu import rasterization
from gaussian_renderer.engines import CPU_CANNOT, Engine
from scene.cameras import Camera
from tests.gaussian_renderer.scenes import random_scene, run
from tests.programs import ROOT

THEIRS = inspect.signature(gsplat.rasterization).parameters
OURS = {
    name: parameter
    for name, parameter in inspect.signature(rasterization).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
}
META = {
    "radii": ((2, 60, 2), torch.int32),
    "means2d": ((2, 60, 2), torch.float32),
    "depths": ((2, 60), torch.float32),
    "conics": ((2, 60, 3), torch.float32),
    "opacities": ((2, 60), torch.float32),
    "tiles_per_gauss": ((2, 60), torch.int32),
    "isect_offsets": ((2, 2, 3), torch.int32),
}


def test_the_signature_is_the_beginning_of_gsplats():
    assert list(OURS) == list(THEIRS)[: len(OURS)]
    for name, parameter in OURS.items():
        if name != "packed":  # True there, which is refused here
            assert parameter.default == THEIRS[name].default, name


def other_value(name: str):
    """A value that gsplat would take and that is not what the CPU engine can do."""
    kinds = {"camera_model": "fisheye", "rolling_shutter": RollingShutterType.ROLLING_TOP_TO_BOTTOM}
    return kinds.get(name, True if isinstance(THEIRS[name].default, bool) else torch.zeros(1, 6))


@pytest.mark.parametrize("name", CPU_CANNOT)
def test_what_the_engine_cannot_do_is_refused_by_name(name):
    scene = random_scene(0)
    with pytest.raises(NotImplementedError, match=name):
        rasterization(**(scene | {name: other_value(name)}))
    if name != "packed":
        rasterization(**(scene | {name: THEIRS[name].default}))


def test_every_argument_of_gsplat_is_taken_or_declared():
    assert set(CPU_CANNOT) <= set(THEIRS)
    assert set(OURS) | set(CPU_CANNOT) == set(THEIRS)


def test_another_tile_size_is_refused():
    with pytest.raises(NotImplementedError, match="tile_size"):
        rasterization(**random_scene(0), tile_size=8)


def test_an_argument_that_gsplat_has_not_is_refused():
    with pytest.raises(TypeError, match="colours"):
        rasterization(**random_scene(0), colours=torch.zeros(60, 3))


MISTAKES: dict[str, tuple[str, object]] = {
    "render mode": ("render_mode", "RGBD"),
    "rasterize mode": ("rasterize_mode", "blurred"),
    "degree too high": ("sh_degree", 4),
    "degree beyond the coefficients": ("sh_degree", 3),
    "no width": ("width", 0),
    "negative height": ("height", -3),
    "near plane at the camera": ("near_plane", 0.0),
    "negative blur": ("eps2d", -0.1),
    "blur not a number": ("eps2d", float("nan")),
    "negative clip": ("radius_clip", -1.0),
    "means of two axes": ("means", torch.zeros(60, 2)),
    "means in float64": ("means", torch.zeros(60, 3, dtype=torch.float64)),
    "quaternions for others": ("quats", torch.zeros(59, 4)),
    "one scale": ("scales", torch.zeros(60, 1)),
    "opacities with an axis": ("opacities", torch.zeros(60, 1)),
    "colours without channels": ("colors", torch.zeros(60)),
    "camera without its axis": ("viewmats", torch.eye(4)),
    "cameras without intrinsics": ("viewmats", torch.eye(4).repeat(2, 1, 1)),
    "focal length zero": ("Ks", torch.zeros(1, 3, 3)),
    "background of other channels": ("backgrounds", torch.zeros(1, 4)),
    "not a tensor": ("means", [[0.0, 0.0, 1.0]]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_value_is_refused_by_name(mistake):
    name, value = MISTAKES[mistake]
    scene = random_scene(0, sh_degree=2 if name == "sh_degree" else None)
    named = "Ks" if mistake == "cameras without intrinsics" else name
    with pytest.raises(ValueError, match=named):
        rasterization(**(scene | {name: value}))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_meta(rasterize_mode):
    scene = random_scene(0, cameras=2)
    image, alpha, meta = rasterization(**scene, rasterize_mode=rasterize_mode)
    assert image.shape == (2, 29, 37, 3)
    assert alpha.shape == (2, 29, 37, 1)
    assert image.dtype == alpha.dtype == torch.float32
    for name, (shape, dtype) in META.items():
        assert (tuple(meta[name].shape), meta[name].dtype) == (shape, dtype), name
    plain: dict = {"width": 37, "height": 29, "tile_width": 3, "tile_height": 2, "tile_size": 16}
    plain |= {"n_batches": 1, "n_cameras": 2, "batch_ids": None, "camera_ids": None, "gaussian_ids": None}
    assert {name: meta[name] for name in plain} == plain
    assert set(meta) == set(META) | set(plain) | {"isect_ids", "flatten_ids"}


def test_tile_lists_in_meta():
    """As gsplat's: pairs of (image, tile, depth) in ascending order, and which Gaussian each one is."""
    _, _, meta = rasterization(**random_scene(0, cameras=2))
    ids, flat, offsets = meta["isect_ids"], meta["flatten_ids"], meta["isect_offsets"].flatten()
    assert (ids.dtype, flat.dtype) == (torch.int64, torch.int32)
    assert len(ids) == len(flat) == meta["tiles_per_gauss"].sum()
    assert (ids.diff() >= 0).all()
    assert torch.equal(torch.bincount(flat, minlength=120).int(), meta["tiles_per_gauss"].flatten())
    depth_bits = meta["depths"].flatten()[flat.long()].view(torch.int32).long()
    assert torch.equal(ids & 0xFFFFFFFF, depth_bits)
    # gsplat spends floor(log2(tiles)) + 1 bits on the tile, here 3 for 6 tiles; the image lies above
    image, tile = ids >> 35, (ids >> 32) & 7
    assert torch.equal(image, flat.long() // 60)
    starts = torch.searchsorted(image * 6 + tile, torch.arange(12))
    assert torch.equal(starts.int(), offsets)


def test_sorting_keys_are_made_when_they_are_asked_for_by_whatever_way():
    scene = random_scene(0)
    for ask in (lambda m: m["flatten_ids"], lambda m: m.get("flatten_ids"), lambda m: dict(m)["flatten_ids"]):
        _, _, meta = rasterization(**scene)
        assert meta.data["flatten_ids"] is None
        assert len(ask(meta)) == meta["tiles_per_gauss"].sum() == len(meta["isect_ids"])


def test_nothing_is_compiled_again_in_another_process():
    program = (
        "from gaussian_renderer.cpu import rasterization\n"
        "from tests.gaussian_renderer.scenes import random_scene\n"
        "scene = random_scene(0)\n"
        "scene['means'].requires_grad_()\n"
        "rasterization(**scene)[0].sum().backward()"
    )
    for _ in range(2):  # the first fills the cache, if need be
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert "compiling" not in done.stdout + done.stderr


def test_positional_and_keyword_calls_are_the_same():
    scene = random_scene(0)
    image, _, _ = rasterization(*scene.values())
    assert torch.equal(image, run(rasterization, scene).image)


def model(count: int = 60) -> tuple[torch.nn.ParameterDict, dict[str, torch.optim.Optimizer]]:
    """A random model in gsplat's names, and an optimiser for each entry."""
    scene = random_scene(0, count=count, sh_degree=1)
    gaussians = torch.nn.ParameterDict(
        {
            "means": scene["means"],
            "scales": scene["scales"].log(),
            "quats": scene["quats"],
            "opacities": scene["opacities"].logit(),
            "sh0": scene["colors"][:, :1],
            "shN": scene["colors"][:, 1:],
        }
    )
    optimizers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam([{"params": [values], "name": name}], lr=1e-3)
        for name, values in gaussians.items()
    }
    return gaussians, optimizers


CAMERA = Camera("view", torch.eye(4), torch.tensor([[35.0, 0, 18.0], [0, 36.0, 15.0], [0, 0, 1]]), 37, 29)
CPU = Engine("cpu", torch.device("cpu"), rasterization)


@pytest.mark.parametrize("absgrad", [False, True])
def test_gsplats_default_strategy_runs_on_it(absgrad):
    gaussians, optimizers = model()
    strategy = DefaultStrategy(
        absgrad=absgrad, grow_grad2d=1e-5, refine_start_iter=0, refine_every=2, reset_every=1000,
        refine_scale2d_stop_iter=10, pause_refine_after_reset=0,
    )  # fmt: skip
    strategy.check_sanity(gaussians, optimizers)
    state = strategy.initialize_state(scene_scale=1.0)
    torch.manual_seed(0)
    for step in (1, 2):
        result = render(
            CAMERA, gaussians, sh_degree=1, background=torch.zeros(3), engine=CPU, absgrad=absgrad
        )
        strategy.step_pre_backward(gaussians, optimizers, state, step, result.info)
        result.rgb.square().mean().backward()
        if step == 1:
            gradient = result.info["means2d"].absgrad if absgrad else result.info["means2d"].grad
            visible = (result.info["radii"][0] > 0).all(dim=-1)
        strategy.step_post_backward(gaussians, optimizers, state, step, result.info, packed=False)
        if step == 1:
            scaled = gradient[0] * torch.tensor([37.0, 29.0]) / 2
            torch.testing.assert_close(state["grad2d"], scaled.norm(dim=-1) * visible)
            assert torch.equal(state["count"], visible.float())
            expected = result.info["radii"][0].max(dim=-1).values / 37 * visible
            torch.testing.assert_close(state["radii"], expected)
    assert len(gaussians["means"]) != 60, "it grew or pruned what the second step told it to"


def test_absgrad_is_there_only_when_asked_for():
    gaussians, _ = model()
    for absgrad in (False, True):
        result = render(
            CAMERA, gaussians, sh_degree=1, background=torch.zeros(3), engine=CPU, absgrad=absgrad
        )
        result.info["means2d"].retain_grad()
        result.rgb.sum().backward()
        assert hasattr(result.info["means2d"], "absgrad") == absgrad


def test_render_composites_the_background_and_gives_expected_depth():
    gaussians, _ = model()
    background = torch.tensor([0.9, 0.5, 0.1])
    result = render(CAMERA, gaussians, sh_degree=1, background=background, engine=CPU, depth=True)
    scene = {
        "means": gaussians["means"],
        "quats": gaussians["quats"],
        "scales": gaussians["scales"].exp(),
        "opacities": gaussians["opacities"].sigmoid(),
        "colors": torch.cat([gaussians["sh0"], gaussians["shN"]], dim=1),
        "viewmats": CAMERA.world_to_camera[None],
        "Ks": CAMERA.intrinsics[None],
        "width": 37,
        "height": 29,
        "sh_degree": 1,
        "near_plane": 0.2,
    }
    image, alpha, _ = rasterization(**scene, backgrounds=background[None], render_mode="RGB+ED")
    torch.testing.assert_close(result.rgb, image[0, ..., :3].permute(2, 0, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(result.alpha, alpha[0].permute(2, 0, 1), rtol=0, atol=1e-6)
    assert result.depth is not None
    torch.testing.assert_close(result.depth, image[0, ..., 3:].permute(2, 0, 1), rtol=1e-5, atol=1e-5)
    seen = result.alpha > 0
    assert seen.any()
    assert result.depth[seen].min() >= 0.2
    assert not result.depth[~seen].any()


def test_render_passes_the_references_near_plane():
    """Between gsplat's near plane (0.01) and the reference's (0.2) nothing is drawn."""
    gaussians, _ = model()
    with torch.no_grad():
        gaussians["means"][:, 2] = 0.19
    result = render(CAMERA, gaussians, sh_degree=1, background=torch.ones(3), engine=CPU)
    assert (result.rgb == 1).all()


def test_a_camera_draws_nothing_before_its_own_near_plane():
    """A camera whose near plane lies behind half of the Gaussians sees the other half, and moves no other."""
    gaussians, _ = model()
    near = float(gaussians["means"][:, 2].detach().median()) + 1e-4
    result = render(
        replace(CAMERA, near_plane=near), gaussians, sh_degree=1, background=torch.ones(3), engine=CPU
    )
    result.rgb.sum().backward()
    hidden = gaussians["means"].detach()[:, 2] < near
    moved = gaussians["means"].grad.abs().sum(dim=1) > 0
    assert hidden.any() and moved.any() and not (hidden & moved).any()


@pytest.mark.parametrize("degree", [0, 2, 3])
def test_coefficients_in_two_parts_are_those_in_one(degree):
    """The pair (degree 0, the rest) gives the image and the gradients of the concatenated tensor."""
    generator = torch.Generator().manual_seed(5)
    means = torch.randn(40, 3, generator=generator) * 0.5 + torch.tensor([0.0, 0.0, 4.0])
    common: dict[str, Any] = {
        "means": means,
        "quats": torch.randn(40, 4, generator=generator),
        "scales": torch.rand(40, 3, generator=generator) * 0.2,
        "opacities": torch.rand(40, generator=generator),
        "viewmats": torch.eye(4)[None],
        "Ks": torch.tensor([[[40.0, 0, 20], [0, 40, 16], [0, 0, 1]]]),
        "width": 40,
        "height": 32,
        "sh_degree": degree,
    }
    constant = torch.randn(40, 1, 3, generator=generator)
    rest = torch.randn(40, 15, 3, generator=generator)
    whole = torch.cat([constant, rest], dim=1).requires_grad_()
    expected, _, _ = rasterization(colors=whole, **common)
    expected.square().sum().backward()
    parts = (constant.requires_grad_(), rest.requires_grad_())
    image, _, _ = rasterization(colors=parts, **common)
    image.square().sum().backward()
    assert torch.equal(image, expected)
    gradients = [part.grad for part in (*parts, whole) if part.grad is not None]
    assert torch.equal(torch.cat(gradients[:2], dim=1), gradients[2])
    with pytest.raises(ValueError, match=r"colors\[1\]"):
        rasterization(colors=(constant, rest[:7]), **common)
