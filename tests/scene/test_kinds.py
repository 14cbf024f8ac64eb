"""How a dataset is recognised, and what is said where there is none."""

import shlex

import pytest

from scene.kinds import scene_kind
from scene.photographs import VIDEOS
from utils.errors import UserError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def refusal(folder):
    with pytest.raises(UserError) as refused:
        scene_kind(folder)
    return str(refused.value)


def test_the_first_kind_that_fits_is_taken(tmp_path):
    assert scene_kind(touch(tmp_path, "a.jpg")) == "photograph"
    assert scene_kind(touch(tmp_path, "transforms.json")) == "nerfstudio"
    assert scene_kind(touch(tmp_path, "transforms_train.json")) == "blender"
    assert scene_kind(touch(tmp_path, "sparse/0/images.bin")) == "colmap"


@pytest.mark.parametrize("inside", ["", "images", "input"])
def test_photographs_without_poses_are_offered_the_exact_command(tmp_path, inside):
    folder = touch(
        tmp_path / "my photographs", *(f"{inside}/{number}.JPG".lstrip("/") for number in range(3))
    )
    said = refusal(folder)
    for wanted in ("sparse/ (COLMAP)", "transforms_train.json (Blender)", "transforms.json (Nerfstudio)"):
        assert wanted in said
    assert "its 3 photographs have no poses" in said
    command = said.split("`")[1]
    assert shlex.split(command) == ["python", "convert.py", "-s", str(folder)]


def test_a_video_is_offered_the_command_too(tmp_path):
    touch(tmp_path, "walk.MP4")
    assert f"`python convert.py -s {tmp_path}/walk.MP4`" in refusal(tmp_path)


@pytest.mark.parametrize("ending", VIDEOS)
def test_every_video_that_convert_takes_is_offered_to_it(ending, tmp_path):
    (tmp_path / f"walk{ending}").touch()
    assert f"`python convert.py -s {tmp_path}/walk{ending}`" in refusal(tmp_path)


def test_photographs_one_folder_below_and_a_video_given_itself_are_offered_it(tmp_path):
    touch(tmp_path, "monday/1.jpg", "tuesday/1.jpg", "walk.mp4")
    said = refusal(tmp_path)
    assert "its 2 photographs have no poses" in said and f"`python convert.py -s {tmp_path}`" in said
    assert f"`python convert.py -s {tmp_path}/walk.mp4` makes" in refusal(tmp_path / "walk.mp4")


def test_datasets_one_folder_below_are_named(tmp_path):
    touch(tmp_path, "b/transforms.json", "a/sparse/0/images.bin", "c/x.jpg", "z.jpg", "y.jpg")
    said = refusal(tmp_path)
    assert f"its folder a is one (as are b): give -s {tmp_path}/a" in said and "convert" not in said


def test_nothing_a_file_and_a_wrong_path(tmp_path):
    assert refusal(tmp_path).endswith("found nothing; check the path")
    touch(tmp_path, "transforms.json")
    assert "it is a file; give the folder" in refusal(tmp_path / "transforms.json")
    assert f"no folder {tmp_path}/gone" in refusal(tmp_path / "gone")
