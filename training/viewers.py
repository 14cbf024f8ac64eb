"""A training that people watch while it runs: who is answered, and what they see."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gaussian_renderer import Engine
from scene.dataset import Scene
from scene.training_state import TrainingState
from training.options import Options
from viewer.browser import in_browser
from viewer.live import LiveModel
from viewer.surroundings import Surroundings
from viewer.watching import watched


@contextmanager
def shown(
    options: Options,
    scene: Scene,
    state: TrainingState,
    engine: Engine,
    model_path: Path,
    say: Callable[[str], object],
) -> Iterator[LiveModel]:
    """Answers the viewers that the flags allow while the block trains; the block offers them its Gaussians.

    Args:
        options: `viewers` says who may watch.
        scene: whose cameras and photographs they see beside the model.
        state: what the training starts from.
        engine: what renders for them.
        model_path: what they save goes to its folder `view`.
        say: takes lines about viewers.
    """
    cameras, background = scene.train_cameras + scene.test_cameras, options.scene.background(engine.device)
    around = Surroundings(cameras, background, engine, options.antialiasing, model_path / "view")
    with (
        watched(options.viewers, options.iterations, around, options.scene.source_path, say) as live,
        in_browser(options.viewers, live, around, state.gaussians, say),
    ):
        yield live
