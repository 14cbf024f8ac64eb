"""--pose_source train: poses of a textured corner and of fern against known ones, and who changes what."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pycolmap
import pytest
from PIL import Image

import full_eval
from protocols import cells, poses
from protocols.cells import average_error
from protocols.localisation import localise, mutual_matches
from protocols.poses import FAILED, pose_lines, train_poses, with_failures
from protocols.selection import prepare
from scene.colmap import read_colmap
from scene.dataset import SceneOptions, posed_photographs
from sfm.reconstruction import largest_model
from tests.scene.models import pinhole, pose, write_dataset
from tests.test_convert import photograph_of_a_corner
from tests.test_full_eval import in_this_process
from utils.errors import UserError, Warnings

TRAIN, TEST = ["0.png", "1.png", "2.png", "4.png", "5.png", "6.png"], ["3.png", "stray.png"]
NAMES = [f"{number}.png" for number in range(7)]


def photograph(number, lens, matrix):
    return photograph_of_a_corner(matrix)


def centres_and_rotations(source: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) and (N, 3, 3), camera to world, of a dataset's photographs."""
    found = {it.name: it.world_to_camera for it in read_colmap(source, "images", Warnings())[0]}
    turned = np.stack([found[name][:3, :3].T for name in names])
    return np.stack([-turned[i] @ found[name][:3, 3] for i, name in enumerate(names)]), turned


def differences(made: Path, given: Path, train: list[str], test: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """How far the test cameras are from the given ones, in degrees, and in parts of the cameras' spread.

    After the similarity that brings the training cameras nearest to the given ones (Umeyama 1991; the turn
    from the cameras' own, since centres may lie on a line).
    """
    (ours, our_turns), (theirs, their_turns) = (
        centres_and_rotations(it, [*train, *test]) for it in (made, given)
    )
    count = len(train)
    u, _, v = np.linalg.svd(sum(b @ a.T for a, b in zip(our_turns[:count], their_turns[:count], strict=True)))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    a, b = (it[:count] - it[:count].mean(axis=0) for it in (ours @ turn.T, theirs))
    scale = (a * b).sum() / (a * a).sum()
    moved = scale * (ours @ turn.T - (ours @ turn.T)[:count].mean(axis=0)) + theirs[:count].mean(axis=0)
    spread = np.sqrt((b * b).sum(axis=1).mean())
    cosines = [(np.trace(turn @ x @ y.T) - 1) / 2 for x, y in zip(our_turns, their_turns, strict=True)]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles[count:], np.linalg.norm(moved - theirs, axis=1)[count:] / spread


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of seven photographs of a textured corner with exact poses, and one of something else."""
    lens = pinhole(320, 240, 300.0, 300.0, 160.0, 120.0)
    poses = [pose(number, 7) for number in range(7)]
    folder = write_dataset(
        tmp_path_factory.mktemp("data") / "corner",
        [*NAMES, "stray.png"],
        lens=lens,
        paint=photograph,
        poses=[*poses, poses[3]],
    )
    noise = np.random.default_rng(9).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "images/stray.png")
    return folder


@pytest.mark.slow
def test_test_photographs_are_localised_and_change_nothing(corner: Path, tmp_path: Path, monkeypatch) -> None:
    made, before = tmp_path / "data/made", tmp_path / "before"

    def localise_and_remember(model, *arguments):
        before.mkdir()
        model.write_binary(before)
        return localise(model, *arguments)

    monkeypatch.setattr(poses, "localise", localise_and_remember)
    monkeypatch.setattr(poses, "largest_model", of_these_alone := Mock(side_effect=largest_model))
    found = train_poses(corner, TRAIN, TEST, made)
    assert [call.args[1] for call in of_these_alone.call_args_list] == [TRAIN]
    for file in ("cameras.bin", "points3D.bin"):
        assert (before / file).read_bytes() == (made / "sparse/0" / file).read_bytes()
    was, now = (pycolmap.Reconstruction(folder).images for folder in (before, made / "sparse/0"))
    assert [it.name for number, it in now.items() if number not in was] == ["3.png"]
    for number, image in was.items():
        assert np.array_equal(image.cam_from_world().matrix(), now[number].cam_from_world().matrix())

    assert (found["train"], found["test"], found["not_registered"]) == (TRAIN, ["3.png"], [])
    assert list(found["not_localised"]) == ["stray.png"]
    assert "at least 30" in found["not_localised"]["stray.png"]
    angles, distances = differences(made, corner, TRAIN, ["3.png"])
    assert angles.max() < 0.5 and distances.max() < 0.01

    photographs, points = read_colmap(made, "images", Warnings())
    assert [it.name for it in photographs] == NAMES  # all that have a pose
    assert len(points.positions) == found["points"] > 300
    assert len(points.seen["3.png"]) == 0 and len(points.seen["2.png"]) > 30
    assert (made / "images/3.png").samefile(corner / "images/3.png")
    assert list(made.parent.iterdir()) == [made]

    other = write_dataset(  # the test photograph is another, taken elsewhere
        tmp_path / "other",
        [*NAMES, "stray.png"],
        lens=pinhole(320, 240, 300.0, 300.0, 160.0, 120.0),
        paint=lambda number, lens, matrix: photograph_of_a_corner(pose(2.5, 7) if number == 3 else matrix),
        poses=[pose(number, 7) for number in range(7)] + [pose(3, 7)],
    )
    monkeypatch.undo()
    train_poses(other, TRAIN, ["3.png"], tmp_path / "again")
    one, two = (centres_and_rotations(it, [*TRAIN, "3.png"])[0] for it in (made, tmp_path / "again"))
    # not to the bit: Ceres orders its unknowns by their addresses
    assert np.allclose(one[:-1], two[:-1], atol=1e-2)
    assert np.linalg.norm(one[-1] - two[-1]) > 0.1

    monkeypatch.setattr(poses, "largest_model", lambda *_, **__: pytest.fail("it is there"))
    assert train_poses(corner, TRAIN, TEST, made) == found
    with pytest.raises(UserError, match=r"made has poses of other photographs, of .*corner; choose another"):
        train_poses(corner, TRAIN[1:], TEST, made)


@pytest.mark.slow
@pytest.mark.data
def test_fern_agrees_with_the_given_poses(data_root: Path, tmp_path: Path) -> None:
    options = SceneOptions(source_path=str(data_root / "fern"), eval=True, n_views=6)
    posed = posed_photographs(options, Warnings())
    train, test = ([it.name for it in photographs] for photographs in (posed.train, posed.test))
    found = train_poses(data_root / "fern", train, test, tmp_path / "made")
    assert (found["train"], found["test"]) == (train, test)
    angles, distances = differences(tmp_path / "made", data_root / "fern", train, test)
    assert angles.max() < 0.5 and distances.max() < 0.02


@pytest.mark.slow
def test_photographs_that_share_nothing_are_named_and_leave_nothing(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "flat", [f"{number}.png" for number in range(4)])
    with pytest.raises(UserError, match=r"--pose_source train: none of the 3 .* or use --pose_source all"):
        train_poses(folder, ["0.png", "1.png", "2.png"], ["3.png"], tmp_path / "eval/made")
    assert list((tmp_path / "eval").iterdir()) == []


def test_matches_are_mutual_and_stand_out() -> None:
    generator = np.random.default_rng(3)
    one = generator.gamma(0.4, size=(60, 128))
    two = np.concatenate([one[20:50], one[20:25] * 1.01, generator.gamma(0.4, size=(30, 128))])
    two *= generator.uniform(0.8, 1.25, two.shape)
    one, two = (
        np.rint(512 * it / np.linalg.norm(it, axis=1, keepdims=True)).astype(np.uint8) for it in (one, two)
    )
    angles = np.array([[np.arccos(min(float(a @ b) / 512**2, 1)) for b in two * 1.0] for a in one * 1.0])
    expected = []
    for row in range(60):
        nearest, next_one = np.argsort(angles[row])[:2]
        good = angles[row, nearest] <= 0.7 and angles[row, nearest] < 0.8 * angles[row, next_one]
        if good and angles[:, nearest].argmin() == row:
            expected.append([row, nearest])
    assert 15 < len(expected) < 30  # the first five have two that are as good
    np.testing.assert_array_equal(mutual_matches(one, two), expected)
    assert mutual_matches(one[:1], two).shape == (0, 2)


def test_a_failure_counts_as_a_grey_picture_of_no_structure() -> None:
    worst = np.array([0.0, 1.0])
    assert FAILED["PSNR"] == pytest.approx(-10 * np.log10(((worst - 0.5) ** 2).mean()), abs=0.005)
    assert FAILED["average_error"] == pytest.approx(average_error(FAILED["PSNR"], 0.0, 1.0), abs=0.005)
    record = {"test": ["a", "b", "c"], "not_localised": {"d": "no"}}
    scores = {"PSNR": 20.0, "SSIM": 0.75, "LPIPS": None, "average_error": None}
    found = with_failures(scores, record)
    assert found["PSNR"] == pytest.approx((3 * 20 + 6.02) / 4) and found["SSIM"] == pytest.approx(0.5625)
    assert found["LPIPS"] is None
    assert with_failures(scores, {**record, "not_localised": {}}) == scores


def test_whose_poses_is_said_once_for_each_number_of_photographs() -> None:
    cell = {"scene": "fern", "views": 3}
    found = {"train": ["a", "b"], "not_registered": ["c"], "test": ["d"], "not_localised": {"e": "2 matches"}}
    given, made = {"cell": cell}, {"cell": cell, "poses": found}
    assert pose_lines([given, given]) == [
        "Poses (--pose_source all): those of the dataset, from all of its photographs."
    ]
    assert pose_lines([made, made]) == [
        "Poses (--pose_source train): fern, 3 photographs: 2 of 3 (not c) registered by SfM on themselves "
        "alone, 1 of 2 (not e) test photographs localised against that model. Not localised, and not in the "
        "means: e: 2 matches."
    ]


def test_what_has_no_poses_to_find_is_refused_before_anything_runs(small_scene: Path, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "scene", [f"{number}.png" for number in range(9)])
    ready = prepare("every8", folder, 3, "train")
    assert ready.split == (("1.png", "4.png", "7.png"), ("0.png", "8.png")) and "--eval" not in ready.flags
    with pytest.raises(UserError, match=r"2 training photographs of .*/scene; .* need 3 or more"):
        prepare("every8", folder, 2, "train")
    with pytest.raises(UserError, match="is a blender dataset; only photographs of a COLMAP"):
        prepare("every8", small_scene, 3, "train")
    (folder / "images").rename(folder / "images_8")
    assert prepare("mip360_fsgs", folder, 3, "all").split is None
    with pytest.raises(UserError, match=r"scene/images lacks 5 of the photographs, 1\.png say"):
        prepare("mip360_fsgs", folder, 3, "train")


def test_records_and_tables_name_who_was_not_localised(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = write_dataset(tmp_path / "scene", [f"{number:02}.png" for number in range(17)])

    def two_of_three(source: Path, train, test, made: Path) -> dict:
        if not made.exists():
            write_dataset(made, [*train, *test[:2]])
        assert (source, len(train), len(test)) == (folder, 4, 3)
        return {
            "train": list(train),
            "test": list(test[:2]),
            "not_registered": [],
            "not_localised": {test[2]: "3 matches"},
        }

    monkeypatch.setattr(cells, "call", in_this_process)
    monkeypatch.setattr(cells, "train_poses", two_of_three)
    (tmp_path / "variants.toml").write_text('[variants]\nplain = "--iterations 3 --lambda_sds 0"\n')
    options = full_eval.Options(
        scenes=(str(folder),),
        views=(4,),
        variants=("plain",),
        variants_file=str(tmp_path / "variants.toml"),
        seeds=(0, 1),
        pose_source="train",
        reference_iterations=0,
        lpips_net="none",
        device="cpu",
        output=str(tmp_path / "eval"),
    )
    full_eval.main(options)
    results = json.loads((tmp_path / "eval/results.json").read_text())
    assert results["pose_source"] == "train"
    psnr = []
    for record in results["records"]:
        assert record["cell"]["pose_source"] == "train"
        assert record["settings"]["options"]["scene"]["source_path"] == str(
            tmp_path / "eval/scene/4_views/train_poses"
        )
        assert list(record["poses"]["not_localised"]) == ["16.png"] and len(record["per_view"]["PSNR"]) == 2
        psnr.append((2 * record["scores"]["PSNR"] + 6.02) / 3)
        assert record["scores_with_failures"]["PSNR"] == pytest.approx(psnr[-1])
    text = (tmp_path / "eval/tables.md").read_text()
    assert "4 photographs, poses of the training photographs alone, 1 scene" in text
    assert "test photographs that were not localised counted as PSNR 6.02, SSIM 0, LPIPS 1" in text
    assert f"| {np.mean(psnr):.2f} +- {np.std(psnr, ddof=1):.2f} |" in text
    assert "Not localised, and not in the means: 16.png: 3 matches." in text

    options.pose_source = "all"
    with pytest.raises(UserError, match=r"--pose_source train: (.|\n)*--pose_source all: "):
        full_eval.main(options)
