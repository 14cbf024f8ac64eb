"""The CPU engine: `rasterization`, with gsplat's contract, compiled by Numba."""

from gaussian_renderer.cpu.api import rasterization

__all__ = ["rasterization"]
