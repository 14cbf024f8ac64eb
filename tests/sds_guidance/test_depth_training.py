"""A tiny depth-to-image model in the loop of train.py, from flags to the saved model, and resumed."""

import pytest

from tests.programs import break_off, ply, run_train

GUIDED = (
    *("--iterations", 12, "--checkpoint_interval", 6, "--test_iterations", -1, "--guidance_gate", "off"),
    *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_interval", 2, "--guidance_resolution", 64),
    *("--targets_views", 2, "--targets_refresh", 4, "--targets_steps", 2),
)


@pytest.mark.parametrize("mode", ["sds", "targets"])  # ism is asked as sds is
def test_a_depth_model_guides_and_a_resumed_run_equals_the_unbroken_one(
    small_scene, tiny_depth_model, tmp_path, mode
):
    flags = (*GUIDED, "--guidance", mode, "--guidance_model", tiny_depth_model)
    run_train(small_scene, tmp_path / "whole", *flags)
    rows = (tmp_path / "whole" / "guidance.csv").read_text().splitlines()
    assert len(rows) == 1 + 6
    assert "nan" not in " ".join(rows)

    break_off(small_scene, tmp_path / "broken", *flags, at=6)
    run_train(small_scene, tmp_path / "broken", *flags, "--resume")
    assert ply(tmp_path / "broken", 12) == ply(tmp_path / "whole", 12)
