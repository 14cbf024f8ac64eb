"""Time of the photometric loss with its gradient, fused against plain torch.

    python benchmarks/ssim.py [--width 400 --height 300]

Prints milliseconds (the least of several runs) and the ratio, which travels between machines better.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.errors import run_program
from utils.losses import WINDOW, photometric_loss, torch_photometric_loss
from utils.options import parse


@dataclass
class Options:
    width: int = 400  # pixels
    height: int = 300  # pixels
    repeats: int = 30  # the least time of so many runs counts


def dense_loss(rgb: Tensor, target: Tensor) -> Tensor:
    """The loss with five 11 x 11 convolutions, one for each blurred field, as trainers commonly have it."""
    window = torch.outer(*[torch.from_numpy(WINDOW)] * 2).expand(rgb.shape[0], 1, -1, -1)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, window, padding=5, groups=rgb.shape[0])

    x, y = blur(rgb), blur(target)
    xx, yy, xy = blur(rgb * rgb) - x * x, blur(target * target) - y * y, blur(rgb * target) - x * y
    ssim = ((2 * x * y + 1e-4) * (2 * xy + 9e-4)) / ((x * x + y * y + 1e-4) * (xx + yy + 9e-4))
    return 0.8 * (rgb - target).abs().mean() + 0.2 * (1 - ssim.mean())


def milliseconds(loss: Callable[[Tensor], Tensor], rgb: Tensor, repeats: int) -> float:
    """The least time of a value and its gradient; the first run, which compiles, does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.autograd.grad(loss(rgb), rgb)
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def main(options: Options) -> None:
    generator = torch.Generator().manual_seed(0)
    rgb, target = torch.rand((2, 3, options.height, options.width), generator=generator)
    rgb.requires_grad_()
    weight = torch.ones(options.height, options.width)
    fused = milliseconds(lambda image: photometric_loss(image, target), rgb, options.repeats)
    print(f"{options.width} x {options.height}, {torch.get_num_threads()} threads, value and gradient")
    print(f"fused                      {fused:8.2f} ms")
    for name, loss in {
        "torch, separable window": lambda image: torch_photometric_loss(image, target, weight, 0.2),
        "torch, 11 x 11 window": lambda image: dense_loss(image, target),
    }.items():
        slow = milliseconds(loss, rgb, options.repeats)
        print(f"{name:26} {slow:8.2f} ms, {slow / fused:.1f} times the fused one")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
