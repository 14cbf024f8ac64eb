"""The Gaussians: their parameters, how they start from points, and their PLY file.

A scene is a `ParameterDict` in gsplat's naming, so that gsplat's densification works on it unchanged:

    means (N, 3)  world frame, scene units     scales (N, 3)     natural log of the standard deviations
    quats (N, 4)  w x y z, any length          opacities (N,)    logit
    sh0 (N, 1, 3) degree-0 SH coefficient      shN (N, K-1, 3)   higher SH coefficients, K = (degree + 1)^2
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import Parameter, ParameterDict

from utils.errors import UserError, Warnings
from utils.files import whole_file

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; colour = 0.5 + SH_C0 * coefficient."""

NAMES = ("means", "scales", "quats", "opacities", "sh0", "shN")

RENDER_MODES = {False: "default", True: "mip"}
"""What the PLY's comment `SplatRenderMode` says of a model trained without and with antialiasing."""


def sh_degree_of(gaussians: ParameterDict) -> int:
    """The SH degree that the stored coefficients allow: 0 to 3."""
    return round((gaussians["shN"].shape[1] + 1) ** 0.5) - 1


def _parameters(**tensors: Tensor) -> ParameterDict:
    return ParameterDict({name: Parameter(tensors[name].contiguous()) for name in NAMES})


def mean_neighbour_distance(positions: np.ndarray, fallback: float) -> np.ndarray:
    """Root mean square distance of each point to its three nearest neighbours, the point itself excluded.

    Args:
        positions: (N, 3) float, world frame.
        fallback: what a lone point gets, scene units.

    Returns:
        (N,) float32, scene units, at least sqrt(1e-7) as in the reference.
    """
    neighbours = min(3, len(positions) - 1)
    if neighbours == 0:
        return np.full(len(positions), fallback, np.float32)
    distances, _ = cKDTree(positions).query(positions, k=neighbours + 1, workers=-1)
    squared = (distances[:, 1:] ** 2).mean(axis=1)
    return np.sqrt(np.maximum(squared, 1e-7)).astype(np.float32)


def gaussians_from_points(
    positions: np.ndarray,
    colours: np.ndarray,
    *,
    sh_degree: int = 3,
    extent: float = 1.0,
    opacity: float = 0.1,
    scale: float = 1.0,
) -> ParameterDict:
    """One round Gaussian a point, as large as the gap to its neighbours.

    Args:
        positions: (N, 3) float, world frame.
        colours: (N, 3) uint8 RGB.
        sh_degree: 0 to 3; coefficients beyond degree 0 start at zero.
        extent: scene extent, scene units; a lone point becomes a hundredth of it.
        opacity: activated, in (0, 1).
        scale: factor on the initial standard deviations.
    """
    count = len(positions)
    deviation = mean_neighbour_distance(positions, fallback=0.01 * extent)
    rgb = torch.from_numpy(np.asarray(colours, np.float32) / 255)
    return _parameters(
        means=torch.from_numpy(np.array(positions, np.float32)),
        scales=torch.from_numpy(np.log(scale * deviation))[:, None].repeat(1, 3),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        opacities=torch.full((count,), float(np.log(opacity / (1 - opacity)))),
        sh0=((rgb - 0.5) / SH_C0)[:, None, :],
        shN=torch.zeros(count, (sh_degree + 1) ** 2 - 1, 3),
    )


def _property_names(higher_coefficients: int) -> list[str]:
    """The reference's order; old viewers read the file as a packed struct and never look at the names."""
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(3 * higher_coefficients)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def save_ply(path: Path, gaussians: ParameterDict, *, antialiased: bool = False) -> None:
    """Writes the reference's PLY: little-endian float32, stored (not activated) values, SH channel-major.

    How the model was trained stands in a comment after the line `element vertex` (an old viewer expects that
    line third).
    """
    values = {name: gaussians[name].detach().cpu().numpy() for name in NAMES}
    count, higher = values["shN"].shape[:2]
    columns = np.concatenate(
        [
            values["means"],
            np.zeros((count, 3), np.float32),
            values["sh0"].reshape(count, 3),
            values["shN"].transpose(0, 2, 1).reshape(count, 3 * higher),
            values["opacities"].reshape(count, 1),
            values["scales"],
            values["quats"],
        ],
        axis=1,
        dtype=np.float32,
    )
    names = _property_names(higher)
    vertices = np.ascontiguousarray(columns).view([(name, "<f4") for name in names]).reshape(count)
    element = PlyElement.describe(
        vertices, "vertex", comments=[f"SplatRenderMode: {RENDER_MODES[antialiased]}"]
    )
    with whole_file(path) as file:
        PlyData([element], byte_order="<").write(file)


@dataclass(frozen=True)
class PlyInfo:
    """What a PLY says of itself besides its Gaussians."""

    sh_degree: int
    antialiased: bool
    dropped: int
    """Gaussians left out because a value was not finite."""


def read_vertices(path: Path) -> PlyElement:
    """The element `vertex` of a PLY file; a `UserError` when there is no such file, PLY or element."""
    try:
        ply = PlyData.read(path)
    except FileNotFoundError:
        raise UserError(f"no such PLY file: {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; expected a PLY file") from None
    except (PlyParseError, ValueError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} is not a whole PLY file: {problem}") from None
    if "vertex" not in ply:
        found = ", ".join(element.name for element in ply.elements) or "none"
        raise UserError(f"{path} holds no element 'vertex' (elements found: {found})")
    return ply["vertex"]


def is_splat_ply(vertices: PlyElement) -> bool:
    """Whether the vertices are Gaussians (as opposed to a plain point cloud)."""
    return {"opacity", "scale_0", "rot_0", "f_dc_0"} <= {item.name for item in vertices.properties}


def load_ply(path: Path, warnings: Warnings | None = None) -> tuple[ParameterDict, PlyInfo]:
    """Gaussians from a PLY in the reference's naming; columns are found by name, normals are not needed.

    Args:
        path: the file.
        warnings: where Gaussians with a value that is not finite are reported; they are left out.

    Raises:
        UserError: no such file, not a PLY, or columns missing.
    """
    vertices = read_vertices(Path(path))
    present = {item.name for item in vertices.properties}
    rest = len([name for name in present if name.startswith("f_rest_")])
    higher = rest // 3
    if higher not in (0, 3, 8, 15) or rest % 3:
        raise UserError(f"{path} has {rest} columns f_rest_*; expected 0, 9, 24 or 45 (SH degree 0 to 3)")
    needed = [name for name in _property_names(higher) if name not in ("nx", "ny", "nz")]
    missing = [name for name in needed if name not in present]
    if missing:
        raise UserError(
            f"{path} is no 3D Gaussian PLY: columns missing: {', '.join(missing[:6])}"
            f"{', ...' if len(missing) > 6 else ''}; found: {', '.join(sorted(present)[:12])}"
        )
    table = np.stack([np.asarray(vertices[name], np.float32) for name in needed], axis=1)
    finite = np.isfinite(table).all(axis=1)
    dropped = int((~finite).sum())
    if dropped and warnings is not None:
        warnings.add(f"{dropped} Gaussians with values that are not finite were left out", str(path))
    table = table[finite]
    means, sh0, shn, opacities, scales, quats = np.split(table, np.cumsum([3, 3, rest, 1, 3]), axis=1)
    gaussians = _parameters(
        means=torch.from_numpy(means),
        scales=torch.from_numpy(scales),
        quats=torch.from_numpy(quats),
        opacities=torch.from_numpy(opacities).reshape(-1),
        sh0=torch.from_numpy(sh0)[:, None, :],
        shN=torch.from_numpy(shn).reshape(len(table), 3, higher).transpose(1, 2),
    )
    antialiased = any(line.replace(" ", "") == "SplatRenderMode:mip" for line in vertices.comments)
    return gaussians, PlyInfo(sh_degree_of(gaussians), antialiased, dropped)
