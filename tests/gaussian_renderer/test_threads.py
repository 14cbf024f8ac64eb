"""The same bits of image and all gradients, at any number of threads, again and again, and called at once."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from gaussian_renderer.cpu import rasterization
from tests.gaussian_renderer.scenes import random_scene, random_weights, run


def fingerprint(seed: int = 0) -> str:
    """A digest of every bit that comes out of a scene with some thousand Gaussians in each of two images."""
    scene = random_scene(seed, count=3000, cameras=2, width=150, height=117, sh_degree=3)
    scene["scales"] = scene["scales"] * 0.3
    options: dict = {"render_mode": "RGB+ED", "rasterize_mode": "antialiased"}
    result = run(rasterization, scene, **options)
    result = run(rasterization, scene, random_weights(seed, result.image), **options)
    digest = hashlib.sha256()
    for tensor in (result.image, result.alpha, *result.gradients.values()):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_one_thread_or_two():
    """In processes of their own, because Numba and torch take their number of threads once."""
    program = "from tests.gaussian_renderer.test_threads import fingerprint; print(fingerprint())"
    digests = {}
    for threads in (1, 2):
        count = str(threads)
        environment = os.environ | {
            "NUMBA_NUM_THREADS": count,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
        }
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests[threads] = done.stdout.strip()
    assert len(digests[1]) == 64
    assert digests[2] == digests[1]


def test_again_and_at_once():
    """Python threads may call it together (a viewer beside a training); each gets what it would get alone."""
    alone = [fingerprint(seed) for seed in (1, 2)]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fingerprint, [1, 2, 1, 2]))
    assert together == alone * 2


def test_the_order_of_gaussians_does_not_matter_to_the_picture():
    """Summation follows depth, not memory, so that a permuted model is the same picture to the last bit."""
    scene = random_scene(3, count=200)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    permuted = scene | {
        name: scene[name][order] for name in ("means", "quats", "scales", "opacities", "colors")
    }
    assert torch.equal(run(rasterization, permuted).image, run(rasterization, scene).image)
