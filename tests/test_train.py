"""train.py: outputs, schedules, and that the same seed gives the same bits, resumed or killed or not."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import train
from scene.gaussians import load_gaussians
from tests.programs import BUSY, PLAIN, ROOT, ply, run_program, run_train
from utils.checkpoints import checkpoint_path, load_newest_checkpoint
from utils.errors import UserError, Warnings
from utils.options import load_cfg_args, load_settings


def test_training_fits_the_photographs(small_scene, tmp_path):
    model = run_train(
        small_scene, tmp_path, "--eval", "--iterations", 300, "--test_iterations", 1, 300, "--seed", 3
    )
    rows = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
    test = {row["iteration"]: row["test_psnr"] for row in rows if "test_psnr" in row}
    assert sorted(test) == [1, 300]
    assert test[300] > test[1] + 6 and test[300] > 20


def test_outputs_lie_where_the_reference_puts_them(small_scene, unbroken):
    for name in ("cfg_args", "cameras.json", "input.ply", "chkpnt60.pth", "settings.json", "training.json"):
        assert (unbroken / name).is_file(), name
    saved = load_cfg_args(unbroken)
    assert saved["sh_degree"] == 3 and saved["source_path"] == str(small_scene) and not saved["eval"]
    assert (unbroken / "cfg_args").read_text().startswith("Namespace(sh_degree=3, source_path=")
    cameras = json.loads((unbroken / "cameras.json").read_text())
    assert set(cameras[0]) == {"id", "img_name", "width", "height", "position", "rotation", "fy", "fx"}
    settings = load_settings(unbroken) or {}
    assert settings["options"]["scene"]["source_path"] == str(small_scene)
    assert settings["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "points3d.ply" in settings["scene"]["points"]
    gaussians, _ = load_gaussians(unbroken / "point_cloud/iteration_60/point_cloud.ply")
    assert json.loads((unbroken / "training.json").read_text())["gaussians"] == len(gaussians["means"])


def test_the_busy_run_grew(unbroken):
    assert len(load_gaussians(unbroken / "point_cloud/iteration_60/point_cloud.ply")[0]["means"]) > 60


def test_same_seed_same_bits_and_another_seed_others(small_scene, unbroken, tmp_path):
    again = run_train(small_scene, tmp_path / "a", "--iterations", 60, *BUSY)
    other = run_train(small_scene, tmp_path / "b", "--iterations", 60, *BUSY, "--seed", 1)
    assert ply(again, 60) == ply(unbroken, 60)
    assert ply(other, 60) != ply(unbroken, 60)


def test_scheduled_files_appear_right_after_their_iteration(small_scene, tmp_path, monkeypatch):
    seen = {}
    original = train.save_checkpoint

    def spy(model_path, state, keep):
        original(model_path, state, keep)
        seen[state["iteration"]] = {str(p.relative_to(model_path)) for p in model_path.rglob("*.p*")}

    monkeypatch.setattr(train, "save_checkpoint", spy)
    model = run_train(
        small_scene,
        tmp_path,
        *("--iterations", 9, "--save_iterations", 4, "--checkpoint_iterations", 2),
        *("--checkpoint_interval", 4, "--test_iterations", -1),
    )
    assert sorted(seen) == [2, 4, 8, 9]
    saved = "point_cloud/iteration_4/point_cloud.ply"
    assert saved not in seen[2] and saved in seen[4]
    # of the regular ones the newest two stay, and the one that was asked for stays for good
    assert {path.name for path in model.glob("chkpnt*")} == {"chkpnt2.pth", "chkpnt8.pth", "chkpnt9.pth"}
    assert {path.name for path in (model / "point_cloud").iterdir()} == {"iteration_4", "iteration_9"}


@pytest.mark.parametrize("iterations", [(1, 0), (999, 0), (1000, 1), (2500, 2), (9000, 3)])
def test_sh_degree_rises_every_thousand_iterations(iterations):
    iteration, degree = iterations
    assert train.active_sh_degree(iteration, 3) == degree
    assert train.active_sh_degree(iteration, 1) == min(degree, 1)


def test_a_model_is_saved_before_its_opacities_are_reset(small_scene, tmp_path):
    """A run that ends, or saves, at a reset is not left with opacities of 0.01; the checkpoint goes on."""
    run_train(
        small_scene, tmp_path, "--iterations", 5, "--opacity_reset_interval", 5, "--test_iterations", -1
    )
    saved, _ = load_gaussians(tmp_path / "point_cloud/iteration_5/point_cloud.ply")
    assert torch.sigmoid(saved["opacities"]).max() > 0.05
    checkpoint = load_newest_checkpoint(tmp_path, Warnings())
    assert checkpoint is not None
    assert torch.sigmoid(checkpoint["training"]["gaussians"]["opacities"]).max() < 0.0101


def test_resumed_equals_unbroken(small_scene, unbroken, tmp_path):
    flags = ("--iterations", 60, *BUSY)

    class Stop(Exception):
        pass

    def stopping(*arguments, **keywords):
        if len(state) == 33:
            raise Stop
        state.append(0)
        return original(*arguments, **keywords)

    state: list[int] = []
    original = train.photometric_loss
    train.photometric_loss = stopping
    try:
        with pytest.raises(Stop):
            run_train(small_scene, tmp_path, *flags)
    finally:
        train.photometric_loss = original
    assert not (tmp_path / "point_cloud").exists()
    run_train(small_scene, tmp_path, *flags, "--resume")
    assert ply(tmp_path, 60) == ply(unbroken, 60)
    assert (tmp_path / "log.jsonl").read_text() == (unbroken / "log.jsonl").read_text()


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(small_scene, unbroken, tmp_path):
    """SIGKILL at several moments, in the midst of steps and of writing."""
    flags = ["-s", small_scene, "-m", tmp_path, *PLAIN, "--iterations", 60, *BUSY, "--resume"]
    command = [sys.executable, str(ROOT / "train.py"), *(str(flag) for flag in flags)]
    for checkpoint, pause in ((10, 0.0), (20, 0.013), (40, 0.04)):
        process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 120
        while not checkpoint_path(tmp_path, checkpoint).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = run_program("train.py", *flags)
    assert finished.returncode == 0, finished.stderr
    assert ply(tmp_path, 60) == ply(unbroken, 60)
    assert (tmp_path / "log.jsonl").read_text() == (unbroken / "log.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_bits_do_not_depend_on_the_number_of_threads(small_scene, tmp_path, strategy):
    flags = ["-s", small_scene, *PLAIN, "--iterations", 40, *BUSY, "--densification", strategy]
    for threads in ("1", "2"):
        environment = {"NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        result = run_program("train.py", *flags, "-m", tmp_path / threads, **environment)
        assert result.returncode == 0, result.stderr
    assert ply(tmp_path / "1", 40) == ply(tmp_path / "2", 40)


def test_a_damaged_checkpoint_is_passed_over(small_scene, unbroken, tmp_path):
    run_train(small_scene, tmp_path, "--iterations", 60, *BUSY)
    path = checkpoint_path(tmp_path, 60)
    path.write_bytes(path.read_bytes()[:1000])
    warnings = Warnings()
    saved = load_newest_checkpoint(tmp_path, warnings)
    assert saved is not None and saved["iteration"] == 50 and "chkpnt60" in warnings.lines()[0]
    run_train(small_scene, tmp_path, "--iterations", 60, *BUSY, "--resume")
    assert ply(tmp_path, 60) == ply(unbroken, 60)


def test_resuming_a_finished_run_changes_nothing(small_scene, tmp_path):
    flags = ("--iterations", 10, *BUSY)
    run_train(small_scene, tmp_path, *flags)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run_train(small_scene, tmp_path, *flags, "--resume")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_is_resumed_under_another_spelling_of_its_folder(small_scene, tmp_path):
    run_train(small_scene, tmp_path, "--iterations", 3)
    run_train(
        small_scene.parent / "." / small_scene.name / ".." / small_scene.name,
        tmp_path,
        *("--iterations", 3),
        "--resume",
    )


def test_resume_without_a_run_starts_one(small_scene, tmp_path):
    run_train(small_scene, tmp_path / "new", "--iterations", 3, "--resume")
    assert ply(tmp_path / "new", 3)


def test_another_runs_folder_is_refused_and_left_alone(small_scene, tmp_path):
    run_train(small_scene, tmp_path, "--iterations", 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"already holds a run.*--resume.*--overwrite"):
        run_train(small_scene, tmp_path, "--iterations", 3)
    with pytest.raises(UserError, match=r"--iterations: was 3, now 4\n  --sh_degree: was 3, now 2"):
        run_train(small_scene, tmp_path, "--iterations", 4, "--sh_degree", 2, "--resume")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_run_killed_before_its_first_checkpoint_is_resumed(small_scene, tmp_path, monkeypatch):
    """Between settings and the files beside them, and between those and the loop."""
    for step in ("write_reference_files", "train"):
        model = tmp_path / step

        def stop(*_):
            raise InterruptedError

        with monkeypatch.context() as patch:
            patch.setattr(train, step, stop)
            with pytest.raises(InterruptedError):
                run_train(small_scene, model, "--iterations", 2)
        run_train(small_scene, model, "--iterations", 2, "--resume")
        assert (model / "cfg_args").is_file() and ply(model, 2)


def test_a_checkpoint_of_other_settings_is_refused(small_scene, tmp_path):
    run_train(small_scene, tmp_path / "a", "--iterations", 2)
    run_train(small_scene, tmp_path / "b", "--iterations", 2, "--feature_lr", 0.5)
    saved = torch.load(checkpoint_path(tmp_path / "b", 2), weights_only=True)
    assert saved["settings"]["optimiser"]["feature_lr"] == 0.5
    shutil.copy(checkpoint_path(tmp_path / "b", 2), checkpoint_path(tmp_path / "a", 2))
    with pytest.raises(UserError, match=r"--feature_lr: was 0\.5, now 0\.0025"):
        run_train(small_scene, tmp_path / "a", "--iterations", 2, "--resume")


def test_a_model_of_another_program_is_not_resumed(small_scene, tmp_path):
    (tmp_path / "cfg_args").write_text("Namespace()")
    with pytest.raises(UserError, match=r"no settings\.json"):
        run_train(small_scene, tmp_path, "--iterations", 2, "--resume")
    assert (tmp_path / "cfg_args").read_text() == "Namespace()"


def test_a_model_in_its_datasets_folder_leaves_the_photographs_alone(small_scene, tmp_path):
    folder = shutil.copytree(small_scene, tmp_path / "both")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):
        run_train(folder, folder, "--iterations", 1, "--overwrite")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_quiet_prints_nothing(small_scene, tmp_path, capfd):
    run_train(small_scene, tmp_path, "--iterations", 20, "--test_iterations", 10, "--overwrite")
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_the_bar_and_the_lines_of_a_run(small_scene, tmp_path):
    flags = ["-s", small_scene, "-m", tmp_path, "--lambda_sds", 0, "--device", "cpu", "--iterations", 20]
    flags += ["--preset", "reference"]
    result = run_program("train.py", *flags, "--test_iterations", 20, "--max_gaussians", 61)
    assert result.returncode == 0, result.stderr
    assert "11 training views" in result.stdout and f"output in {tmp_path}" in result.stdout
    assert "preset reference (as --preset says)" in result.stdout
    assert "iteration 20: train PSNR" in result.stdout
    bar = result.stderr.replace("\r", "\n").splitlines()[-1]
    assert all(part in bar for part in ("20/20", "<00:00", "loss=0.", "psnr=", "gaussians=60")), bar
    assert "90 % of the cap of 61" in result.stderr


def test_the_warning_near_the_cap_comes_while_training(small_scene, tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(train, "save_model", stop)
    with pytest.raises(InterruptedError):
        run_train(small_scene, tmp_path, "--iterations", 10, "--max_gaussians", 61)
    assert "60 Gaussians: 90 % of the cap of 61" in capsys.readouterr().err


def test_a_mask_takes_its_pixels_out_of_training_and_its_figures(small_scene, tmp_path):
    """What lies under the black of a mask changes neither the model nor the log."""
    for name in ("plain", "poisoned"):
        folder = shutil.copytree(small_scene, tmp_path / name)
        for path in sorted((folder / "train").glob("*.png")):
            pixels = np.asarray(Image.open(path)).copy()
            mask = np.full(pixels.shape[:2], 255, np.uint8)
            mask[:, : None if path.name == "r_5.png" else 16] = 0  # r_5.png is one of the five tested
            (folder / "masks/train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / "masks/train" / path.name)
            if name == "poisoned":
                pixels[:, :16] = 255
                Image.fromarray(pixels).save(path)
        run_train(folder, tmp_path / f"{name}-out", "--iterations", 10, "--test_iterations", 10)
    plain, poisoned = tmp_path / "plain-out", tmp_path / "poisoned-out"
    assert ply(plain, 10) == ply(poisoned, 10)
    log = (plain / "log.jsonl").read_text()
    assert log == (poisoned / "log.jsonl").read_text()
    assert '"train_psnr"' in log and "NaN" not in log


def test_mcmc_from_photographs_to_model(small_scene, tmp_path):
    """Grows by a twentieth at each of three refinements, to the cap; opacity and scale are held down."""
    flags = ("--iterations", 60, *BUSY, "--densification", "mcmc", "--max_gaussians", 65)
    run_train(small_scene, tmp_path / "mcmc", *flags)
    run_train(small_scene, tmp_path / "free", *flags, "--opacity_reg", 0, "--scale_reg", 0)
    means = {}
    for name in ("mcmc", "free"):
        gaussians, _ = load_gaussians(tmp_path / name / "point_cloud/iteration_60/point_cloud.ply")
        assert len(gaussians["means"]) == 65
        means[name] = [
            float(gaussians["opacities"].detach().sigmoid().mean()),
            float(gaussians["scales"].detach().exp().mean()),
        ]
    assert means["mcmc"][0] < means["free"][0] and means["mcmc"][1] < means["free"][1]
    rows = [json.loads(line) for line in (tmp_path / "mcmc/log.jsonl").read_text().splitlines()]
    assert rows[-1]["psnr"] > rows[0]["psnr"] + 1


def test_overwrite_replaces_the_run_and_keeps_other_files(small_scene, tmp_path):
    run_train(small_scene, tmp_path, "--iterations", 4, "--save_iterations", 2)
    (tmp_path / "notes.txt").write_text("mine")
    made = [  # of the old model, by render.py and mesh.py
        *("test/ours_4/renders/00000.png", "train_resized/ours_4/renders/00000.png"),
        *("test_resized/ours_4/renders/00000.png", "paths/walk/ours_4/renders/00000.png"),
        *("paths/interpolate/ours_4.mp4", "orbit/ours_4.mp4", "orbit/ours_4_depth.json", "mesh/ours_4.ply"),
    ]
    for name in (*made, "paths/walk/mine.txt", "train/r_0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    run_train(small_scene, tmp_path, "--iterations", 3, "--overwrite")
    assert [name for name in made if (tmp_path / name).exists()] == []
    assert (tmp_path / "paths/walk/mine.txt").exists() and (tmp_path / "train/r_0.png").exists()
    assert [path.name for path in (tmp_path / "point_cloud").iterdir()] == ["iteration_3"]
    assert [path.name for path in tmp_path.glob("chkpnt*")] == ["chkpnt3.pth"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_starts_from_a_gaussian_ply(small_scene, unbroken, tmp_path):
    start = unbroken / "point_cloud/iteration_60/point_cloud.ply"
    run_train(small_scene, tmp_path, "--init_ply", start, "--iterations", 1, "--position_lr_init", 0)
    first, _ = load_gaussians(start)
    again, _ = load_gaussians(tmp_path / "point_cloud/iteration_1/point_cloud.ply")
    assert torch.equal(first["means"], again["means"])
    assert not torch.equal(first["sh0"], again["sh0"])
    with pytest.raises(UserError, match="give --sh_degree 3"):
        run_train(small_scene, tmp_path / "b", "--init_ply", start, "--sh_degree", 1)


def test_random_background_reaches_the_renderer(small_scene, tmp_path, monkeypatch):
    colours = []
    original = train.render

    def spy(*arguments, **keywords):
        colours.append(keywords["background"])
        return original(*arguments, **keywords)

    monkeypatch.setattr(train, "render", spy)
    run_train(small_scene, tmp_path, "--iterations", 4, "--random_background", "--test_iterations", -1)
    assert len({tuple(colour.tolist()) for colour in colours}) == 4


def test_unguided_training_imports_nothing_of_diffusers(small_scene, tmp_path):
    code = (
        "import sys; from tests.programs import run_train; from pathlib import Path; "
        f"run_train(Path({str(small_scene)!r}), Path({str(tmp_path)!r}), '--iterations', 2); "
        "print([name for name in ('diffusers', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip().endswith("[]")


def test_log_has_numbers_and_losses_fall(unbroken):
    rows = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert all(np.isfinite([row["loss"], row["psnr"]]).all() for row in rows)
