"""What a photograph's pixels tell: how sharp it is, how bright, and whether it is there twice."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scene.cameras import Camera
from utils.images import laplacian

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear sRGB, ITU-R BT.709
DARKEST, BRIGHTEST = 8, 247  # bytes; what lies beyond may be cut off and tells no exposure
FEWEST = 20  # points shared with other photographs, from which on they tell a photograph's exposure
ROUNDS = 20  # of the alternation between points and photographs


@dataclass(frozen=True, eq=False)
class Look:
    """A photograph's measures.

    Attributes:
        sharpness: see the function; NaN where nothing counts.
        brightness: log2 of the mean linear luminance; NaN where nothing counts.
        at_points: (M,) float32 log2 of the linear luminance at points; NaN where it is cut off or not inside.
        digest: the same for the same pixels.
        transparent: whether a part is.
        nbytes: memory that the decoded photograph takes.
    """

    sharpness: float
    brightness: float
    at_points: NDArray[np.float32]
    digest: bytes
    transparent: bool
    nbytes: int


def look(camera: Camera, positions: NDArray[np.floating]) -> Look:
    """The measures of the camera's photograph, over those pixels that count.

    Args:
        camera: with a photograph.
        positions: (M, 3), world frame: the points seen in it.
    """
    pixels = camera.own_photograph.pixels()
    counts = pixels.shown
    luminance = _linear(pixels.rgb) @ LUMINANCE
    brightness = np.log2(max(float(luminance[counts].mean()), 1e-6)) if counts.any() else np.nan
    return Look(
        sharpness=sharpness(pixels.rgb @ LUMINANCE, counts),
        brightness=float(brightness),
        at_points=_at_points(camera, luminance, pixels.rgb, positions),
        digest=hashlib.sha256(pixels.rgb.tobytes()).digest(),
        transparent=pixels.alpha is not None,
        nbytes=pixels.nbytes,
    )


def sharpness(grey: NDArray[np.float32], counts: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian over that of the same picture at half the size.

    Pictures of the world have the same detail at all scales, so that a sharp one has much the same value
    whatever it shows (within a third of the others' in five scenes); a blur of one pixel's deviation takes
    more than half of it.

    Args:
        grey: (H, W).
        counts: (H, W), which pixels are of account; those round about a pixel must be, too.

    Returns:
        At least 0; NaN where no pixel is of account.
    """
    fine, coarse = _detail(grey, counts), _detail(*_halved(grey, counts))
    return fine / coarse if coarse > 0 else float("nan")


def exposures(looks: Sequence[Look], seen: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.float64]:
    """(B,) how much brighter than the others each photograph shows the same points, in stops, median 0.

    The brightness of points and photographs is fitted in turns, photographs by a median, which shrugs off
    highlights and wrong matches. NaN for a photograph that shares too few points.

    Args:
        looks: of the photographs, `at_points` being those of `seen`.
        seen: for each photograph, its points' rows.
        count: how many points there are.
    """
    rows, views = np.concatenate(seen), np.repeat(np.arange(len(seen)), [len(each) for each in seen])
    values = np.concatenate([each.at_points for each in looks]).astype(np.float64)
    good = np.isfinite(values)
    good &= (np.bincount(rows[good], minlength=count) >= 2)[rows]
    rows, views, values = rows[good], views[good], values[good]
    shares = np.bincount(views, minlength=len(looks)) >= FEWEST
    stops = np.zeros(len(looks))
    times = np.maximum(np.bincount(rows, minlength=count), 1)
    for _ in range(ROUNDS):
        points = np.bincount(rows, values - stops[views], minlength=count) / times
        rest = values - points[rows]
        stops = np.array(
            [np.median(rest[views == view]) if shares[view] else 0.0 for view in range(len(looks))]
        )
    stops[~shares] = np.nan
    return stops - np.nanmedian(stops) if shares.any() else stops


def _detail(grey: NDArray[np.float32], counts: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian; NaN where no pixel counts."""
    around = [(slice(None, -2), slice(1, -1)), (slice(2, None), slice(1, -1))]
    around += [each[::-1] for each in around]
    middle = (slice(1, -1), slice(1, -1))
    inner = np.logical_and.reduce([counts[middle], *(counts[each] for each in around)])
    return float(laplacian(grey)[inner].var()) if inner.any() else float("nan")


def _halved(
    grey: NDArray[np.float32], counts: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of 2 x 2 pixels, which count where all four do."""
    height, width = (side // 2 for side in grey.shape)
    blocks = (height, 2, width, 2)
    cut = (slice(2 * height), slice(2 * width))
    return grey[cut].reshape(blocks).mean(axis=(1, 3)), np.all(counts[cut].reshape(blocks), axis=(1, 3))


def _linear(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Linear light in [0, 1] of sRGB bytes (IEC 61966-2-1)."""
    values = np.arange(256) / 255
    table = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[rgb]


def _at_points(
    camera: Camera,
    luminance: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    positions: NDArray[np.floating],
) -> NDArray[np.float32]:
    to_camera = camera.world_to_camera.numpy().astype(np.float64)
    local = positions @ to_camera[:3, :3].T + to_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = (local @ camera.intrinsics.numpy().astype(np.float64).T)[:, :2] / local[:, 2:]
        inside = (
            (local[:, 2] > 0)
            & (places >= 0).all(axis=1)
            & (places < (camera.width, camera.height)).all(axis=1)
        )
    columns, rows = np.where(inside[:, None], places, 0).astype(np.int64).T
    grey = rgb[rows, columns].max(axis=1, initial=0)
    told = inside & (grey >= DARKEST) & (grey <= BRIGHTEST)
    return np.where(told, np.log2(np.maximum(luminance[rows, columns], 1e-6)), np.nan).astype(np.float32)
