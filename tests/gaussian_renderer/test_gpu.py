"""On an NVIDIA GPU: gsplat's pictures and gradients beside those of the CPU engine. Skips with a reason."""

import pytest
import torch

from gaussian_renderer import choose_engine, cpu, cuda, render
from scene.cameras import Camera
from tests.gaussian_renderer.scenes import (
    LEAVES,
    Result,
    assert_gradients_close,
    oracle,
    random_scene,
    random_weights,
    run,
)
from utils.errors import UserError

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def working_gsplat():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no NVIDIA GPU")
    try:
        cuda.probe()
    except UserError as broken:
        pytest.skip(str(broken))


def run_cuda(scene: dict, weights: tuple[torch.Tensor, ...], **options) -> Result:
    """`scenes.run` on the GPU, results brought back."""

    def rasterize(**arguments):
        leaves = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}
        image, alpha, meta = cuda.rasterization(**(arguments | {k: v.cuda() for k, v in leaves.items()}))
        return image, alpha, meta

    result = run(rasterize, scene, weights, **options)
    gradients = {name: gradient.cpu() for name, gradient in result.gradients.items()}
    return Result(result.image.cpu(), result.alpha.cpu(), result.meta, gradients)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("sh_degree", [None, 3])
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
def test_both_engines_give_the_same(render_mode, sh_degree, rasterize_mode):
    """To gsplat's rounding: its kernels use the fast exponential, so close decisions are left out."""
    scene = random_scene(1, count=90, cameras=2, sh_degree=sh_degree)
    options: dict = {"render_mode": render_mode, "rasterize_mode": rasterize_mode}
    seen = run(oracle.rasterization, scene, **options)
    decided = seen.meta["decided"][..., None]
    weights = tuple(weight * decided for weight in random_weights(1, seen.image))
    ours = run(cpu.rasterization, scene, weights, **options)
    theirs = run_cuda(scene, weights, **options)
    torch.testing.assert_close(theirs.image * decided, ours.image * decided, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(theirs.alpha * decided, ours.alpha * decided, rtol=0, atol=1e-4)
    for name in (*LEAVES, "means2d", "absgrad"):
        assert_gradients_close(
            name, theirs.gradients[name], ours.gradients[name].double(), row=5e-3, rest=1e-4
        )


def test_render_on_the_gpu():
    engine = choose_engine("cuda")
    scene = random_scene(2, sh_degree=3)
    gaussians = {
        "means": scene["means"],
        "scales": scene["scales"].log(),
        "quats": scene["quats"],
        "opacities": scene["opacities"].logit(),
        "sh0": scene["colors"][:, :1],
        "shN": scene["colors"][:, 1:],
    }
    camera = Camera("view", scene["viewmats"][0], scene["Ks"][0], scene["width"], scene["height"])
    results = [
        render(
            camera,
            {name: values.to(one.device) for name, values in gaussians.items()},
            sh_degree=3,
            background=torch.tensor([0.2, 0.4, 0.6], device=one.device),
            engine=one,
            depth=True,
        )
        for one in (engine, choose_engine("cpu"))
    ]
    close = (results[0].rgb.cpu() - results[1].rgb).abs() < 1e-3
    assert close.double().mean() > 0.99, "but for close decisions"
