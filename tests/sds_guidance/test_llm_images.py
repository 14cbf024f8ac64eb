"""Pictures of a language model's prompts: made once, kept with the run, and seen like the user's own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from scene.photographs import Photograph, PixelCache
from sds_guidance import GuidanceOptions, clip, language_model
from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning import Conditioning, read_conditioning
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.conditioning_sources import gather_conditioning
from tests.sds_guidance.chat_server import ANSWER, ChatServer, chat, drawing, failure, serving
from tests.sds_guidance.runs import cpu_run
from utils.errors import UserError, Warnings

PROMPTS = ANSWER["descriptions"]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(language_model.KEY, "sk-a-key-that-nobody-may-see")


@pytest.fixture
def cameras(tmp_path: Path) -> list[Camera]:
    """One grey photograph."""
    Image.fromarray(np.full((30, 40, 3), 128, np.uint8)).save(tmp_path / "a.png")
    photograph = Photograph(tmp_path / "a.png", 40, 30, PixelCache(10**6))
    return [Camera("a.png", torch.eye(4), torch.eye(3), 40, 30, photograph)]


def options(server: ChatServer | None = None, images: int = 3, notes: Path | None = None, **changes):
    """The flags of a run that asks for so many pictures; without a server nobody would answer."""
    words = ConditioningOptions(
        llm=True,
        llm_model="m",
        llm_base_url=server.url if server else "http://127.0.0.1:9/v1",
        expert_notes=str(notes) if notes else "",
        llm_images=images,
        llm_image_model="painter" if images else "",
        **changes,
    )
    words.check()
    return GuidanceOptions(prompt="a vase", words=words)


def gather(flags: GuidanceOptions, cameras, model: Path, run: Path, *, resume: bool = False) -> Conditioning:
    """What conditions a run in this folder, written there as train.py does before training."""
    found = gather_conditioning(flags, cameras, model, cpu_run(run, resumed=resume))
    found.record(run, 60 if resume else 0, lambda _: None)
    return read_conditioning(run / "conditioning.json")


def colours(found: Conditioning) -> list[tuple[int, ...]]:
    """The colour of each picture's corner."""
    return [tuple((read_condition_image(path)[:, 0, 0] * 255).int().tolist()) for path in found.image_files()]


def test_pictures_of_the_prompts_are_kept_with_the_run_and_never_asked_for_again(
    cameras, tiny_towers, tmp_path
):
    run = tmp_path / "run"
    with serving(chat(), drawing("red"), drawing("lime"), drawing("blue")) as server:
        found = gather(options(server), cameras, tiny_towers, run)
    assert [asked["path"] for asked in server.requests] == [
        "/v1/chat/completions",
        *["/v1/images/generations"] * 3,
    ]
    assert [asked["prompt"] for asked in server.requests[1:]] == [*PROMPTS, PROMPTS[0]]
    names = [f"conditioning/llm_00{number}.png" for number in range(3)]
    assert [(image.path, image.source) for image in found.images] == [
        (name, "language model") for name in names
    ]
    assert found.language_model is not None and found.language_model["images"] == [
        {"path": name, "prompt": prompt, "model": "painter"}
        for name, prompt in zip(names, [*PROMPTS, PROMPTS[0]], strict=True)
    ]
    assert colours(found) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert sorted(path.name for path in (run / "conditioning").iterdir()) == [Path(it).name for it in names]

    # Nobody answers any more.
    assert gather(options(), cameras, tiny_towers, run, resume=True) == found
    other = gather(
        GuidanceOptions(words=ConditioningOptions(conditioning=str(run / "conditioning.json"))),
        cameras,
        tiny_towers,
        tmp_path / "other",
    )
    assert colours(other) == colours(found)
    assert other.image_files() == [run / name for name in names]
    assert other.language_model == found.language_model


def test_prompts_are_ranked_by_them(cameras, tiny_towers, tmp_path):
    """The mean cosine to the photograph and the picture, as CLIP by itself has it."""
    with serving(chat(), drawing("red")) as server:
        found = gather(options(server, images=1), cameras, tiny_towers, tmp_path / "run")
    towers = clip.load_towers(tiny_towers)
    pictures = [torch.full((3, 30, 40), 128 / 255), read_condition_image(found.image_files()[0])]
    cosines = towers.of_pictures(pictures) @ towers.of_texts([p.text for p in found.prompts], Warnings()).T
    assert [p.similarity for p in found.prompts] == pytest.approx(cosines.mean(dim=0).tolist(), abs=1e-6)


def test_other_notes_bring_other_pictures_and_leave_the_users_own(cameras, tiny_towers, tmp_path):
    run, notes, own = tmp_path / "run", tmp_path / "notes.txt", tmp_path / "own.png"
    Image.new("RGB", (8, 8), "white").save(own)
    notes.write_text("It is Etruscan.")
    flags = {"notes": notes, "condition_images": (str(own),)}
    with serving(chat(), drawing("red"), drawing("lime")) as server:
        first = gather(options(server, images=2, **flags), cameras, tiny_towers, run)
        notes.write_text("It is Greek.")
    answer = {**ANSWER, "descriptions": ["a Greek jar"]}
    with serving(chat(answer), drawing("blue")) as server:
        found = gather(options(server, images=1, **flags), cameras, tiny_towers, run, resume=True)
    assert server.requests[1]["prompt"] == "a Greek jar"
    assert colours(found) == [(255, 255, 255), (0, 0, 255)]
    assert [Path(image.path).name for image in found.images] == ["own.png", "llm_002.png"]
    assert [entry["after_iteration"] for entry in found.history] == [0, 60]
    # what the history says was in force is still what lies there
    assert colours(replace(first, images=first.images)) == [(255, 255, 255), (255, 0, 0), (0, 255, 0)]


def test_a_picture_that_is_not_to_be_had_leaves_no_run(cameras, tiny_towers, tmp_path):
    with serving(chat(), drawing(), failure(400, "no vases")) as server, pytest.raises(UserError) as raised:
        gather(options(server), cameras, tiny_towers, tmp_path / "run")
    assert "--llm_images: painter" in str(raised.value) and "no vases" in str(raised.value)
    assert not (tmp_path / "run" / "conditioning.json").exists()
    with serving(chat(), drawing("blue")) as server:
        found = gather(options(server, images=1), cameras, tiny_towers, tmp_path / "run")
    assert colours(found) == [(0, 0, 255)]
    assert len(list((tmp_path / "run" / "conditioning").iterdir())) == 1  # nothing of the first attempt


def test_pictures_without_effect_are_refused_before_anybody_is_asked(cameras, tiny_model, tmp_path):
    """No CLIP is at hand; or the run's prompts were answered without pictures."""
    with serving(chat()) as server:
        with pytest.raises(UserError, match=r"--llm_images: prompts would be ranked.*no CLIP"):
            gather(options(server), cameras, tiny_model, tmp_path)
        assert not server.requests
        gather(options(server, images=0), cameras, tiny_model, tmp_path)
        with pytest.raises(UserError, match="answered this run without pictures"):
            gather(options(server), cameras, tiny_model, tmp_path, resume=True)
    assert len(server.requests) == 1
    assert "images" not in json.loads((tmp_path / "conditioning.json").read_text())["language_model"]
