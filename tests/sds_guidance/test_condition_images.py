"""The user's pictures: found, scored beside the photographs, recorded, refused where they cannot be used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sds_guidance import clip
from sds_guidance.condition_images import read_condition_image
from sds_guidance.conditioning import MADE_FOLDER, STAGING, ConditionImage, read_conditioning
from tests.sds_guidance.conditioned import MADE, edit, gather, options
from utils.errors import UserError, Warnings


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with two pictures, one of them below, half transparent and of another size."""
    random = np.random.default_rng(1)
    (tmp_path / "images" / "below").mkdir(parents=True)
    for name, size in (("x.png", (30, 40, 3)), ("below/y.png", (50, 20, 4))):
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / "images" / name)
    return tmp_path / "images"


def test_the_users_pictures_are_scored_beside_the_photographs(tmp_path, cameras, images, tiny_towers):
    (tmp_path / "p.txt").write_text("a red vase\na blue car\nferns\n")
    flags = options(
        prompts_file=str(tmp_path / "p.txt"), condition_images=(str(images), str(images / "x.png"))
    )
    found = gather(flags, cameras, tiny_towers)
    files = [images / "below" / "y.png", images / "x.png", images / "x.png"]
    assert found.image_files() == files
    assert {image.source for image in found.images} == {"--condition_images"}
    pictures = [camera.photograph.target(torch.ones(3))[0] for camera in cameras if camera.photograph]
    pictures += [read_condition_image(path) for path in files]
    towers = clip.load_towers(tiny_towers)
    cosines = towers.of_pictures(pictures) @ towers.of_texts([p.text for p in found.prompts], Warnings()).T
    assert [p.similarity for p in found.prompts] == pytest.approx(cosines.mean(dim=0).tolist(), abs=1e-6)
    without = gather(replace(flags, words=replace(flags.words, condition_images=())), cameras, tiny_towers)
    assert without.prompts != found.prompts and without.images == ()


def test_pictures_are_written_and_read_again_and_are_part_of_the_history(tmp_path, images):
    run = tmp_path / "run"
    run.mkdir()
    made = replace(MADE, images=(ConditionImage(str(images / "x.png"), "--condition_images"),)).recorded(0)
    made.save(run)
    found = read_conditioning(run / "conditioning.json")
    assert found == made and found.image_files() == [images / "x.png"]

    edit(run, lambda values: values["images"].append({"path": "near/z.png"}))
    found = read_conditioning(run / "conditioning.json")
    assert found.image_files() == [images / "x.png", run / "near" / "z.png"]
    assert found.images[1].source == "by hand"
    assert found.recorded(70).change(70).endswith("; other images")
    assert len(found.recorded(70).history) == 2
    before = [{k: v for k, v in entry.items() if k != "images"} for entry in MADE.history]
    assert replace(MADE, history=tuple(before)).recorded(9).history == tuple(
        before
    )  # from before there were any
    with pytest.raises(UserError, match="images: number 1 lacks the field 'path'"):
        edit(run, lambda values: values.update(images=[{"source": "me"}]))
        read_conditioning(run / "conditioning.json")


def test_what_was_made_for_a_run_moves_into_its_folder_and_other_runs_find_it(tmp_path, cameras, tiny_model):
    made = gather(options(), cameras, tiny_model, folder=tmp_path / "run")
    assert made.folder == tmp_path / "run" / STAGING
    (made.folder / MADE_FOLDER / "some").mkdir(parents=True)
    (made.folder / MADE_FOLDER / "some" / "a.png").write_text("new")
    (tmp_path / "run" / MADE_FOLDER / "some").mkdir(parents=True)
    (tmp_path / "run" / MADE_FOLDER / "some" / "b.png").write_text("old")
    made = replace(made, images=(ConditionImage(f"{MADE_FOLDER}/some/a.png", "made"),))
    assert made.image_files()[0].read_text() == "new"
    made.record(tmp_path / "run", 0, pytest.fail)
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == [
        "a.png",
        "conditioning",
        "conditioning.json",
        "some",
    ]
    path = tmp_path / "run" / "conditioning.json"
    other = gather(options(conditioning=str(path)), cameras, tiny_model, folder=tmp_path / "other")
    for conditioning in (read_conditioning(path), other):
        assert conditioning.image_files()[0].read_text() == "new"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"condition_images": ("nowhere",)}, "--condition_images nowhere is no file or folder"),
        ({"condition_images": ("EMPTY",)}, "EMPTY holds no pictures"),
        ({"condition_images": ("a.png", "notes.txt")}, "notes.txt cannot be read as a picture"),
        ({"condition_images": ("deep.png",)}, "deep.png cannot be read as a picture of eight bits"),
        ({"condition_images": ("a.png",), "prompts_file": ""}, "one prompt has no others"),
        ({"condition_images": ("a.png",), "clip": False}, "no CLIP is at hand"),
    ],
)
def test_pictures_that_cannot_be_used(cameras, tmp_path, tiny_model, tiny_towers, flags, words):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "notes.txt").write_text("no picture\n")
    (tmp_path / "p.txt").write_text("a red vase\na blue car\n")
    Image.fromarray(np.full((30, 30), 3000, np.uint16)).save(tmp_path / "deep.png")
    model = tiny_towers if flags.pop("clip", True) else tiny_model
    pictures = tuple(
        str(tmp_path / name) if name != "nowhere" else name for name in flags["condition_images"]
    )
    with pytest.raises(UserError) as raised:
        flags = {"prompts_file": str(tmp_path / "p.txt"), **flags, "condition_images": pictures}
        gather(options(**flags), cameras, model)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"image_condition": "none"}, "--condition_images: --image_condition none"),
        ({"conditioning": "a.json"}, "leave out --llm, --prompts_file, --front_view and --condition_images"),
    ],
)
def test_pictures_without_effect_are_refused(flags, words):
    with pytest.raises(UserError, match=words):
        options(condition_images=("a.png",), **flags)
