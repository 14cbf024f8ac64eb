"""`benchmarks/domains.py` on the tiny model: every run is measured once, reported, and not repeated."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import domains
from benchmarks.domains import PROMPTS, Options, main, report
from utils.errors import UserError

WORDS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve grey pictures of 16 bits, four held out, with an intensity window; not to be written to."""
    folder = tmp_path_factory.mktemp("sets") / "scans"
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = []
    for number in range(12):
        pixels = random.integers(900, 1000, (16, 16)).astype(np.uint16)
        pixels[4:12, 4:12] += 80 * (number % 3)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        expert = f"a {WORDS[number % 3]} box"
        row = {"file_name": f"images/{number}.png", "text": expert, "expert": expert, "generic": "a scan"}
        lines.append(json.dumps({**row, "split": "held_out" if number > 7 else "train"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    (folder / "dataset.json").write_text(json.dumps({"intensity_window": [864, 1264]}))
    return folder


def options(scans: Path, tiny_model: Path, output: Path, **changes) -> Options:
    short = {"steps": 2, "batch_size": 2, "draws": 2, "samples": 2, "learning_rate": 1e-3, "device": "cpu"}
    return Options(
        **{"data": (str(scans),), "model": str(tiny_model), "output": str(output), **short, **changes}
    )


def test_every_run_is_measured_once_and_reported(
    scans: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(options(scans, tiny_model, tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    found = results["domains"]["scans"]
    assert found["pictures"] == 4
    assert list(found["runs"]) == ["before", "lora, expert", "lora, generic"]
    for run in found["runs"].values():
        assert list(run["losses"]) == list(PROMPTS)
        assert np.array(list(run["losses"].values())).shape == (4, 2, 10)
    before = found["runs"]["before"]["losses"]
    assert before["expert"] != before["generic"] != before["empty"]
    assert before["expert"] != before["swapped"]
    for name in ("held_out", "samples_before", "samples_lora_expert", "samples_lora_generic"):
        with Image.open(tmp_path / "scans" / f"{name}.png") as sheet:
            assert sheet.width == 256
    assert (tmp_path / "scans" / "lora_expert" / "lora" / "pytorch_lora_weights.safetensors").is_file()

    text = (tmp_path / "report.md").read_text()
    assert text == report(results)
    mean = np.mean(before["expert"])
    assert f"{mean:.4f} +- " in text
    assert text.count("| lora, generic") == 3  # once among the means, and under two prompts

    def fail(*_: object) -> None:
        raise AssertionError("this run was finished")

    monkeypatch.setattr(domains, "measured", fail)
    main(options(scans, tiny_model, tmp_path))
    monkeypatch.undo()
    main(options(scans, tiny_model, tmp_path, methods=("lora", "full")))
    again = json.loads((tmp_path / "results.json").read_text())["domains"]["scans"]["runs"]
    assert list(again) == [*found["runs"], "full, expert", "full, generic"]
    assert again["before"] == found["runs"]["before"]
    assert again["full, expert"]["losses"] != before

    with pytest.raises(UserError, match="--steps: was 2, now 3"):
        main(options(scans, tiny_model, tmp_path, steps=3))


def test_a_set_without_a_generic_caption_is_refused_by_name(
    scans: Path, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "0.png").write_bytes((scans / "images" / "0.png").read_bytes())
    row = {"file_name": "images/0.png", "text": "a box", "expert": "a box"}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"0\.png has no generic caption"):
        main(options(folder, tiny_model, tmp_path / "out"))
    (folder / "metadata.jsonl").write_text(json.dumps({**row, "generic": "a thing"}))
    with pytest.raises(UserError, match='no row has a "split"'):
        main(options(folder, tiny_model, tmp_path / "out"))
