"""A set of 24 tiny captioned pictures, and a run's usual flags."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.preprocessing import PreprocessingOptions
from sds_guidance.finetune.trainer import TrainingOptions

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="session")
def captioned_set(tmp_path_factory) -> Path:
    """Boxes in three colours, sixteen to train on and eight held out; not to be written to."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    lines = []
    for number in range(24):
        pixels = random.integers(20, 50, (20, 24, 3), dtype=np.uint8)
        pixels[4:16, 4:20, number % 3] = 220
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        row = {
            "file_name": f"images/{number}.png",
            "text": f"a {COLOURS[number % 3]} box",
            "split": "train" if number < 16 else "held_out_instances",
        }
        lines.append(json.dumps(row) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def options(captioned_set, tiny_model, tmp_path) -> Callable[..., FinetuneOptions]:
    """Flags of a short run on the tiny model, without sheets; `training` and others are added."""

    def make(training: dict | None = None, **values) -> FinetuneOptions:
        short = {"steps": 6, "lr_warmup": 2, "learning_rate": 1e-3}
        given = {
            "model_path": str(tmp_path / "run"),
            "data": (str(captioned_set),),
            "guidance_model": str(tiny_model),
            "device": "cpu",
            "samples": 0,
            "preprocessing": PreprocessingOptions(resolution=16),
            **values,
        }
        return FinetuneOptions(**given, training=TrainingOptions(**short | (training or {})))

    return make
