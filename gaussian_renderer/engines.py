"""The two rasterisation engines, and the choice between them: once, with a reason, or forced."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from gaussian_renderer import cuda
from utils.errors import UserError
from utils.kernels import announce_compiling
from utils.memory import keep_freed_memory

CPU_CANNOT: Mapping[str, str] = {
    "packed": "sparse intermediate results",
    "sparse_grad": "sparse gradients",
    "distributed": "several devices",
    "camera_model": "cameras other than pinhole",
    "segmented": "segmented sorting",
    "covars": "covariances in place of quaternions and scales",
    "with_ut": "the unscented transform",
    "with_eval3d": "evaluation of Gaussians in 3D",
    "radial_coeffs": "lens distortion",
    "tangential_coeffs": "lens distortion",
    "thin_prism_coeffs": "lens distortion",
    "ftheta_coeffs": "lens distortion",
    "rolling_shutter": "rolling shutters",
    "viewmats_rs": "rolling shutters",
}


@dataclass(frozen=True)
class Engine:
    """A rasteriser and where it works.

    Attributes:
        name: "cpu" (ours, Numba) or "cuda" (gsplat).
        device: where the Gaussians, cameras and images have to be.
        rasterization: gsplat's function, or ours with its names, defaults and results.
        cannot: arguments of gsplat that this engine refuses, by name, each with what it would be.
    """

    name: Literal["cpu", "cuda"]
    device: torch.device
    rasterization: Callable
    cannot: Mapping[str, str] = field(default_factory=dict)


def choose_engine(device: str = "auto", say: Callable[[str], object] = print) -> Engine:
    """The engine to render with; says in one line which one and why.

    Args:
        device: "auto" takes CUDA where torch sees a GPU on which gsplat works, else the CPU (with a warning
            if there is a GPU and gsplat is broken). "cpu" and "cuda" force the one.
        say: takes the line, and later those about compiling.

    Raises:
        UserError: for another word, or if "cuda" is forced and does not work.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: unknown; allowed are auto, cpu and cuda")
    if device == "cpu":
        return _cpu("as --device says", say)
    if not torch.cuda.is_available():
        if device == "auto":
            return _cpu("torch sees no NVIDIA GPU", say)
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        raise UserError(
            f"--device cuda: torch sees no NVIDIA GPU (torch {torch.__version__} {built}); install a torch "
            "with CUDA and NVIDIA's driver, or use --device cpu"
        )
    try:
        cuda.probe()
    except UserError as broken:
        if device == "cuda":
            raise UserError(f"--device cuda: {broken}") from broken
        print(f"warning: {broken}", file=sys.stderr)
        return _cpu("there is a GPU, but gsplat does not work on it", say)
    why = "as --device says" if device == "cuda" else f"{torch.cuda.get_device_name()} with gsplat"
    say(f"rasteriser: CUDA ({why})")
    return Engine("cuda", torch.device("cuda"), cuda.rasterization)


def _cpu(why: str, say: Callable[[str], object]) -> Engine:
    from gaussian_renderer.cpu import rasterization  # noqa: PLC0415  (the kernels are loaded only where they are used)

    keep_freed_memory()
    announce_compiling(say)
    say(f"rasteriser: CPU ({why})")
    return Engine("cpu", torch.device("cpu"), rasterization, CPU_CANNOT)
