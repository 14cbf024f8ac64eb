"""DTU's scoring: PSNR over the mask's pixels, SSIM and LPIPS of images that are black elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

import metrics
import render
from tests.programs import run_train
from tests.scene.models import write_dataset
from utils.options import parse


def score(model: Path, *words: str) -> dict[str, float]:
    """The means that metrics.py writes for the model's only method."""
    metrics.main(parse(metrics.Options, ["-m", str(model), "--lpips_net", "none", *words]))
    (scores,) = json.loads((model / "results.json").read_text()).values()
    return scores


def test_ssim_is_that_of_the_blackened_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    photograph = random.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    rendering = np.clip(photograph + random.normal(0, 40, photograph.shape), 0, 255).astype(np.uint8)
    mask = np.zeros((40, 56), np.uint8)
    mask[10:30, 5:40] = 255
    for side, pixels in (("renders", rendering), ("gt", photograph), ("masks", mask)):
        folder = tmp_path / "test" / "ours_1" / side
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "00000.png")

    def black(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels * (mask[..., None] > 0)).permute(2, 0, 1)[None].double() / 255

    image, target = black(rendering), black(photograph)
    # torchmetrics leaves the border out; black stands for it, as the zero padding of ours does
    image, target = (torch.nn.functional.pad(it, (10, 10, 10, 10)) for it in (image, target))
    similarity = structural_similarity_index_measure(
        image, target, sigma=1.5, kernel_size=11, data_range=1.0, return_full_image=True
    )[1]
    expected = float(similarity[..., 10:-10, 10:-10].mean())
    over_image = score(tmp_path, "--masked_ssim", "image")
    assert over_image["SSIM"] == pytest.approx(expected, abs=1e-4)
    conventions = json.loads((tmp_path / "metrics_conventions.json").read_text())
    assert conventions["masks"] == metrics.MASKED["image"]
    error = ((rendering[mask > 0] / 255 - photograph[mask > 0] / 255) ** 2).mean()
    assert over_image["PSNR"] == pytest.approx(-10 * np.log10(error), abs=1e-6)
    over_pixels = score(tmp_path)
    assert over_pixels["PSNR"] == over_image["PSNR"] and over_pixels["SSIM"] < over_image["SSIM"]


def test_training_does_not_see_the_masks_that_the_test_is_scored_in(tmp_path: Path) -> None:
    """With masks that only count in the test, the model is that of a dataset without masks."""
    names = [f"{number}.png" for number in range(9)]
    models = []
    for kind in ("masked", "plain"):
        folder = write_dataset(tmp_path / kind, names)
        if kind == "masked":
            (folder / "masks").mkdir()
            for name in names:
                half = Image.new("L", (64, 48))
                half.paste(255, (0, 0, 32, 48))
                half.save(folder / "masks" / name)
        flags = ("--iterations", 3, "--eval", "--mask_mode", "score", "--test_iterations", -1)
        models.append(run_train(folder, tmp_path / f"{kind}_model", *flags))
    saved = [model / "point_cloud" / "iteration_3" / "point_cloud.ply" for model in models]
    assert saved[0].read_bytes() == saved[1].read_bytes()
    render.main(parse(render.Options, ["-m", str(models[0]), "--device", "cpu", "--quiet"]))
    assert not (models[0] / "train" / "ours_3" / "masks").exists()
    with Image.open(models[0] / "test" / "ours_3" / "masks" / "00000.png") as mask:
        assert np.asarray(mask)[..., 0].mean() == pytest.approx(127.5)
