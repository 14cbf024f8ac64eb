"""The CUDA engine: one call to gsplat, and a probe that turns its failures into one helpful sentence."""

from typing import Any

import torch
from torch import Tensor

from utils.errors import UserError

_REMEDY = (
    "Install a CUDA toolkit{version} (nvcc), a C++ compiler and ninja, and start again: gsplat compiles "
    "itself once, in a few minutes; or install a prebuilt gsplat (gsplat's wheels, or conda-forge); or use "
    "the processor with --device cpu."
)


def rasterization(*, packed: bool = False, **arguments: Any) -> tuple[Tensor, Tensor, dict]:
    """Images, alphas and meta of `gsplat.rasterization`, with its names, defaults and results.

    Two differences, as in the CPU engine. `packed` is False by default: the packed form of gsplat 1.5.3
    breaks with backgrounds and gives `meta` other shapes. And the coefficients of `colors` may come in two
    parts, (N, 1, 3) and (N, K - 1, 3). Everything goes by keyword: gsplat 1.6 has other arguments past
    `height`.

    Raises:
        UserError: if there are no Gaussians. gsplat 1.5.3 divides by their number, which ends the process.
    """
    from gsplat import rasterization as gsplat_rasterization  # noqa: PLC0415  (only where CUDA was chosen)

    if isinstance(colors := arguments.get("colors"), tuple):
        constant, rest = colors
        arguments["colors"] = torch.cat([constant, rest[:, : (arguments["sh_degree"] + 1) ** 2 - 1]], dim=1)
    if arguments["means"].shape[-2] == 0:
        raise UserError("gsplat cannot render a model without Gaussians; look at what removed them all")
    return gsplat_rasterization(packed=packed, **arguments)


def probe(device: torch.device | str = "cuda") -> None:
    """Renders one Gaussian on `device`, forward and backward, and returns if that works.

    gsplat compiles or loads its kernels at the first call, so a successful import says nothing.

    Raises:
        UserError: naming the cause and the remedy.
    """
    try:
        means = torch.tensor([[0.0, 0.0, 1.0]], device=device, requires_grad=True)
        image, alpha, _ = rasterization(
            means=means,
            quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=device),
            scales=torch.full((1, 3), 0.1, device=device),
            opacities=torch.full((1,), 0.5, device=device),
            colors=torch.ones((1, 3), device=device),
            viewmats=torch.eye(4, device=device)[None],
            Ks=torch.tensor([[[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]]], device=device),
            width=16,
            height=16,
        )
        (image.sum() + alpha.sum()).backward()
        seen = float(alpha.detach().max())
    except Exception as failure:
        raise UserError(explain(failure)) from failure
    if not 0.4 < seen < 0.51:
        raise UserError(
            f"gsplat's CUDA kernels run, but draw a Gaussian of opacity 0.5 with {seen:.3g}: they were built "
            f"for another GPU or another torch. {_remedy()}"
        )


def explain(failure: Exception) -> str:
    """One sentence with cause and remedy for what gsplat's first call on a GPU may raise.

    The two that users report: no CUDA toolkit (gsplat goes on with its module being None), and a toolkit that
    cannot compile it (gsplat swallows the compiler's error and misses `gsplat_cuda.so` instead).
    """
    detail = str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    if isinstance(failure, ModuleNotFoundError) and failure.name == "gsplat":
        return (
            "The CUDA engine needs gsplat, which is not installed: `pip install gsplat`, or use --device cpu."
        )
    if isinstance(failure, AttributeError) and "NoneType" in detail:
        return f"gsplat found no CUDA toolkit to compile its kernels with. {_remedy()}"
    if isinstance(failure, ImportError | OSError) or "gsplat_cuda" in str(failure):
        return f"gsplat could not compile or load its CUDA kernels ({detail}). {_remedy()}"
    return f"gsplat failed on this GPU ({detail}). {_remedy()}"


def _remedy() -> str:
    version = f" {torch.version.cuda}, as torch has it" if torch.version.cuda else " of torch's CUDA version"
    return _REMEDY.format(version=version)
