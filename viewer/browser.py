"""`train.py --viewer`: the start and end of a training's viewer; without the flag, viser is not loaded."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.nn import ParameterDict

from viewer.live import LiveModel
from viewer.surroundings import Surroundings
from viewer.watching import ViewerOptions


@contextmanager
def in_browser(
    options: ViewerOptions,
    live: LiveModel,
    around: Surroundings,
    gaussians: ParameterDict,
    say: Callable[[str], object],
) -> Iterator[None]:
    """Shows a training in browsers while the block runs, where `--viewer` asks for it.

    Where the viewer cannot be started, the training goes on without and says so.

    Args:
        options: the flags.
        live: the training.
        around: what its model stands in.
        gaussians: those that it starts from.
        say: takes the line with the address.
    """
    viewer = None
    if options.viewer:
        from viewer.server import start_server  # noqa: PLC0415  (loads viser)
        from viewer.training import TrainingInBrowser  # noqa: PLC0415

        try:
            server = start_server(options.ip, options.viewer_port, "Training", flag="viewer_port")
            viewer = TrainingInBrowser(server, around, live, gaussians)
            say(f"viewer: {server.address}")
        except Exception:
            traceback.print_exc()
            print("warning: --viewer: the training goes on without it", file=sys.stderr)
    try:
        yield
    finally:
        if viewer:
            viewer.stop()
