"""The CUDA engine without a GPU: what it asks of gsplat, and what it says when gsplat is broken."""

import inspect
import subprocess
import sys
from pathlib import Path

import gsplat
import pytest
import torch

from gaussian_renderer import cuda, render
from gaussian_renderer.engines import Engine, choose_engine
from scene.cameras import Camera
from utils.errors import UserError


def picture(arguments: dict) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """What gsplat would return for these arguments, in shape, and depending on what has a gradient."""
    count, height, width = len(arguments["viewmats"]), arguments["height"], arguments["width"]
    channels = 4 if arguments.get("render_mode", "RGB") == "RGB+ED" else 3
    level = arguments["opacities"].mean()
    return (
        level.expand(count, height, width, channels),
        level.expand(count, height, width, 1),
        {"width": width},
    )


@pytest.fixture
def calls(monkeypatch):
    """The arguments of every call of gsplat.rasterization, which is replaced and checks them by signature."""
    signature = inspect.signature(gsplat.rasterization)
    seen = []

    def record(*args, **kwargs):
        assert not args, "every argument goes by keyword"
        signature.bind(**kwargs)
        seen.append(kwargs)
        return picture(kwargs)

    monkeypatch.setattr(gsplat, "rasterization", record)
    return seen


@pytest.fixture
def gaussians():
    generator = torch.Generator().manual_seed(1)
    shapes = {"means": (5, 3), "scales": (5, 3), "quats": (5, 4), "opacities": (5,)}
    shapes |= {"sh0": (5, 1, 3), "shN": (5, 15, 3)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return torch.nn.ParameterDict(tensors)


@pytest.fixture
def camera():
    intrinsics = torch.tensor([[20.0, 0.0, 9.0], [0.0, 21.0, 5.0], [0.0, 0.0, 1.0]])
    return Camera("view", torch.eye(4), intrinsics, 18, 11)


def test_render_asks_gsplat_for_what_was_asked(calls, gaussians, camera):
    engine = Engine("cuda", torch.device("cpu"), cuda.rasterization)
    background = torch.tensor([0.1, 0.2, 0.3])
    result = render(
        camera,
        gaussians,
        sh_degree=2,
        background=background,
        engine=engine,
        depth=True,
        antialiased=True,
        absgrad=True,
        scaling_modifier=0.5,
        radius_clip=1.5,
    )
    (asked,) = calls
    assert torch.equal(asked["means"], gaussians["means"])
    assert torch.equal(asked["quats"], gaussians["quats"])
    torch.testing.assert_close(asked["scales"], gaussians["scales"].exp() * 0.5)
    torch.testing.assert_close(asked["opacities"], gaussians["opacities"].sigmoid())
    assert torch.equal(asked["colors"], torch.cat([gaussians["sh0"], gaussians["shN"][:, :8]], 1))
    assert torch.equal(asked["viewmats"], camera.world_to_camera[None])
    assert torch.equal(asked["Ks"], camera.intrinsics[None])
    tensors = {"means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"}
    assert {name: value for name, value in asked.items() if name not in tensors} == {
        "width": 18,
        "height": 11,
        "near_plane": 0.2,
        "radius_clip": 1.5,
        "sh_degree": 2,
        "packed": False,
        "render_mode": "RGB+ED",
        "absgrad": True,
        "rasterize_mode": "antialiased",
    }
    level = gaussians["opacities"].sigmoid().mean()
    assert result.rgb.shape == (3, 11, 18)
    assert result.depth is not None
    assert result.alpha.shape == result.depth.shape == (1, 11, 18)
    expected = level + (1 - level) * background
    torch.testing.assert_close(result.rgb, expected[:, None, None].expand(3, 11, 18))
    result.rgb.sum().backward()
    assert gaussians["opacities"].grad.abs().min() > 0


def test_render_asks_for_nothing_more_by_default(calls, gaussians, camera):
    engine = Engine("cuda", torch.device("cpu"), cuda.rasterization)
    result = render(camera, gaussians, sh_degree=0, background=torch.zeros(3), engine=engine)
    (asked,) = calls
    assert result.depth is None
    assert torch.equal(asked["colors"], gaussians["sh0"])
    assert (asked["render_mode"], asked["rasterize_mode"]) == ("RGB", "classic")
    assert (asked["absgrad"], asked["radius_clip"], asked["near_plane"]) == (False, 0.0, 0.2)
    torch.testing.assert_close(asked["scales"], gaussians["scales"].exp())


def test_unpacked_unless_told_otherwise(calls, gaussians):
    shape: dict = {"viewmats": torch.eye(4)[None], "Ks": torch.eye(3)[None], "width": 2, "height": 2}
    tensors = dict(gaussians) | {"colors": gaussians["sh0"][:, 0]}
    del tensors["sh0"], tensors["shN"]
    cuda.rasterization(**tensors, **shape)
    assert calls[0]["packed"] is False


def test_no_gaussians_is_an_error_not_a_crash(calls):
    with pytest.raises(UserError, match="without Gaussians"):
        cuda.rasterization(means=torch.zeros(0, 3))
    assert not calls


def broken_by(failure):
    def fail(**arguments):
        raise failure

    return fail


FAILURES = {
    "no toolkit": (
        AttributeError("'NoneType' object has no attribute 'CameraModelType'"),
        "found no CUDA toolkit",
    ),
    "unusable toolkit": (
        ImportError("/root/.cache/gsplat_cuda/gsplat_cuda.so: cannot open shared object file"),
        "could not compile or load its CUDA kernels",
    ),
    "another architecture": (
        RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"),
        "no kernel image is available for execution on the device)",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_broken_gsplat_becomes_one_sentence_with_the_remedy(monkeypatch, name):
    failure, cause = FAILURES[name]
    monkeypatch.setattr(gsplat, "rasterization", broken_by(failure))
    with pytest.raises(UserError) as caught:
        cuda.probe("cpu")
    message = str(caught.value)
    assert cause in message
    assert "\n" not in message
    for remedy in ("CUDA toolkit", "prebuilt gsplat", "--device cpu"):
        assert remedy in message


def test_gsplat_not_installed_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)  # what an absent module looks like to `import`
    with pytest.raises(UserError, match="pip install gsplat"):
        cuda.probe("cpu")


def test_kernels_that_draw_nothing_are_noticed(monkeypatch):
    def nothing(**arguments):
        image, alpha, meta = picture(arguments | {"opacities": arguments["means"][:, 0]})
        return image, alpha, meta

    monkeypatch.setattr(gsplat, "rasterization", nothing)
    with pytest.raises(UserError, match="draw a Gaussian of opacity"):
        cuda.probe("cpu")


def test_probe_passes_where_gsplat_works(monkeypatch):
    monkeypatch.setattr(
        gsplat,
        "rasterization",
        lambda **arguments: picture(arguments | {"opacities": arguments["means"][:, 2] * 0.45}),
    )
    cuda.probe("cpu")


def test_auto_without_a_gpu_is_the_cpu_and_loads_no_gsplat():
    program = (
        "import sys, torch\n"
        "torch.cuda.is_available = lambda: False\n"
        "from gaussian_renderer import choose_engine\n"
        "assert 'gaussian_renderer.cpu' not in sys.modules\n"
        "engine = choose_engine()\n"
        "assert engine.name == 'cpu' and engine.device.type == 'cpu'\n"
        "assert 'gsplat' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["rasteriser: CPU (torch sees no NVIDIA GPU)"]


def test_auto_with_a_broken_gsplat_warns_and_takes_the_cpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "probe", broken_by(UserError("gsplat is broken so")))
    assert choose_engine("auto").name == "cpu"
    printed = capsys.readouterr()
    assert printed.err == "warning: gsplat is broken so\n"
    assert printed.out == "rasteriser: CPU (there is a GPU, but gsplat does not work on it)\n"
    with pytest.raises(UserError, match="--device cuda: gsplat is broken so"):
        choose_engine("cuda")


def test_auto_with_a_working_gpu_takes_it(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(cuda, "probe", lambda: None)
    engine = choose_engine("auto")
    assert (engine.name, engine.device.type, engine.rasterization) == ("cuda", "cuda", cuda.rasterization)
    assert capsys.readouterr().out == "rasteriser: CUDA (Some GPU with gsplat)\n"
    assert choose_engine("cpu").name == "cpu", "forced, whatever there is"


def test_forced_cuda_without_a_gpu_names_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"sees no NVIDIA GPU.*--device cpu"):
        choose_engine("cuda")


def test_an_unknown_device_is_named():
    with pytest.raises(UserError, match="--device tpu: unknown; allowed are auto, cpu and cuda"):
        choose_engine("tpu")
