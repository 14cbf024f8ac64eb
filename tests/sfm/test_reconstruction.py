"""Which photographs share a camera, which pairs are matched, and features that an interruption left."""

import itertools

import numpy as np
import pycolmap
import pytest
from PIL import Image

from sfm.reconstruction import LOOP_PHOTOGRAPHS, add_features, match_pairs, sequential_pairs


@pytest.mark.parametrize("count", [1, 2, 3, 30, 400])
@pytest.mark.parametrize("overlap", [1, 4])
def test_sequential_pairs_are_neighbours_and_a_few_far_ones(count, overlap):
    names = [str(number) for number in range(count)]
    pairs = [(int(one), int(two)) for one, two in sequential_pairs(names, overlap)]
    assert len(set(pairs)) == len(pairs) and all(0 <= one < two < count for one, two in pairs)
    near = {(one, two) for one, two in itertools.combinations(range(count), 2) if two - one <= overlap}
    assert near <= set(pairs)
    far = set(pairs) - near
    assert len(far) <= LOOP_PHOTOGRAPHS * (LOOP_PHOTOGRAPHS - 1) // 2
    if count > LOOP_PHOTOGRAPHS:
        assert (0, count - 1) in far  # who walked round comes back to the beginning
        assert max(two - one for one, two in itertools.pairwise(sorted({one for one, _ in far}))) < 20


@pytest.fixture
def photographs(tmp_path):
    """Five photographs: a and b alike, c with another focal length, d turned, e without EXIF."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, focal in {"a": 28, "b": 28, "c": 50, "d": 28, "e": 0}.items():
        tags = Image.Exif()
        if focal:
            tags.get_ifd(0x8769)[0xA405] = focal
        cells = Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8))
        cells.resize((180, 240) if name == "d" else (240, 180)).save(folder / f"{name}.jpg", exif=tags)
    return folder, [f"{name}.jpg" for name in "abcde"]


def cameras_of(database):
    """Of every photograph: the number of its camera, its focal length, and whether that is known."""
    with pycolmap.Database.open(database) as opened:
        cameras = {camera.camera_id: camera for camera in opened.read_all_cameras()}
        return {
            image.name[0]: (
                image.camera_id,
                round(cameras[image.camera_id].mean_focal_length(), 2),
                cameras[image.camera_id].has_prior_focal_length,
            )
            for image in opened.read_all_images()
        }


def test_photographs_of_one_size_and_focal_length_share_a_camera_that_starts_from_it(photographs, tmp_path):
    folder, names = photographs
    add_features(tmp_path / "d.db", folder, names, "OPENCV")
    found = cameras_of(tmp_path / "d.db")
    assert found["a"] == found["b"]
    assert len({camera for camera, _, _ in found.values()}) == 4
    # 35 mm film has a diagonal of 43.27 mm, the pictures one of 300 pixels
    for name, focal in {
        "a": 28 / 43.27 * 300,
        "c": 50 / 43.27 * 300,
        "d": 28 / 43.27 * 300,
        "e": 1.2 * 240,
    }.items():
        assert found[name][1] == pytest.approx(focal, rel=1e-3)
        assert found[name][2] == (name != "e")


def test_one_camera_when_asked_for(photographs, tmp_path):
    folder, _ = photographs
    add_features(tmp_path / "d.db", folder, ["a.jpg", "c.jpg", "e.jpg"], "OPENCV", one_camera=True)
    assert len({camera for camera, _, _ in cameras_of(tmp_path / "d.db").values()}) == 1


def test_features_and_matches_that_are_there_are_not_made_again(photographs, tmp_path):
    folder, names = photographs
    add_features(tmp_path / "d.db", folder, names, "OPENCV")
    pair = [("a.jpg", "b.jpg")]
    match_pairs(tmp_path / "d.db", pair, tmp_path / "pairs.txt", seed=0)
    with pycolmap.Database.open(tmp_path / "d.db") as opened:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        before = {name: opened.num_keypoints_for_image(number) for name, number in numbers.items()}
        assert opened.read_two_view_geometry(numbers["a.jpg"], numbers["b.jpg"]).inlier_matches.shape[0] > 50
        opened.clear_keypoints()  # all but one photograph's, as if the extraction had stopped there
        opened.write_keypoints(numbers["a.jpg"], np.zeros((7, 2), np.float32))
        opened.clear_descriptors()
        opened.write_descriptors(
            numbers["a.jpg"], pycolmap.FeatureDescriptors(data=np.zeros((7, 128), np.uint8))
        )
    add_features(tmp_path / "d.db", folder, names, "OPENCV")
    match_pairs(tmp_path / "d.db", pair, tmp_path / "pairs.txt", seed=0)
    with pycolmap.Database.open(tmp_path / "d.db") as opened:
        after = {image.name: image.image_id for image in opened.read_all_images()}
        assert after == numbers
        assert opened.num_keypoints_for_image(numbers["a.jpg"]) == 7
        assert opened.num_keypoints_for_image(numbers["c.jpg"]) == before["c.jpg"]
        assert opened.read_two_view_geometry(numbers["a.jpg"], numbers["b.jpg"]).inlier_matches.shape[0] > 50
