"""Every flag of the reference is honoured, under its name and with its default, or refused by name."""

import dataclasses

import pytest

import convert
import metrics
import render
import train
from tests.programs import flat
from utils.errors import UserError
from utils.options import parse
from utils.reference_flags import REFUSED

DEFAULTS = {
    **{"sh_degree": 3, "source_path": "", "model_path": "", "images": "images", "resolution": -1},
    **{"white_background": False, "eval": False, "iterations": 30_000},
    **{"position_lr_init": 1.6e-4, "position_lr_final": 1.6e-6, "position_lr_max_steps": 30_000},
    **{"feature_lr": 0.0025, "opacity_lr": 0.025, "scaling_lr": 0.005, "rotation_lr": 0.001},
    **{"percent_dense": 0.01, "lambda_dssim": 0.2, "densification_interval": 100},
    **{"opacity_reset_interval": 3000, "densify_from_iter": 500, "densify_until_iter": 15_000},
    **{"densify_grad_threshold": 0.0002, "random_background": False, "antialiasing": False},
    **{"detect_anomaly": False, "test_iterations": (7000, 30_000), "save_iterations": (7000, 30_000)},
    **{"checkpoint_iterations": (), "quiet": False, "train_test_exp": False},
    **{"exposure_lr_init": 0.01, "exposure_lr_final": 0.001},
    **{"exposure_lr_delay_steps": 0, "exposure_lr_delay_mult": 0.0},
    **{"depths": "", "depth_l1_weight_init": 1.0, "depth_l1_weight_final": 0.01},
    **{"ip": "127.0.0.1", "port": 6009, "disable_viewer": False},
}
LOADING_REFUSED = ("data_device",)
PIPELINE_REFUSED = ("convert_SHs_python", "compute_cov3D_python", "debug")
TRAIN_REFUSED = (
    *LOADING_REFUSED,
    *PIPELINE_REFUSED,
    *("position_lr_delay_mult", "optimizer_type"),
    *("debug_from", "start_checkpoint"),
)
SHORT = {
    "-s": "source_path",
    "-m": "model_path",
    "-i": "images",
    "-r": "resolution",
    "-w": "white_background",
}
CONVERT_REFUSED = (
    "no_gpu",
    "skip_matching",
    "colmap_executable",
    "magick_executable",
    "resize",
)


def words(flag: str, value: object) -> list[str]:
    """A flag and a value other than its default, as words of a command line."""
    if isinstance(value, bool):
        return [flag]
    if isinstance(value, tuple):
        return [flag, "11", "12"]
    return [flag, "other" if isinstance(value, str) else str(value + 1)]  # type: ignore[operator]


def test_train_has_the_references_defaults():
    assert flat(train.Options()).items() >= DEFAULTS.items()


@pytest.mark.parametrize("name", DEFAULTS)
def test_train_honours(name):
    before = flat(train.Options())
    after = flat(parse(train.Options, words(f"--{name}", DEFAULTS[name]), REFUSED))
    assert {key for key in after if after[key] != before[key]} == {name}


@pytest.mark.parametrize("short", SHORT)
def test_train_and_render_know_the_short_forms(short):
    line = words(short, DEFAULTS[SHORT[short]])
    assert parse(train.Options, line) == parse(train.Options, [f"--{SHORT[short]}", *line[1:]])
    model = [] if short == "-m" else ["-m", "model"]
    long = [f"--{SHORT[short]}", *line[1:]]
    assert parse(render.Options, [*model, *line]) == parse(render.Options, [*model, *long])


@pytest.mark.parametrize("name", TRAIN_REFUSED)
def test_train_refuses_by_name(name):
    for line in ([f"--{name}", "1"], [f"--{name}=1"], [f"--{name.replace('_', '-')}"]):
        with pytest.raises(UserError, match=rf"^--{name} is not supported: ...."):
            parse(train.Options, line, REFUSED)


def test_nothing_is_refused_that_is_honoured_and_nothing_else():
    assert set(REFUSED) == {f"--{name}" for name in TRAIN_REFUSED}
    assert not flat(train.Options()).keys() & set(TRAIN_REFUSED)


def test_train_knows_the_short_form_of_depths():
    assert parse(train.Options, ["-d", "maps"]) == parse(train.Options, ["--depths", "maps"])


@pytest.mark.parametrize("name", ["sh_degree", "depths", *LOADING_REFUSED, *PIPELINE_REFUSED])
def test_render_refuses_by_name(name):
    with pytest.raises(UserError, match=f"^--{name} is not supported: ...."):
        parse(render.Options, ["-m", "model", f"--{name}", "1"], render.REFUSED)


@pytest.mark.parametrize(
    "name",
    [
        *("source_path", "images", "resolution", "white_background", "eval", "antialiasing"),
        *("iteration", "skip_train", "skip_test", "quiet", "train_test_exp"),
    ],
)
def test_render_honours(name):
    before = render.Options(model_path="model")
    after = parse(render.Options, ["-m", "model", *words(f"--{name}", getattr(before, name))], render.REFUSED)
    assert dataclasses.replace(before, **{name: getattr(after, name)}) == after != before


def test_metrics_takes_several_models():
    for flag in ("-m", "--model_paths"):
        assert parse(metrics.Options, [flag, "a", "b"]).model_paths == ("a", "b")


@pytest.mark.parametrize("name", CONVERT_REFUSED)
def test_convert_refuses_by_name(name):
    with pytest.raises(UserError, match=f"^--{name} is not supported: ...."):
        parse(convert.Options, ["-s", "folder", f"--{name}"], convert.REFUSED)


@pytest.mark.parametrize("program", [train, render, metrics, convert])
@pytest.mark.parametrize(
    "line", [["--iteratoins", "7"], ["--seed", "x"], ["surplus"], ["--lpips_net", "big"]]
)
def test_a_command_that_cannot_be_read_is_one_message_and_code_2(program, line, capsys):
    with pytest.raises(SystemExit) as end:
        parse(program.Options, line)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("For full helptext") == 1
