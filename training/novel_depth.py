"""The loss on the depth of novel views, of which a trained network tells the shape."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scene.cameras import Camera
from scene.dataset import Scene
from scene.depth_estimation import Estimator, load_estimator
from scene.novel_cameras import NovelCameras
from training.depth_losses import RAMP, SURFACE, DepthOptions, See, correlation, inverse_depth
from training.options import Options
from utils.determinism import single_threaded
from utils.images import image_pixels


class NovelDepthLoss:
    """1 - Pearson's correlation of rendered inverse depth and what a model makes of the rendered colours.

    After FSGS (arXiv 2312.00451). It holds no state: an iteration's number says all.
    """

    def __init__(
        self,
        options: DepthOptions,
        estimate: Callable[[NDArray[np.uint8]], Tensor],
        cameras: Callable[[torch.Generator, float], Camera],
        iterations: int,
        seed: int,
    ) -> None:
        """Keeps what the loss needs.

        Args:
            options: the flags.
            estimate: (H, W) inverse depth, up to scale and offset, of a picture (H, W, 3).
            cameras: novel ones, from a generator and the run's progress in [0, 1].
            iterations, seed: of the run.
        """
        self.options, self.estimate, self.cameras = options, estimate, cameras
        self.iterations, self.seed = iterations, seed

    def __call__(self, iteration: int, see: See) -> float:
        """Renders a novel view, if the iteration's turn has come, and adds the loss's gradient.

        Pixels count that have a surface. The weight rises with the warp loss's: a model makes little of the
        first renderings.

        Args:
            iteration: from 1.
            see: renders the state's Gaussians; they get the gradient.

        Returns:
            The loss, weighted; 0 out of turn.
        """
        interval = self.options.depth_interval * self.options.depth_model_interval
        if iteration % interval:
            return 0.0
        progress = iteration / self.iterations
        generator = torch.Generator().manual_seed((self.seed + iteration * 2**32) % 2**63)
        rendering = see(self.cameras(generator, progress), depth=True)
        said = self.estimate(image_pixels(rendering.rgb)).to(rendering.rgb)
        with single_threaded():  # sums of many pixels, whose bits depend on the threads
            surface = rendering.alpha[0].detach() >= SURFACE
            unlike = 1 - correlation(inverse_depth(rendering), said, surface)
            loss = interval * min(progress / RAMP, 1.0) * self.options.lambda_depth * unlike
            if loss.requires_grad:
                loss.backward()
        return float(loss.detach())


@cache
def depth_model(model: str, device: torch.device) -> Estimator:
    """The model of `--depth_model`, loaded once for a run and its pilots.

    Raises:
        UserError: as `load_estimator` does.
    """
    return load_estimator("depth_model", model, device)


def make_novel_depth_loss(options: Options, scene: Scene, device: torch.device) -> NovelDepthLoss | None:
    """The loss of a run, its model loaded; None where the options name none.

    Raises:
        UserError: as `load_estimator` does.
    """
    if not options.depth.depth_model:
        return None
    estimate = depth_model(options.depth.depth_model, device)
    cameras = NovelCameras(scene.train_cameras, scene.points.positions)
    return NovelDepthLoss(options.depth, estimate, cameras, options.iterations, options.seed)
