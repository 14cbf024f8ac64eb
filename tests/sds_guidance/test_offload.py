"""The U-Net comes to the device for denoising alone, whole, and leaves no copy; the plan counts it so."""

import json
import shutil

import pytest
import torch

from benchmarks.guidance_memory import hollow, write_settings
from sds_guidance.memory import MemoryPlan, occupied, plan_memory, step_bytes
from sds_guidance.prior import load_prior
from sds_guidance.targets import Targets
from sds_guidance.targets_options import TargetsOptions
from tests.sds_guidance.exact_priors import GaussianPrior
from tests.sds_guidance.views import moved_camera, view

META, CUDA = torch.device("meta"), torch.device("cuda")  # meta: a device that is not the host
SIZE = (64, 96)
MIB = 2**20


@pytest.fixture
def split(tiny_model):
    """A prior whose U-Net is kept on the host, its VAE elsewhere."""
    return load_prior(tiny_model, META, torch.float32, offload=True)


def addresses(network: torch.nn.Module) -> list[int]:
    return [weight.data_ptr() for weight in network.parameters()]


def test_the_unet_is_lent_to_the_vaes_device_and_returns_to_the_same_memory(split):
    assert (split.unet.device.type, split.vae.device.type, split.abar.device.type) == ("cpu", "meta", "meta")
    home, weights = addresses(split.unet), [weight.clone() for weight in split.unet.parameters()]
    for _ in range(2):
        with split.unet_on_device():
            assert all(weight.is_meta for weight in split.unet.parameters())
        assert addresses(split.unet) == home
    with pytest.raises(ZeroDivisionError), split.unet_on_device():
        raise ZeroDivisionError
    assert addresses(split.unet) == home
    assert all(map(torch.equal, split.unet.parameters(), weights))
    assert not any(weight.requires_grad for weight in split.unet.parameters())


def test_what_is_bound_to_a_view_lends_the_same_unet(split):
    bound = split.seeing(torch.zeros(1, 1, 8, 8))
    with bound.unet_on_device(), split.unet_on_device():
        assert split.unet.device == META
    assert split.unet.device.type == "cpu"


def test_on_one_device_nothing_moves(tiny_model):
    prior = load_prior(tiny_model, torch.device("cpu"), torch.float32, offload=True)
    before = addresses(prior.unet)
    with prior.unet_on_device():
        assert addresses(prior.unet) == before


class Lending(GaussianPrior):
    """A prior that counts how often its U-Net was lent, and sees that only then it is asked."""

    lent, loans = False, 0

    def unet_on_device(self):
        self.loans += 1
        return self

    def __enter__(self) -> None:
        self.lent = True

    def __exit__(self, *_: object) -> None:
        self.lent = False

    def encode(self, pictures):
        assert not self.lent
        return super().encode(pictures)

    def decode(self, latents):
        assert not self.lent
        return super().decode(latents)

    def predict(self, *args):
        assert self.lent
        return super().predict(*args)


def test_targets_borrow_the_unet_once_a_renewal_between_encoder_and_decoder():
    prior, generator = Lending(0.5, 0.2), torch.Generator().manual_seed(3)
    options = TargetsOptions(targets_views=3, targets_refresh=9, targets_steps=4)
    mode = Targets(options, prior, [], moved_camera, lambda _: 1.0, rescale=0.7, resolution=64)
    loans = []
    for step in range(18):
        (camera,) = mode.cameras(generator, step / 18)
        before = prior.loans
        mode(view(camera), torch.zeros(2, 1, 1), step / 18, generator)
        loans.append(prior.loans - before)
    # Renewals come in a row: three steps borrow it, and then none until the targets are nine steps old.
    assert loans == 2 * [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert len(prior.seen) == 6 * 4


def plan(
    folder, level: str, *, decodes: bool = True, device=CUDA, available: int | None = None
) -> MemoryPlan:
    return plan_memory(
        level,
        "bfloat16",
        device,
        folder,
        SIZE,
        gradient=not decodes,
        decoder=decodes,
        available=available,
    )


@pytest.fixture
def heavy_vae(tiny_model, tmp_path):
    """Settings of the tiny model with a VAE that needs more of a step than its U-Net, as that of SD does."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": [64, 64]}))
    return folder


def test_low_keeps_the_unet_on_the_host_where_that_helps_and_says_why_it_does_not(tiny_model):
    low, high = plan(tiny_model, "low"), plan(tiny_model, "high")
    assert low.offload
    assert not high.offload
    prior = hollow(tiny_model, torch.bfloat16)
    assert low.weights == occupied([prior.vae])
    assert high.weights == low.weights + occupied([prior.unet])
    assert low.sentence("low").endswith(
        "; the U-Net on the card only while a target is denoised, in the host's memory otherwise"
    )
    assert "U-Net" not in high.sentence("high")
    on_cpu = plan(tiny_model, "low", device=torch.device("cpu"))
    assert not on_cpu.offload
    assert on_cpu.sentence("low").endswith("; the U-Net stays, since a CPU has no other memory for it")
    distilling = plan(tiny_model, "low", decodes=False)
    assert not distilling.offload
    assert "since every guided step asks it" in distilling.sentence("low")


def test_auto_does_so_only_where_nothing_else_fits(heavy_vae):
    low, high = plan(heavy_vae, "low"), plan(heavy_vae, "high")
    spared = occupied([hollow(heavy_vae, torch.bfloat16).unet])
    assert high.weights + high.step - low.weights - low.step == spared
    assert not plan(heavy_vae, "auto", available=high.needed).offload
    fitted = plan(heavy_vae, "auto", available=high.needed - 1)
    assert fitted.offload
    assert "it may not fit" not in fitted.sentence("auto")


def test_the_peak_of_stable_diffusion_is_the_unet_and_what_one_prompt_needs(tmp_path):
    """Against another count, ../shared/diffusion-guidance.md, section 6: 1.61 GiB, and 65 MiB a pass."""
    prior = hollow(write_settings(tmp_path), torch.bfloat16)
    prior.one_batch = False
    peak = step_bytes(prior, (512, 512), gradient=False, offload=True)
    assert peak == pytest.approx((1.61 * 1024 + 65) * MIB, rel=0.01)
