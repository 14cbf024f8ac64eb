"""A training in the browser while it runs: the newest of its snapshots, within a share of the time."""

import threading

from torch.nn import Parameter, ParameterDict
from viser import GuiEvent

from scene.gaussians import NAMES
from viewer.live import LiveModel
from viewer.panels import add_panels
from viewer.server import Server
from viewer.stage import Model, Stage
from viewer.surroundings import Surroundings

SHARE = 0.03  # of the time, for all that the viewer computes
EVERY = 1.0  # seconds between two looks at the training, at least


class TrainingInBrowser:
    """Shows a training to the browsers that are connected, from its first Gaussians until `stop`.

    While there is no browser nothing is copied, computed or sent. What is computed for those that there are
    takes 3 % of the time, so that a large model is shown anew less often than a small one. What fails here is
    said once, and the training goes on.
    """

    def __init__(
        self, server: Server, around: Surroundings, live: LiveModel, gaussians: ParameterDict
    ) -> None:
        self.live = live
        first = {name: Parameter(gaussians[name].detach().clone(), requires_grad=False) for name in NAMES}
        model = Model(ParameterDict(first), self._title(live.progress.iteration))
        self.stage = Stage(server, around, model)
        self.pause = server.gui.add_checkbox("Pause the training", False)
        self.pause.on_update(self._pause_or_go_on)
        add_panels(self.stage)
        self.stage.worker.settle()  # many photographs take a while to be made small: now, not beside the loop
        self.stage.worker.share = SHARE
        self._shown = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="viewer's look", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes the port; a training that was paused goes on."""
        self._stopping.set()
        self._thread.join()
        self.live.release(self)
        self.stage.stop()

    def _look(self) -> None:
        while not self._stopping.wait(EVERY):
            if self.stage.server.get_clients():
                self.stage.worker.soon("snapshot", self._show)
            elif self.live.paused:  # by a browser that was closed since
                self.pause.value = False  # type: ignore[misc]
                self.live.release(self)

    def _show(self) -> None:
        """The newest snapshot, and how far the training is."""
        snapshot = self.live.latest()
        if snapshot is None or snapshot.iteration == self._shown:
            return
        self._shown = snapshot.iteration
        self.stage.model = Model(snapshot.gaussians, self._title(snapshot.iteration))
        self.stage.draw()

    def _title(self, iteration: int) -> str:
        count = f", {self.live.progress.gaussians} Gaussians" if iteration else ""
        return f"Iteration {iteration} of {self.live.progress.iterations}{count}"

    def _pause_or_go_on(self, _: GuiEvent) -> None:
        if self.pause.value:
            self.live.hold(self)
        else:
            self.live.release(self)
