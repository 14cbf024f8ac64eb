"""The flags of train.py: those of its parts, side by side, and its own."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from scene.dataset import SceneOptions
from scene.densification import DensificationOptions
from scene.exposure import ExposureOptions
from scene.floaters import FloaterOptions
from scene.optimisers import OptimiserOptions
from sds_guidance import GuidanceOptions
from training.depth_losses import DepthOptions
from utils.errors import UserError, demand
from utils.optional_modules import optional_module
from utils.training_log import WANDB
from viewer.watching import ViewerOptions

MAY_DIFFER = frozenset(
    {"quiet", "resume", "overwrite", "detect_anomaly", "model_path", "image_memory", "test_iterations"}
    | {"preset"}  # the flags that it set are compared themselves
    | {"save_iterations", "checkpoint_iterations", "checkpoint_interval", "guidance_log"}
    | {"llm", "llm_base_url", "llm_model", "llm_send_images", "llm_timeout", "expert_notes"}
    | {"llm_images", "llm_image_model", "ip", "port", "disable_viewer", "wandb"}
    | {"viewer", "viewer_port"}
)
"""Options that do not change the result, so that a resumed run may be given others."""


@dataclass
class Options:
    """Trains a 3D Gaussian Splatting model on photographs, guided by a latent diffusion model."""

    scene: SceneOptions = field(default_factory=SceneOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    densification: DensificationOptions = field(default_factory=DensificationOptions)
    floaters: FloaterOptions = field(default_factory=FloaterOptions)
    exposure: ExposureOptions = field(default_factory=ExposureOptions)
    depth: DepthOptions = field(default_factory=DepthOptions)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)
    viewers: ViewerOptions = field(default_factory=ViewerOptions)

    preset: Literal["auto", "reference", "few_views"] = "reference"
    """What flags that are not given stand at: plain 3DGS's values, or those for few photographs
    (docs/few-views.md); auto: few_views where 12 photographs or fewer train."""
    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])] = ""
    """Output folder; empty: a new one under ./output."""
    iterations: int = 30_000
    """Training iterations."""
    sh_degree: int = 3
    """Highest degree of the spherical harmonics, 0 to 3; the active degree rises every 1000 iterations."""
    lambda_dssim: float = 0.2
    """Weight of 1 - SSIM against L1 in the photometric loss, 0 to 1."""
    lambda_alpha: float = 0.0
    """Weight of L1 between rendered alpha and the photograph's: its alpha channel or, where it has none, its
    mask; at least 0. What hovers where a photograph shows nothing fades."""
    random_background: bool = False
    """A new background colour every iteration."""
    far_points: float = 0.0
    """Points to start from behind all others, where photographs show none of these: so many times as far as
    the farthest, at least 1; 0: none. They want --random_background. Gaussians of --init_ply stay alone."""
    opacity_dropout: float = 0.0
    """Share of Gaussians that a training step leaves out at random, reached linearly by the run's end, 0 to
    below 1; the last twentieth leaves out none (DropGaussian, arXiv 2504.00773)."""
    antialiasing: bool = False
    """Dim Gaussians that are smaller than a pixel (Mip-Splatting); the PLY says so to viewers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA where gsplat works."""
    seed: int = 0
    """Seed of all randomness."""
    test_iterations: tuple[int, ...] = (7000, 30_000)
    """Iterations at which PSNR is measured on test views and five training views; -1: never."""
    save_iterations: tuple[int, ...] = (7000, 30_000)
    """Iterations at which the PLY is saved; the last one always is."""
    checkpoint_iterations: tuple[int, ...] = ()
    """Iterations whose checkpoint is kept for good."""
    checkpoint_interval: int = 1000
    """Iterations between checkpoints, of which the newest two stay; 0: only at the end."""
    resume: bool = False
    """Go on from the newest checkpoint in --model_path, or start where there is none."""
    overwrite: bool = False
    """Replace a run that lies in --model_path."""
    detect_anomaly: bool = False
    """Let torch name the operation that made a NaN (slow)."""
    wandb: bool = False
    """Send the log to Weights & Biases too: needs the package wandb, whose own WANDB_PROJECT and WANDB_MODE
    hold."""
    quiet: bool = False
    """Print nothing but warnings and errors."""

    def check(self) -> None:
        """Raises a `UserError` that names the first flag with a value that is not allowed."""
        parts = (self.scene, self.optimiser, self.densification, self.floaters, self.exposure)
        for group in (*parts, self.depth, self.guidance, self.viewers):
            group.check()
        if self.scene.train_test_exp and self.guidance.lambda_sds:
            raise UserError(
                "--train_test_exp trains with halves of test photographs, guidance would see the whole; "
                "give --lambda_sds 0 with it, or --exposure in its place"
            )
        demand(self.iterations >= 1, "iterations", self.iterations, "at least 1")
        if self.wandb:
            optional_module("wandb", WANDB)
        demand(0 <= self.sh_degree <= 3, "sh_degree", self.sh_degree, "0, 1, 2 or 3")
        demand(0 <= self.lambda_dssim <= 1, "lambda_dssim", self.lambda_dssim, "0 to 1")
        weight = self.lambda_alpha
        demand(0 <= weight < math.inf, "lambda_alpha", weight, "a finite number >= 0")
        if weight and self.scene.train_test_exp:
            raise UserError(
                "--lambda_alpha takes what is masked for empty, and --train_test_exp masks halves of "
                "photographs that are not; leave one out"
            )
        far = self.far_points
        demand(far == 0 or 1 <= far < math.inf, "far_points", far, "0 (none), or a finite number >= 1")
        rate = self.opacity_dropout
        demand(0 <= rate < 1, "opacity_dropout", rate, "0 to below 1")
        demand(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 - 1")
        often = self.checkpoint_interval
        demand(often >= 0, "checkpoint_interval", often, "0 (only at the end) or more")
