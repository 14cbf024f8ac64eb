"""`rasterization`: gsplat's contract, checked; projection, colours, tile lists and blending joined."""

from collections import UserDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussian_renderer.cpu.blending import blend
from gaussian_renderer.cpu.projection import project
from gaussian_renderer.cpu.spherical_harmonics import MAX_DEGREE, colours_from_harmonics
from gaussian_renderer.cpu.tiles import TILE, sorting_keys, tile_lists

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")


SORTED = ("isect_ids", "flatten_ids")


class Meta(UserDict[str, Any]):
    """What a pass leaves for those who need it; the pairs' sorting keys are made when first asked for."""

    def __init__(self, known: dict[str, Any], sort: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        super().__init__(known | dict.fromkeys(SORTED))
        self._sort = sort

    def __getitem__(self, name: str) -> Any:
        if name in SORTED and self.data[name] is None:
            gaussians, keys = map(torch.from_numpy, self._sort())
            self.data |= zip(SORTED, (keys, gaussians), strict=True)
        return super().__getitem__(name)


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor | tuple[Tensor, Tensor],
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = False,
    tile_size: int = TILE,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    channel_chunk: int = 32,
    **unsupported,
) -> tuple[Tensor, Tensor, Meta]:
    """Images of Gaussians seen by cameras, as `gsplat.rasterization` (1.5.3) makes them, on the CPU.

    Differentiable in means, quats, scales, opacities, colors, viewmats and backgrounds. Two differences:
    `packed` is False unless asked for (and may not be asked for), and a Gaussian with anything that is not
    finite is not drawn. Same bits at any number of threads.

    Args:
        means: (N, 3) float32, world frame, scene units.
        quats: (N, 4) float32, w x y z, of any length but zero.
        scales: (N, 3) float32, deviations, scene units.
        opacities: (N,) float32 in [0, 1].
        colors: (N, D) or (C, N, D) float32 values, any D; or, with `sh_degree`, (N, K, 3) or (C, N, K, 3)
            coefficients of spherical harmonics, to which 0.5 is added, then clamped at 0. Beyond gsplat:
            coefficients may come in two parts, (N, 1, 3) and (N, K - 1, 3), as they are trained; that
            spares copying most of a model each way.
        viewmats: (C, 4, 4) float32, world to camera, OpenCV axes.
        Ks: (C, 3, 3) float32, pixels; skew is ignored.
        width, height: pixels.
        near_plane, far_plane: Gaussians with centres nearer or farther are not drawn, scene units.
        radius_clip: Gaussians of no larger radius are not drawn, pixels.
        eps2d: added to both variances on the image, px^2.
        sh_degree: 0 to 3, at most what `colors` holds; None for values.
        packed, sparse_grad: only False.
        tile_size: only 16.
        backgrounds: (C, D) float32, shown where the Gaussians let it through.
        render_mode: "RGB", "D" (summed depth), "ED" (expected depth), "RGB+D", "RGB+ED" (depth last).
        absgrad: backward leaves `meta["means2d"].absgrad`, (C, N, 2).
        rasterize_mode: "classic", or "antialiased" (Mip-Splatting's opacity compensation).
        channel_chunk: of no effect; any number of channels is drawn in one go.
        unsupported: gsplat's further arguments, at their defaults.

    Returns:
        colours: (C, H, W, D or D + 1 or 1) float32 (in memory, channels lie before rows).
        alphas: (C, H, W, 1) float32.
        meta: a mapping with the keys and values of gsplat's dictionary, unpacked layout; `isect_ids` and
            `flatten_ids` are made when asked for.

    Raises:
        ValueError: a tensor of wrong shape, type or device, or a value out of range; names the argument.
        NotImplementedError: something of gsplat's that this engine does not do; names the argument.
    """
    _refuse(packed=packed, tile_size=tile_size, sparse_grad=sparse_grad, **unsupported)
    _check_tensors(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree)
    _check_values(width, height, near_plane, far_plane, radius_clip, eps2d, render_mode, rasterize_mode)
    cameras, antialiased = len(viewmats), rasterize_mode == "antialiased"

    radii, means2d, depths, conics, compensations = project(
        means, quats, scales, opacities, viewmats, Ks,
        width, height, eps2d, near_plane, far_plane, radius_clip, antialiased,
    )  # fmt: skip
    # For one camera a view, since the way back from `expand` is a sum.
    shown_opacities = opacities[None] if cameras == 1 else opacities.expand(cameras, -1)
    if antialiased:
        shown_opacities = shown_opacities * compensations

    layers = []
    if render_mode not in ("D", "ED"):
        layers.append(_colour_values(means, colors, viewmats, radii, sh_degree))
    if backgrounds is not None:
        channels = colors[0].shape[-1] if isinstance(colors, tuple) else colors.shape[-1]
        _check_shape("backgrounds", backgrounds, (cameras, channels))
    if render_mode != "RGB":
        layers.append(depths[..., None])
    values = torch.cat(layers, dim=-1) if len(layers) > 1 else layers[0]

    columns, rows = -(-width // TILE), -(-height // TILE)
    projected = [means2d, radii, depths, conics, shown_opacities, values]
    arrays = [tensor.detach().contiguous().numpy() for tensor in projected]
    lists = tile_lists(columns, rows, *arrays)
    image, alphas = blend(means2d, conics, values, shown_opacities, lists, width, height, absgrad)
    image = _finish(image, alphas, backgrounds, render_mode)

    tiles_per_gauss = torch.from_numpy(lists.slot_offsets).diff().view(radii.shape[:2])
    known = {
        "batch_ids": None,
        "camera_ids": None,
        "gaussian_ids": None,
        "radii": radii,
        "means2d": means2d,
        "depths": depths,
        "conics": conics,
        "opacities": shown_opacities,
        "tile_width": columns,
        "tile_height": rows,
        "tiles_per_gauss": tiles_per_gauss,
        "isect_offsets": torch.from_numpy(lists.offsets[:-1]).view(cameras, rows, columns),
        "width": width,
        "height": height,
        "tile_size": TILE,
        "n_batches": 1,
        "n_cameras": cameras,
    }
    meta = Meta(known, partial(sorting_keys, lists, arrays[2], columns * rows))
    return image.permute(0, 2, 3, 1), alphas[..., None], meta


def _colour_values(
    means: Tensor,
    colors: Tensor | tuple[Tensor, Tensor],
    viewmats: Tensor,
    radii: Tensor,
    sh_degree: int | None,
) -> Tensor:
    """The colours (C, N, D) that every camera sees."""
    if sh_degree is None:
        assert isinstance(colors, Tensor)
        return colors.expand(len(viewmats), -1, -1) if colors.dim() == 2 else colors
    positions = torch.linalg.inv(viewmats)[:, :3, 3].contiguous()
    constant, rest = colors if isinstance(colors, tuple) else (colors[..., :1, :], colors[..., 1:, :])
    if constant.dim() == 3:
        constant, rest = constant[None], rest[None]
    return colours_from_harmonics(
        sh_degree, means, positions, constant.contiguous(), rest.contiguous(), radii
    )


def _finish(image: Tensor, alphas: Tensor, backgrounds: Tensor | None, render_mode: str) -> Tensor:
    """The image (C, D, H, W) with its background, and with summed depth turned into expected depth."""
    depth = render_mode != "RGB"
    if backgrounds is not None and render_mode not in ("D", "ED"):
        shown = torch.nn.functional.pad(backgrounds, (0, 1)) if depth else backgrounds
        image = image + shown[:, :, None, None] * (1 - alphas[:, None])
    if render_mode in ("ED", "RGB+ED"):
        expected = image[:, -1:] / alphas[:, None].clamp(min=1e-10)
        image = torch.cat([image[:, :-1], expected], dim=1) if image.shape[1] > 1 else expected
    return image


# What the engine does not do, and the only value it takes; gsplat's defaults, but for `packed`.
_ONLY = {
    "packed": False,
    "tile_size": TILE,
    "sparse_grad": False,
    "distributed": False,
    "camera_model": "pinhole",
    "segmented": False,
    "covars": None,
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "rolling_shutter": None,
    "viewmats_rs": None,
}


def _refuse(**arguments) -> None:
    """Raises for the first argument that asks for something the CPU engine does not do."""
    for name, value in arguments.items():
        if name not in _ONLY:
            raise TypeError(f"rasterization() got an unexpected keyword argument {name!r}")
        # gsplat's default rolling shutter is an enumeration's member, GLOBAL, that we must not import.
        if name == "rolling_shutter" and getattr(value, "name", None) == "GLOBAL":
            continue
        if value is not _ONLY[name] and (isinstance(value, Tensor) or value != _ONLY[name]):
            shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise NotImplementedError(
                f"{name}: the CPU rasteriser takes only {_ONLY[name]!r}, got {shown}; CUDA does more"
            )


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises unless `tensor` is float32 on the CPU and of this shape."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: expected a tensor of shape {shape}, got {type(tensor).__name__}")
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        raise ValueError(f"{name}: expected float32 on the CPU, got {tensor.dtype} on {tensor.device}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")


def _check_tensors(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree) -> None:
    """Raises for the first tensor that does not fit the others, and for cameras that are not finite."""
    count = len(means) if isinstance(means, Tensor) and means.dim() else 0
    cameras = len(viewmats) if isinstance(viewmats, Tensor) and viewmats.dim() else 0
    _check_shape("means", means, (count, 3))
    _check_shape("quats", quats, (count, 4))
    _check_shape("scales", scales, (count, 3))
    _check_shape("opacities", opacities, (count,))
    _check_shape("viewmats", viewmats, (cameras, 4, 4))
    _check_shape("Ks", Ks, (cameras, 3, 3))
    if cameras == 0:
        raise ValueError("viewmats: expected at least one camera, got none")
    for name, tensor in (("viewmats", viewmats), ("Ks", Ks)):
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name}: expected finite numbers")
    if not bool((Ks[:, [0, 1], [0, 1]] > 0).all()):
        raise ValueError("Ks: expected positive focal lengths")

    if isinstance(colors, tuple) and len(colors) == 2 and sh_degree is not None:
        bases = 1 + (colors[1].shape[1] if colors[1].dim() == 3 else 0)
        _check_shape("colors[0]", colors[0], (count, 1, 3))
        _check_shape("colors[1]", colors[1], (count, bases - 1, 3))
        _check_degree(sh_degree, bases)
        return
    if not isinstance(colors, Tensor) or colors.dim() < 2:
        raise ValueError("colors: expected a tensor of at least two axes")
    tail = (colors.shape[-1],) if sh_degree is None else (colors.shape[-2], 3)
    per_camera = colors.dim() == len(tail) + 2
    _check_shape("colors", colors, (*((cameras,) if per_camera else ()), count, *tail))
    if sh_degree is None:
        if colors.shape[-1] == 0:
            raise ValueError("colors: expected at least one channel, got none")
    else:
        _check_degree(sh_degree, colors.shape[-2])


def _check_degree(sh_degree: int, bases: int) -> None:
    """Raises unless the degree is one that we have and the coefficients reach it."""
    if sh_degree not in range(MAX_DEGREE + 1):
        raise ValueError(f"sh_degree: expected 0 to {MAX_DEGREE} or None, got {sh_degree}")
    if bases < (sh_degree + 1) ** 2:
        raise ValueError(f"sh_degree: {sh_degree} needs {(sh_degree + 1) ** 2} bases, colors has {bases}")


def _check_values(
    width, height, near_plane, far_plane, radius_clip, eps2d, render_mode, rasterize_mode
) -> None:
    """Raises for the first plain value out of its range."""
    for name, size in (("width", width), ("height", height)):
        if size != int(size) or size < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, got {size}")
    if not 0 < near_plane <= far_plane:
        raise ValueError(
            f"near_plane: expected a positive depth up to far_plane {far_plane}, got {near_plane}"
        )
    for name, value in (("radius_clip", radius_clip), ("eps2d", eps2d)):
        if not value >= 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {value}")
    for name, mode, modes in (
        ("render_mode", render_mode, RENDER_MODES),
        ("rasterize_mode", rasterize_mode, RASTERIZE_MODES),
    ):
        if mode not in modes:
            raise ValueError(f"{name}: expected one of {', '.join(modes)}, got {mode!r}")
