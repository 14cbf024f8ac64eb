"""The tile lists of the CPU engine against a test of every pixel."""

import numpy as np
import pytest
import torch

from gaussian_renderer.cpu import rasterization

WIDTH, HEIGHT = 70, 53


@pytest.fixture(scope="module")
def meta():
    """What `rasterization` says of 300 Gaussians, needles and faint ones among them, before two cameras."""
    generator = torch.Generator().manual_seed(3)
    count = 300
    means = torch.rand(count, 3, generator=generator) * torch.tensor([4.0, 3.0, 4.0]) + torch.tensor(
        [-2, -1.5, 2]
    )
    scales = 0.03 * torch.exp(torch.randn(count, 3, generator=generator))
    scales[:20, 0] *= 40
    quats = torch.randn(count, 4, generator=generator)
    opacities = torch.rand(count, generator=generator) ** 3
    viewmats = torch.eye(4).repeat(2, 1, 1)
    viewmats[1, 0, 3] = 0.4
    intrinsics = torch.tensor([[60.0, 0, WIDTH / 2], [0, 60, HEIGHT / 2], [0, 0, 1]]).repeat(2, 1, 1)
    _, _, meta = rasterization(
        means, quats, scales, opacities, torch.rand(count, 3), viewmats, intrinsics, WIDTH, HEIGHT
    )
    return meta


def _alpha(meta, camera: int) -> np.ndarray:
    """(N, H, W) float64, without any limit."""
    x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT)[:, None] + 0.5
    means, conics = (meta[name][camera].double().numpy()[:, :, None, None] for name in ("means2d", "conics"))
    dx, dy = x - means[:, 0], y - means[:, 1]
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    return meta["opacities"][camera].double().numpy()[:, None, None] * np.exp(-sigma)


def _lists(meta) -> dict[tuple[int, int, int], list[int]]:
    """Gaussians by camera, tile row and tile column."""
    offsets = [*meta["isect_offsets"].flatten().tolist(), len(meta["flatten_ids"])]
    tiles = np.ndindex(*meta["isect_offsets"].shape)
    ids = meta["flatten_ids"].tolist()
    return {tile: ids[offsets[i] : offsets[i + 1]] for i, tile in enumerate(tiles)}


def test_every_pixel_that_a_gaussian_reaches_lies_in_a_tile_that_lists_it(meta):
    lists, count = _lists(meta), meta["radii"].shape[1]
    for camera in range(2):
        alpha = _alpha(meta, camera)
        visible = (meta["radii"][camera] > 0).all(dim=1).numpy()
        for (owner, row, column), ids in lists.items():
            if owner != camera:
                continue
            part = alpha[:, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].max(axis=(1, 2))
            reached = set(np.flatnonzero(visible & (part >= 1 / 255 * (1 + 1e-4))) + camera * count)
            assert reached <= set(ids)
            # The lists are tight: at most a Gaussian that passes between two pixels is listed in vain.
            assert len(ids) <= 1.3 * len(reached) + 3


def test_lists_run_from_front_to_back_and_the_keys_say_so(meta):
    depths = meta["depths"].flatten()
    tiles = meta["tile_width"] * meta["tile_height"]
    for (camera, row, column), ids in _lists(meta).items():
        assert depths[ids].diff().ge(0).all()
        assert all(i // meta["radii"].shape[1] == camera for i in ids)
        first = int(meta["isect_offsets"][camera, row, column])
        for place, i in enumerate(ids):
            key = int(meta["isect_ids"][first + place])
            tile = row * meta["tile_width"] + column
            assert key >> 32 == camera << tiles.bit_length() | tile
            assert key & 0xFFFFFFFF == int(depths[i : i + 1].view(torch.int32))


def test_counts_per_gaussian_are_those_of_the_lists(meta):
    counts = torch.bincount(meta["flatten_ids"], minlength=meta["radii"][..., 0].numel())
    assert torch.equal(counts.view(meta["tiles_per_gauss"].shape), meta["tiles_per_gauss"].long())
