"""Milliseconds of the CPU rasteriser, forward and backward, projection and binning included.

    python benchmarks/rasterizer.py
    python benchmarks/rasterizer.py --ply output/fern/point_cloud/iteration_7000/point_cloud.ply \
        --source_path ../shared/data/fern --resolution 2

W1 is 30,000 Gaussians at 400x300, W2 is 100,000 at 800x600, each with spherical harmonics of degree 0 and 3;
with --ply also W3, a trained model from its first training camera. Beside every time stands its ratio to a
fixed loop of exponentials timed in between, which travels better between machines and busy hours.
"""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import numba
import numpy as np
import torch
from torch import Tensor

from gaussian_renderer.cpu import rasterization
from scene.dataset import SceneOptions, load_scene
from scene.gaussians import load_gaussians, sh_degree_of
from utils.errors import run_program
from utils.files import write_json
from utils.memory import keep_freed_memory
from utils.options import parse
from utils.tables import markdown_table

SIZES = {"W1": (30_000, 400, 300), "W2": (100_000, 800, 600)}


@dataclass
class Options:
    """Measures the CPU rasteriser."""

    repeats: int = 15
    """Runs of each workload; the first, which may compile, is not among them."""
    seed: int = 0
    """Seed of the Gaussians."""
    threads: int = 0
    """Threads of Numba and torch; 0: all."""
    ply: Path | None = None
    """A trained model, for W3."""
    source_path: str = ""
    """Its dataset."""
    resolution: int = 1
    """Its images' downscaling."""
    json: Path | None = None
    """File for the figures."""


@dataclass
class Workload:
    """Gaussians with activated values, and a camera."""

    parameters: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    """Means, quats, scales, opacities, coefficients of the colours."""
    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int
    sh_degree: int


def random_workload(count: int, width: int, height: int, sh_degree: int, seed: int) -> Workload:
    """Gaussians uniform over the image and over depths 2 to 10, before a camera at the origin.

    Focal length 0.9 widths; deviations log-normal with median 2.5 px on screen and log sigma 0.6 a axis;
    random rotations; opacities Beta(1.2, 1.2). The coefficients of degree 0 are the same at every degree.
    """
    generator = torch.Generator().manual_seed(seed)
    focal = 0.9 * width
    depth = 2 + 8 * torch.rand(count, generator=generator)
    pixels = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    centre = torch.tensor([width / 2, height / 2])
    means = torch.cat([(pixels - centre) / focal * depth[:, None], depth[:, None]], dim=1)
    log_pixels = math.log(2.5) + 0.6 * torch.randn(count, 3, generator=generator)
    scales = log_pixels.exp() * depth[:, None] / focal
    quats = torch.randn(count, 4, generator=generator)
    shape = torch.full((2, count), 1.2)
    gammas = torch._standard_gamma(shape, generator=generator)
    colours = (torch.rand(count, 1, 3, generator=generator) - 0.5) / 0.28209479
    higher = 0.1 * torch.randn(count, (sh_degree + 1) ** 2 - 1, 3, generator=generator)
    coefficients = torch.cat([colours, higher], dim=1)
    parameters = means, quats, scales, gammas[0] / gammas.sum(dim=0), coefficients
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Workload(parameters, torch.eye(4), intrinsics, width, height, sh_degree)


def trained_workload(ply: Path, source_path: str, resolution: int) -> Workload:
    """A model in a PLY file, seen by the first training camera of its dataset."""
    gaussians, _ = load_gaussians(ply)
    camera = load_scene(
        SceneOptions(source_path=source_path, resolution=resolution, eval=True), 0
    ).train_cameras[0]
    values = {name: tensor.detach() for name, tensor in gaussians.items()}
    colours = torch.cat([values["sh0"], values["shN"]], dim=1)
    activated = values["scales"].exp(), values["opacities"].sigmoid()
    parameters = values["means"], values["quats"], *activated, colours
    view, intrinsics = (
        torch.as_tensor(matrix, dtype=torch.float32) for matrix in (camera.world_to_camera, camera.intrinsics)
    )
    return Workload(parameters, view, intrinsics, camera.width, camera.height, sh_degree_of(gaussians))


@numba.njit(parallel=True)
def exponentials(values: np.ndarray) -> float:
    """The sum of the exponentials: the fixed loop that times are compared with."""
    total = 0.0
    for i in numba.prange(len(values)):
        total += math.exp(values[i])
    return total


def measure(workload: Workload, repeats: int) -> dict[str, float]:
    """Milliseconds of forward and of forward + backward, least and median, and of the fixed loop."""
    means, quats, scales, opacities, colours = workload.parameters
    parameters = [tensor.requires_grad_() for tensor in (means, quats, scales, opacities, colours)]
    gradient = torch.ones(1, 3, workload.height, workload.width).permute(0, 2, 3, 1)
    values = np.linspace(-8.0, 0.0, 4_000_000)
    forward, both, fixed = [], [], []
    pairs = 0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        image, _, meta = rasterization(
            means, quats, scales, opacities, colours, workload.viewmat[None], workload.intrinsics[None],
            workload.width, workload.height, sh_degree=workload.sh_degree, near_plane=0.2, packed=False,
        )  # fmt: skip
        drawn = time.perf_counter()
        torch.autograd.grad(image, parameters, gradient)
        done = time.perf_counter()
        exponentials(values)
        forward.append(1000 * (drawn - start))
        both.append(1000 * (done - start))
        fixed.append(1000 * (time.perf_counter() - done))
        pairs = len(meta["flatten_ids"])
    return {
        "gaussians": len(parameters[0]),
        "pairs": pairs,
        "forward_ms": min(forward[1:]),
        "forward_median_ms": median(forward[1:]),
        "both_ms": min(both[1:]),
        "both_median_ms": median(both[1:]),
        "fixed_loop_ms": min(fixed[1:]),
        "ratio": min(both[1:]) / min(fixed[1:]),
    }


def main(options: Options) -> None:
    """Measures all workloads and prints a table."""
    keep_freed_memory()  # as training does
    if options.threads:
        numba.set_num_threads(options.threads)
        torch.set_num_threads(options.threads)
    workloads = {
        f"{name}, degree {degree}": random_workload(*size, degree, options.seed)
        for name, size in SIZES.items()
        for degree in (0, 3)
    }
    if options.ply is not None:
        workloads["W3"] = trained_workload(options.ply, options.source_path, options.resolution)
    figures = {name: measure(workload, options.repeats) for name, workload in workloads.items()}

    header = [
        "workload",
        "Gaussians",
        "pairs",
        "forward ms",
        "(median)",
        "both ms",
        "(median)",
        "both / loop",
    ]
    rows = [
        [name, str(row["gaussians"]), str(row["pairs"])]
        + [
            f"{row[key]:.1f}"
            for key in ("forward_ms", "forward_median_ms", "both_ms", "both_median_ms", "ratio")
        ]
        for name, row in figures.items()
    ]
    print(f"{numba.get_num_threads()} threads; forward, and forward + backward; least and median of runs")
    print(markdown_table(header, rows))
    if options.json is not None:
        write_json(
            options.json, {"threads": numba.get_num_threads(), "seed": options.seed, "workloads": figures}
        )


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
