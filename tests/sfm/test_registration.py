"""Why photographs found no place: from a database whose numbers are known."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest

from sfm.registration import grouped, nothing_registered, why_missing


def database(path, features, matches):
    """A COLMAP database with so many features of each photograph, and verified matches of pairs."""
    with pycolmap.Database.open(path) as opened:
        camera = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[70, 70, 32, 24])
        camera_id = opened.write_camera(camera)
        ids = {}
        for name, count in features.items():
            ids[name] = opened.write_image(pycolmap.Image(name=name, camera_id=camera_id))
            opened.write_keypoints(ids[name], np.zeros((count, 2), np.float32))
        for (one, two), count in matches.items():
            pairs = np.stack([np.arange(count)] * 2, axis=1).astype(np.uint32)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config, geometry.inlier_matches = 2, pairs
            opened.write_two_view_geometry(ids[one], ids[two], geometry)
    return path


def model(*names):
    """As much of a model as is asked for: its photographs, all registered."""
    images = {number: SimpleNamespace(name=name, has_pose=True) for number, name in enumerate(names)}
    return SimpleNamespace(images=images, num_reg_images=lambda: len(names))


def test_each_photograph_that_is_missing_is_told_why(tmp_path):
    features = dict.fromkeys(("a", "b", "c", "far", "odd", "x", "y", "z"), 1000) | {"dim": 200, "bare": 3}
    matches = {("a", "b"): 400, ("b", "c"): 300, ("a", "far"): 17, ("odd", "c"): 80, ("odd", "x"): 500}
    path = database(tmp_path / "d.db", features, matches)
    reasons = why_missing(path, [model("a", "b", "c"), model("x", "y", "z")])
    assert list(reasons) == ["bare", "dim", "far", "odd", "x", "y", "z"]
    assert reasons["bare"].startswith("3 features, where the others have 1000:")
    assert reasons["dim"].startswith("200 features, where the others have 1000:")
    assert reasons["far"].startswith("at best 17 matches (a) with those that have a place")
    assert reasons["odd"].startswith("80 matches with c, but they agree on no place")
    assert {reasons[name] for name in "xyz"} == {reasons["x"]}
    assert reasons["x"].startswith("of another model, with 3 photographs;")
    assert grouped(reasons)[reasons["x"]] == ["x", "y", "z"]


def test_no_matches_at_all(tmp_path):
    path = database(tmp_path / "d.db", {"a": 500, "b": 500, "c": 500, "lone": 400}, {("a", "b"): 90})
    assert why_missing(path, [model("a", "b", "c")])["lone"].startswith("no matches with those")


@pytest.mark.parametrize(
    "features, matches, advice",
    [
        (20, {}, "blurred, dark, or show bare surfaces"),
        (500, {}, "share too little"),
        (500, {("a", "b"): 400, ("b", "c"): 400}, "do not only turn"),
    ],
)
def test_nothing_registered_says_what_is_wrong(tmp_path, features, matches, advice):
    path = database(tmp_path / "d.db", dict.fromkeys("abc", features), matches)
    message = str(nothing_registered(path, tmp_path))
    assert message.startswith(f"none of the 3 photographs in {tmp_path} could be registered")
    assert f"{features} features each; {len(matches)} pairs match" in message and advice in message
