"""The flags: spelt with underscores, checked by name, and free of network libraries."""

import subprocess
import sys

import pytest

from sds_guidance.options import DEFAULT_MODEL, GuidanceOptions
from utils.errors import UserError
from utils.options import parse


def test_defaults_are_those_of_the_design():
    options = parse(GuidanceOptions, [])
    assert (options.lambda_sds, options.guidance_model) == (0.2, DEFAULT_MODEL)
    assert (options.guidance_scale, options.sds_weight, options.sds_reduction) == (
        7.5,
        "alpha_sigma",
        "relative",
    )
    options.check()


def test_flags_are_spelt_with_underscores():
    options = parse(
        GuidanceOptions,
        [
            "--lambda_sds",
            "0.5",
            "--sds_t_min",
            "0.1",
            "0.05",
            "--sds_reduction",
            "mean",
            "--prompt",
            "a fern",
        ],
    )
    assert (options.lambda_sds, options.sds_t_min, options.sds_reduction) == (0.5, (0.1, 0.05), "mean")
    assert options.prompt == "a fern"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("lambda_sds", -0.1),
        ("lambda_sds", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_rescale", 1.5),
        ("guidance_resolution", 8),
        ("guidance_interval", -1),
        ("guidance_from", 0.95),
        ("guidance_until", 1.1),
        ("guidance_warmup", -0.1),
        ("sds_t_anneal", 2.0),
        ("sds_clip", 0.0),
        ("sds_t_min", (0.8, 0.02)),
        ("sds_t_min", (0.0, 0.02)),
        ("sds_t_max", (0.75, 1.0)),
        ("guidance_log", -1),
        ("guidance_distance", 1.5),
        ("guidance_near_plane", 1.5),
        ("ism_t", (0.0, 0.5)),
        ("ism_t", (0.6, 0.5)),
        ("ism_delta_t", (0.1, 0.0)),
        ("ism_delta_s", 0.0),
    ],
)
def test_a_bad_value_is_refused_by_name(flag, value):
    with pytest.raises(UserError) as refusal:
        GuidanceOptions(**{flag: value}).check()
    assert str(refusal.value).startswith(f"--{flag} {value}: allowed is ")


def test_importing_the_package_loads_no_network_library():
    """What train.py imports for its flags, and all it needs with --lambda_sds 0."""
    code = (
        "import sys, sds_guidance, sds_guidance.loading, sds_guidance.guidance_log, scene.novel_cameras\n"
        "heavy = {'diffusers', 'transformers', 'huggingface_hub', 'accelerate', 'safetensors'}\n"
        "heavy |= {'openai', 'pydantic'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
