"""`benchmarks/sd21_step.py` with few channels: the passes of every mode, and a process for each."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import sd21_step
from benchmarks.guidance_memory import SD21
from benchmarks.sd21_step import Options, build_prior, main, measure, report
from utils.errors import UserError


def small(**changes) -> Options:
    return Options(**{"resolution": 64, "channels": (32, 32), "precision": "float32", **changes})


def test_a_step_of_every_mode_is_measured_with_its_passes() -> None:
    found: dict[str, dict] = {mode: measure(mode, small()) for mode in small().modes}
    sds, ism, targets, rectified = (list(it["passes"].values()) for it in found.values())
    assert sds == [2, 1, 1, 0]
    strides = -(-max(0, found["ism"]["t"] - 100) // 200)
    assert ism == [1 + strides + 2, 1, 1, 0]
    assert targets == [2 * 12, 2, 0, 2]
    assert rectified == [4, 2, 1, 0]
    for mode, it in found.items():
        parts = sum(it[f"{part}_seconds"] for part in ("encode", "unet", "decode", "other"))
        assert parts == pytest.approx(it["seconds"], abs=0.04)
        assert it["peak_host_gib"] > it["tensors_gib"] == pytest.approx(it["counted_gib"], abs=0.011)
        assert it["mean_seconds"] == it["seconds"] or mode == "targets"
    assert found["targets"]["mean_seconds"] < found["targets"]["seconds"]
    text = report(found, small())
    rows = [line.split()[1] for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == list(small().modes)


def test_its_networks_are_those_whose_memory_is_counted() -> None:
    """The settings that `guidance_memory.py` has, at a tenth of the channels."""
    prior = build_prior(torch.float32, torch.device("cpu"), (32, 32), decoder=True)
    unet, vae = SD21["unet/config.json"], SD21["vae/config.json"]
    for name in ("sample_size", "cross_attention_dim", "use_linear_projection"):
        assert prior.unet.config[name] == unet[name]
    assert prior.unet.config.block_out_channels == [32, 64, 128, 128]
    assert prior.vae.config.block_out_channels == [it // 4 for it in vae["block_out_channels"]]
    assert prior.vae.config.layers_per_block == vae["layers_per_block"]


@pytest.mark.slow
def test_each_mode_has_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- measured full size: begin -->\n<!-- measured full size: end -->\n")
    monkeypatch.delattr(sd21_step, "build_prior")  # in this process nothing can be measured now
    main(small(modes=("sds",), output=str(tmp_path / "figures.json"), docs=str(page)))
    found = json.loads((tmp_path / "figures.json").read_text())
    assert list(found) == ["sds"]
    assert report(found, small()) in page.read_text()


@pytest.mark.parametrize("changes", [{"resolution": 100}, {"channels": (32, 48)}, {"repeats": 0}])
def test_numbers_out_of_range_are_refused_by_name(changes) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(changes))}"):
        main(small(**changes))
