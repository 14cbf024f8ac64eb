"""Semantic consistency: its gradient, what the tower sees, its turns, pilots, and runs that have it."""

import copy
import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

import train
from scene.cameras import Camera
from sds_guidance import GuidanceOptions
from sds_guidance.clip import Vision, load_clip_vision
from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.loading import load_guidance, pilot_guidance
from sds_guidance.memory import plan_memory
from sds_guidance.semantic_loss import Meanings, SemanticConsistency, load_meanings
from tests.programs import ply, run_train
from tests.sds_guidance.runs import cpu_run
from tests.sds_guidance.views import CAMERA, moved_camera
from utils.checkpoints import checkpoint_path
from utils.errors import UserError
from utils.options import parse

CPU = torch.device("cpu")


def pictures(count: int, side: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def make(vision: Vision, count: int = 2, **changes) -> SemanticConsistency:
    """The loss towards so many photographs and one more image."""
    vectors = vision.of_pictures(pictures(count + 1))
    named = {f"{k}.png": vector for k, vector in enumerate(vectors[:count])}
    flags = {"weight": 0.1, "interval": 10, "window": (21, 95), "iterations": 100, "seed": 7, **changes}
    return SemanticConsistency(Meanings(vision, named, [vectors[count]]), moved_camera, **flags)


def gradient_of(loss: SemanticConsistency, rgb: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss(rgb), rgb)[0]


def test_the_gradient_is_that_of_one_minus_the_cosine(tiny_clip):
    """Beside transformers' own tower, and beside differences in double precision."""
    vision = load_clip_vision(tiny_clip)
    loss = make(vision, count=1)
    loss.targets = loss.targets[:1]
    rgb = pictures(5)[4].requires_grad_()
    found = gradient_of(loss, rgb)

    tower = CLIPVisionModelWithProjection.from_pretrained(tiny_clip).eval()
    processor = CLIPImageProcessor.from_pretrained(tiny_clip)
    mean, deviation = (torch.tensor(it)[:, None, None] for it in (processor.image_mean, processor.image_std))
    vector = tower(pixel_values=((rgb - mean) / deviation)[None]).image_embeds[0]
    value = 1 - cosine_similarity(vector, loss.targets[0], dim=0)
    torch.testing.assert_close(found, 0.1 * torch.autograd.grad(value, rgb)[0], atol=1e-7, rtol=1e-4)
    assert loss.loss == pytest.approx(float(value.detach()), abs=1e-6) and float(found.norm()) > 1e-5

    double = replace(vision, tower=copy.deepcopy(vision.tower).double())
    target = loss.targets[0].double()
    for place in ((0, 3, 5), (1, 20, 2), (2, 11, 11)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = rgb.detach().double()
            moved[place] += step
            ends.append(float(1 - double.of_rendering(moved) @ target))
        assert float(found[place]) == pytest.approx(0.1 * (ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-8)


def test_following_it_brings_a_rendering_to_the_meaning_of_the_pictures(tiny_clip):
    loss = make(load_clip_vision(tiny_clip), count=1, weight=1.0)
    loss.targets = loss.targets[:1]
    rgb = torch.full((3, 24, 24), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([rgb], lr=0.02)
    values = []
    for _ in range(40):
        optimiser.zero_grad()
        loss(rgb).backward()
        optimiser.step()
        values.append(loss.loss)
    assert values[-1] < 0.1 * values[0]


@pytest.mark.parametrize("size", [{"shortest_edge": 24}, {"height": 24, "width": 24}, {"shortest_edge": 30}])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 97)])
def test_a_rendering_shows_what_the_processor_would_show_of_a_picture(tiny_clip, size, width, height):
    """A picture that is a function of the direction, seen by the camera itself and by the tower's."""
    processor = CLIPImageProcessor(size=size, crop_size={"height": 24, "width": 24})
    vision = Vision(load_clip_vision(tiny_clip).tower, processor)

    def picture(camera: Camera) -> torch.Tensor:
        rows, columns = torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5
        x = (columns - camera.intrinsics[0, 2]) / camera.intrinsics[0, 0]
        y = (rows - camera.intrinsics[1, 2]) / camera.intrinsics[1, 1]
        return torch.stack([x + 0 * y[:, None], y[:, None] + 0 * x, x * y[:, None]]) / 4 + 0.5

    intrinsics = torch.tensor([[50.0, 0.0, 40.0], [0.0, 55.0, 33.0], [0.0, 0.0, 1.0]])
    camera = replace(CAMERA, intrinsics=intrinsics, width=width, height=height)
    seen = vision.camera(camera)
    assert (seen.width, seen.height) == (24, 24)
    assert torch.equal(seen.world_to_camera, camera.world_to_camera)
    mean, deviation = (torch.tensor(it)[:, None, None] for it in (processor.image_mean, processor.image_std))
    shown = vision.prepared(picture(camera))[0] * deviation + mean
    inner = (slice(None), slice(2, -2), slice(2, -2))  # at the border resizing repeats the last pixel
    torch.testing.assert_close(picture(seen)[inner], shown[inner], atol=6e-3, rtol=0)


def test_its_turns_are_its_own(tiny_clip):
    loss = make(load_clip_vision(tiny_clip))
    state = loss.generator.get_state()
    assert [step for step in range(1, 21) if loss.camera(step)] == []
    assert torch.equal(loss.generator.get_state(), state)
    turns = {step: camera for step in range(1, 101) if (camera := loss.camera(step))}
    assert list(turns) == [21, 31, 41, 51, 61, 71, 81, 91]
    assert {(camera.width, camera.height) for camera in turns.values()} == {(24, 24)}
    assert len({float(camera.world_to_camera[0, 3]) for camera in turns.values()}) == 8


def test_every_picture_has_its_turn(tiny_clip):
    vision = load_clip_vision(tiny_clip)
    loss, rgb = make(vision, count=3), pictures(1)[0]
    values = [1 - float(vision.of_rendering(rgb) @ target) for target in loss.targets]
    seen = []
    for _ in range(60):
        gradient_of(loss, rgb.clone().requires_grad_())
        seen.append(min(range(4), key=lambda k: abs(values[k] - loss.loss)))
        assert values[seen[-1]] == pytest.approx(loss.loss, abs=1e-6)
    assert set(seen) == {0, 1, 2, 3}


def test_what_is_not_finite_is_dropped_and_counted(tiny_clip):
    loss = make(load_clip_vision(tiny_clip))
    rgb = pictures(1)[0].requires_grad_()
    gradient_of(loss, rgb)
    before = loss.loss
    loss.targets = [torch.full_like(target, math.nan) for target in loss.targets]
    assert torch.equal(gradient_of(loss, rgb), torch.zeros_like(rgb))
    assert loss.scalars() == {"clip_loss": before, "clip_dropped": 1.0}


def test_a_pilot_sees_no_photograph_that_it_is_judged_by(tiny_clip):
    loss = make(load_clip_vision(tiny_clip), count=3)
    kept = [replace(CAMERA, name=name) for name in ("0.png", "2.png")]
    pilot = loss.pilot(kept, moved_camera, (1, 9), 10)
    assert [any(torch.equal(a, b) for b in pilot.targets) for a in loss.targets] == [True, False, True, True]
    assert len(loss.targets) == 4 and pilot.window == (1, 9) and pilot.weight == loss.weight
    assert torch.equal(pilot.generator.get_state(), make(loss.meanings.vision).generator.get_state())


def test_the_pictures_are_looked_at_once_by_either_kind_of_model(cameras, tmp_path, tiny_clip, tiny_towers):
    files = [tmp_path / "a.png", tmp_path / "c.png"]
    own = load_meanings(str(tiny_clip), tiny_towers, cameras, files, cpu_run())
    kept = load_meanings("", tiny_towers, cameras, files, cpu_run())
    for found in (own, kept):
        assert list(found.photographs) == [camera.name for camera in cameras]
        shown = [camera.photograph.target(torch.ones(3))[0] for camera in cameras]
        vectors = found.vision.of_pictures([*shown, *map(read_condition_image, files)])
        assert torch.equal(torch.stack([*found.photographs.values(), *found.images]), vectors)
        assert found.nbytes == 4 * sum(it.numel() for it in found.vision.tower.parameters())
        assert not any(weight.requires_grad for weight in found.vision.tower.parameters())
    torch.testing.assert_close(own.photographs["b.png"], kept.photographs["b.png"], atol=3e-3, rtol=0)


def test_a_loaded_guidance_has_it_and_its_pilot_without_the_left_out(cameras, tiny_towers, capsys):
    words = ConditioningOptions(image_condition="loss", lambda_clip=0.3, clip_interval=4)
    options = GuidanceOptions(guidance_model=str(tiny_towers), guidance_resolution=64, words=words)

    def load(options):
        return load_guidance(
            replace(options, guidance_interval=1),
            cpu_run(seed=3, say=print),
            cameras=cameras,
            sample_camera=moved_camera,
            iterations=100,
        )

    guidance = load(options)
    semantic = guidance.semantic
    assert semantic is not None
    assert (semantic.weight, semantic.interval, semantic.window) == (0.3, 4, (guidance.first, guidance.last))
    pilot = pilot_guidance(
        guidance, cameras[1:], moved_camera, lambda _: 1.0, iterations=50, lambda_sds=0.1, device=CPU
    )
    assert pilot.semantic is not None and pilot.semantic.window == (pilot.first, pilot.last)
    assert list(pilot.semantic.meanings.photographs) == [camera.name for camera in cameras[1:]]
    assert load(replace(options, words=ConditioningOptions())).semantic is None
    ours, plain = capsys.readouterr().out.strip().splitlines()
    assert "MiB of weights" in ours and ours != plain  # the plan counts the tower


def test_what_stays_beside_the_model_is_counted(tiny_model):
    plans = [
        plan_memory(
            "high",
            "float32",
            CPU,
            tiny_model,
            (64, 64),
            gradient=True,
            decoder=False,
            available=None,
            beside=beside,
        )
        for beside in (0, 12345)
    ]
    assert plans[1].weights - plans[0].weights == 12345


def test_a_model_without_a_vision_tower_is_refused(cameras, tiny_model):
    with pytest.raises(
        UserError, match=r"(?s)no vision tower of a CLIP.*image_encoder/config.json.*--clip_model"
    ):
        load_meanings("", tiny_model, cameras, [], cpu_run())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"lambda_clip": 0.2}, "--lambda_clip is for --image_condition loss"),
        ({"clip_interval": 5, "image_condition": "rank"}, "--clip_interval is for --image_condition loss"),
        ({"lambda_clip": -1.0, "image_condition": "loss"}, "--lambda_clip -1.0: allowed is a finite number"),
        ({"lambda_clip": math.nan, "image_condition": "loss"}, "--lambda_clip nan: allowed"),
        ({"clip_interval": 0, "image_condition": "loss"}, "--clip_interval 0: allowed is 1 or more"),
    ],
)
def test_flags_that_make_no_sense(flags, words):
    with pytest.raises(UserError) as raised:
        ConditioningOptions(**flags).check()
    assert words in str(raised.value)


def logged(folder: Path) -> dict[int, float]:
    """The loss by iteration, as log.jsonl has it."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {row["iteration"]: row["clip_loss"] for row in rows if "clip_loss" in row}


def test_a_run_with_it_logs_it_and_goes_on_bit_for_bit(small_scene, tiny_towers, tmp_path):
    """Its turns are the odd iterations, those of guidance every fourth from the first."""
    flags = (
        *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_until", 1, "--guidance_interval", 4),
        *("--guidance_resolution", 64, "--checkpoint_interval", 5, "--test_iterations", -1),
        *("--guidance_model", tiny_towers, "--iterations", 10, "--guidance_gate", "off"),
    )
    ours = (*flags, "--image_condition", "loss", "--clip_interval", 2)
    whole = run_train(small_scene, tmp_path / "whole", *ours)
    plain = run_train(small_scene, tmp_path / "plain", *flags)
    losses = logged(whole)
    assert list(losses) == [1, 3, 5, 7, 9]
    assert len(set(losses.values())) == 5 and all(0 < value < 2 for value in losses.values())
    with (whole / "guidance.csv").open() as file:
        table = {int(row["iteration"]): row for row in csv.DictReader(file)}
    assert {step: float(row["clip_loss"]) for step, row in table.items()} == {k: losses[k] for k in (1, 5, 9)}
    assert ply(whole, 10) != ply(plain, 10)

    folder = shutil.copytree(whole, tmp_path / "resumed")
    checkpoint_path(folder, 10).unlink()
    words = ["-s", small_scene, "-m", folder, "--device", "cpu", *ours, "--resume"]
    train.main(parse(train.Options, [str(word) for word in words]))
    assert ply(folder, 10) == ply(whole, 10) and logged(folder) == losses
