"""render.py on a scene of known Gaussians: the pictures are the photographs, in the reference's layout."""

import json
import shutil
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import metrics
from render import Options, main
from scene.dataset import SceneOptions
from scene.gaussians import save_ply
from scene.model_folder import find_ply
from tests.small_scene import HEIGHT, WIDTH, some_gaussians, write_small_scene
from train import Options as TrainOptions
from utils.errors import UserError
from utils.options import parse, save_cfg_args, save_settings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("dataset"), views=3)


@pytest.fixture
def model(tmp_path: Path, dataset: Path) -> Path:
    """A model folder that holds the very Gaussians of which the dataset's photographs are pictures."""
    scene = SceneOptions(source_path=str(dataset), eval=True)
    save_settings(tmp_path / "model", TrainOptions(scene=scene))
    for iteration in (70, 300):
        folder = tmp_path / "model" / "point_cloud" / f"iteration_{iteration}"
        save_ply(folder / "point_cloud.ply", some_gaussians())
    return tmp_path / "model"


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())}


def render(model: Path, **options) -> None:
    main(Options(model_path=str(model), device="cpu", quiet=True, **options))


def test_views_are_rendered_in_the_references_layout(model, dataset):
    render(model)
    for split, count in (("train", 3), ("test", 2)):
        folder = model / split / "ours_300"
        renders, targets = pictures(folder / "renders"), pictures(folder / "gt")
        assert list(renders) == list(targets) == [f"{index:05d}.png" for index in range(count)]
        for index, name in enumerate(renders):
            photograph = np.asarray(Image.open(dataset / split / f"r_{index}.png").convert("RGB"))
            assert np.array_equal(targets[name], photograph)
            assert np.abs(renders[name] - photograph).max() <= 1
    assert not (model / "orbit").exists()
    metrics.main(metrics.Options(model_paths=(str(model),), lpips_net="none"))
    assert (model / "results.json").is_file()


def test_an_earlier_runs_pictures_do_not_stay(model):
    stale = model / "test" / "ours_300" / "renders" / "00007.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another test set")
    render(model, skip_train=True)
    assert sorted(pictures(stale.parent)) == ["00000.png", "00001.png"]
    assert not (model / "train").exists()


def test_transparent_photographs_are_laid_over_the_background(model, dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "transparent")
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, 51  # a fifth of red 200
    Image.fromarray(pixels).save(tmp_path / "transparent/test/r_0.png")
    scene = SceneOptions(source_path=str(tmp_path / "transparent"), eval=True, white_background=True)
    save_settings(model, TrainOptions(scene=scene))
    render(model, skip_train=True, iteration=70)
    target = pictures(model / "test/ours_70/gt")["00000.png"]
    assert np.array_equal(target[0, 0], [244, 204, 204])
    assert np.array_equal(pictures(model / "test/ours_70/renders")["00000.png"][0, 0], [255, 255, 255])


def test_an_empty_test_set_has_empty_folders(model, dataset):
    save_settings(model, TrainOptions(scene=SceneOptions(source_path=str(dataset))))
    render(model, skip_train=True)
    assert pictures(model / "test/ours_300/renders") == pictures(model / "test/ours_300/gt") == {}
    with pytest.raises(UserError, match="test set is empty"):
        metrics.main(metrics.Options(model_paths=(str(model),), lpips_net="none"))


def test_a_model_of_the_reference_is_rendered(model, dataset):
    (model / "settings.json").unlink()
    values = {"sh_degree": 3, "source_path": str(dataset), "model_path": "elsewhere", "images": "images"}
    rest = {"depths": "", "resolution": -1, "white_background": False, "data_device": "cuda", "eval": True}
    save_cfg_args(model, {**values, **rest})
    render(model, skip_train=True)
    assert len(pictures(model / "test/ours_300/renders")) == 2


def test_a_model_of_an_older_reference_is_rendered(model, dataset):
    """Before 2024 `cfg_args` had fewer keys, in alphabetical order."""
    (model / "settings.json").unlink()
    line = f"images='images', model_path='', resolution=-1, sh_degree=3, source_path='{dataset}'"
    (model / "cfg_args").write_text(f"Namespace(eval=True, {line}, white_background=False)")
    render(model, skip_train=True)
    assert len(pictures(model / "test/ours_300/renders")) == 2


def test_the_command_line_overrides_how_the_scene_was_read(model, dataset):
    save_settings(model, TrainOptions(scene=SceneOptions(source_path=str(dataset))))
    render(model, eval=True, resolution=2, white_background=True, skip_train=True)
    renders = pictures(model / "test/ours_300/renders")
    assert [picture.shape for picture in renders.values()] == [(HEIGHT // 2, WIDTH // 2, 3)] * 2
    assert np.array_equal(renders["00000.png"][0, 0], [255, 255, 255])


def test_antialiasing_can_be_asked_for_where_the_ply_does_not(model):
    render(model, skip_train=True)
    plain = pictures(model / "test/ours_300/renders")["00000.png"]
    render(model, skip_train=True, antialiasing=True)
    assert not np.array_equal(pictures(model / "test/ours_300/renders")["00000.png"], plain)


def test_the_file_that_training_started_from_may_be_gone(model, dataset):
    save_settings(model, TrainOptions(scene=SceneOptions(str(dataset), eval=True, init_ply="/gone.ply")))
    render(model, skip_train=True)
    assert len(pictures(model / "test/ours_300/renders")) == 2


def test_masked_pixels_count_in_no_metric(model, dataset, tmp_path):
    masked = shutil.copytree(dataset, tmp_path / "masked")
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, : WIDTH // 2] = 0
    (masked / "masks/test").mkdir(parents=True)
    Image.fromarray(mask).save(masked / "masks/test/r_0.png")  # r_1 has none
    scores = []
    for grey in (0, 200):
        pixels = np.asarray(Image.open(dataset / "test/r_0.png").convert("RGB")).copy()
        pixels[:, : WIDTH // 2] = grey
        Image.fromarray(pixels).save(masked / "test/r_0.png")
        render(model, skip_train=True, source_path=str(masked))
        metrics.main(metrics.Options(model_paths=(str(model),), lpips_net="none"))
        scores.append(json.loads((model / "per_view.json").read_text())["ours_300"])
    assert list(pictures(model / "test/ours_300/masks")) == ["00000.png"]
    assert scores[0] == scores[1] and scores[0]["PSNR"]["00000.png"] > 40
    assert "masks" in json.loads((model / "metrics_conventions.json").read_text())
    render(model, skip_train=True)
    assert not (model / "test/ours_300/masks").exists()


def test_quiet_prints_nothing(model, capfd):
    render(model)
    assert capfd.readouterr() == ("", "")


def test_the_orbit_is_a_video_of_the_scene(model):
    render(model, skip_train=True, skip_test=True, orbit=True, frames=12)
    assert not (model / "train").exists()
    decoder = imageio_ffmpeg.read_frames(str(model / "orbit/ours_300.mp4"))
    assert next(decoder)["size"] == (WIDTH, HEIGHT)
    frames = [np.frombuffer(frame, np.uint8).reshape(HEIGHT, WIDTH, 3).astype(int) for frame in decoder]
    assert len(frames) == 12
    middle = [frame[HEIGHT // 2 - 5 : HEIGHT // 2 + 5, WIDTH // 2 - 5 : WIDTH // 2 + 5] for frame in frames]
    assert all(patch.mean() > 20 for patch in middle)  # the ball stays in the middle
    assert np.abs(frames[0] - frames[6]).mean() > 1  # and is seen from elsewhere


def test_a_dataset_that_moved_is_named_by_source_path(model, dataset, tmp_path):
    save_settings(model, TrainOptions(scene=SceneOptions(source_path="/gone", eval=True)))
    with pytest.raises(UserError, match="source_path"):
        render(model)
    render(model, skip_train=True, source_path=str(dataset))
    assert len(pictures(model / "test/ours_300/renders")) == 2


def test_iterations_are_found(model):
    assert find_ply(model, -1)[0] == 300  # as numbers: 300 comes after 70
    assert find_ply(model, 70)[1].parent.name == "iteration_70"
    with pytest.raises(UserError, match="holds 70, 300"):
        find_ply(model, 7000)


def test_mistakes_are_said_in_a_sentence(model, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        render(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no trained model"):
        render(tmp_path / "empty")
    with pytest.raises(UserError, match="nothing to render"):
        render(model, skip_train=True, skip_test=True)
    shutil.rmtree(model / "point_cloud")
    with pytest.raises(UserError, match="train first"):
        render(model)


def test_the_command_line_is_the_references():
    options = parse(Options, ["-m", "model", "--iteration", "7000", "--skip_train", "--quiet"])
    assert options == Options(model_path="model", iteration=7000, skip_train=True, quiet=True)
