"""Shows a trained model in the browser.

python view.py -m output/fern
python view.py point_cloud.ply

Opens http://127.0.0.1:8080 to browsers of this machine alone; docs/viewer.md says how to look from another
one, and what can be done there. Ctrl-C ends it. What is saved lies in `view/` in the model's folder.
"""

from __future__ import annotations

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import tyro

from gaussian_renderer import choose_engine
from utils.errors import UserError, Warnings, demand, run_program
from utils.options import parse
from viewer.loading import load_model, load_surroundings
from viewer.panels import add_panels
from viewer.ports import demand_free
from viewer.server import start_server
from viewer.stage import Stage


@dataclass
class Options:
    """Shows a trained model in the browser."""

    file: tyro.conf.Positional[str] = ""
    """A file of Gaussians (.ply, .compressed.ply, .splat, .spz) in place of a model's folder."""
    model_path: Annotated[str, tyro.conf.arg(aliases=["-m"])] = ""
    """The model's folder, as train.py or the reference wrote it."""
    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """The dataset's folder, where it is no longer the one that the model was trained on."""
    white_background: Annotated[bool, tyro.conf.arg(aliases=["-w"])] = False
    """White background, even if trained on black."""
    iteration: int = -1
    """Which saved iteration to show; -1: the last one."""
    host: str = "127.0.0.1"
    """Address to listen on. There is no password: whoever reaches it can look and save; 127.0.0.1 is for this
    machine alone, 0.0.0.0 for all that can reach it."""
    port: int = 8080
    """Port to listen on; 0: one that is free."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where our renderings are made; auto takes CUDA where gsplat works."""
    quiet: bool = False
    """Print nothing but warnings and errors."""

    def check(self) -> None:
        """Raises a `UserError` that says what is wrong with the flags."""
        if bool(self.file) == bool(self.model_path):
            raise UserError(
                "give either a model's folder (-m output/mine) or a file of Gaussians, one of the two"
            )
        demand(0 <= self.port < 2**16, "port", self.port, "1 to 65535, or 0 (one that is free)")


def main(options: Options) -> None:
    """Shows the model until Ctrl-C."""
    options.check()
    demand_free(options.host, options.port, "port")
    say = (lambda *_: None) if options.quiet else partial(print, flush=True)
    warnings = Warnings()
    model_path, white = options.model_path, options.white_background
    model, antialiased, folder = load_model(options.file, model_path, options.iteration, warnings)
    engine = choose_engine(options.device, say)
    around = load_surroundings(model_path, options.source_path, white, engine, antialiased, folder, warnings)
    model.gaussians.to(engine.device)
    warnings.show()
    stage = Stage(start_server(options.host, options.port, "Guided Splatting"), around, model)
    try:
        add_panels(stage)
        say(f"{stage.server.address} shows it to browsers; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            stage.server.sleep_forever()
    finally:
        stage.stop()


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
