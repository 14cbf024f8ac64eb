"""What stands in the browser: the model as splats or points, cut by a box, and our own renderings of it."""

import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import ParameterDict
from viser import ClientHandle, GaussianSplatHandle, PointCloudHandle

from gaussian_renderer import Rendering, render
from scene.cameras import Camera
from scene.exposure import expose
from scene.gaussians import sh_degree_of
from utils.errors import UserError
from viewer.cameras import facing, key_frame_of, reach_of, upright
from viewer.paths import KeyFrame
from viewer.server import Server
from viewer.splats import Box, base_colours, chosen, for_browser
from viewer.surroundings import Surroundings
from viewer.worker import Worker

POINT_SIZE = 0.003  # of the distance that the cameras look
NEAREST, FARTHEST = 1e-3, 1e3  # that the browser draws, in the same measure


@dataclass(frozen=True)
class Model:
    """Gaussians to be shown.

    Attributes:
        gaussians: gsplat's names and stored values, see `scene.gaussians`; at least one, never changed.
        title: what they are, in Markdown.
    """

    gaussians: ParameterDict
    title: str


class Stage:
    """The scene in the browsers that are connected; all see the same, each through a camera of its own.

    What takes time is done by `worker`. Attributes may be set from any thread, then `redraw` shows it.

    Attributes:
        server: viser's.
        around: what the model stands in.
        model: what is shown.
        size: factor on the Gaussians' deviations; 0 shows points.
        box: what is shown of the model; None: all of it.
        reach: how far the cameras look, scene units: the measure of all that is drawn beside the model.
        changed: called, in the worker's thread, after the model or the part of it that is shown has changed.
    """

    def __init__(self, server: Server, around: Surroundings, model: Model) -> None:
        self.server, self.around, self.model = server, around, model
        self.size: float = 1.0
        self.box: Box | None = None
        self.changed: list[Callable[[], object]] = []
        self._said: set[str] = set()
        self._splats: GaussianSplatHandle | None = None
        self._points: PointCloudHandle | None = None
        self.worker = Worker(self._failed)

        means = model.gaussians["means"]
        start, self.reach = facing(means)
        if around.cameras:
            start, self.reach = key_frame_of(around.cameras[0]), reach_of(around.cameras, means)
        colour = (around.background * 255).byte().numpy(force=True)
        server.scene.set_background_image(np.tile(colour, (2, 2, 1)), format="png")
        server.scene.set_up_direction(upright(around.cameras))
        self._start_at(start)
        self.redraw()

    def redraw(self) -> None:
        """Shows what the attributes say, soon."""
        self.worker.soon("splats", self.draw)

    def shown(self) -> ParameterDict:
        """The Gaussians in the box, or all of them."""
        gaussians, box = self.model.gaussians, self.box
        return chosen(gaussians, box.holds(gaussians["means"])) if box else gaussians

    @torch.no_grad()
    def rendering(self, camera: Camera, depth: bool = False) -> Rendering:
        """Our rendering of what is shown, in all SH degrees, in the exposure of the camera's photograph."""
        gaussians = self.shown()
        result = render(
            camera,
            gaussians,
            sh_degree=sh_degree_of(gaussians),
            background=self.around.background,
            engine=self.around.engine,
            depth=depth,
            antialiased=self.around.antialiased,
            scaling_modifier=self.size or 1.0,
        )
        matrix = self.around.exposures.get(camera.name)
        if matrix is not None:
            result.rgb = expose(result.rgb, matrix.to(result.rgb))
        return result

    def draw(self) -> None:
        """Shows what the attributes say; for the worker's thread."""
        gaussians, size = self.shown(), self.size
        some = len(gaussians["means"]) > 0
        with self.server.atomic():
            if some and size:
                self._draw_splats(gaussians, size)
            elif some:
                self._points = self.server.scene.add_point_cloud(
                    "/points",
                    gaussians["means"].numpy(force=True),
                    base_colours(gaussians),
                    point_size=POINT_SIZE * self.reach,
                    precision="float32",
                    point_shading="flat",
                )
            for node, visible in ((self._splats, some and size > 0), (self._points, some and size == 0)):
                if node:
                    node.visible = visible
        for happened in self.changed:
            happened()

    def tell(self, title: str, text: str, client: ClientHandle | None = None) -> None:
        """A note in the corner of one browser, or of all."""
        for one in self.server.get_clients().values():
            if client is None or one.client_id == client.client_id:
                one.add_notification(title, text, auto_close_seconds=8.0)

    def stop(self) -> None:
        """Ends the worker and closes the port."""
        self.worker.stop()
        self.server.stop()

    def _draw_splats(self, gaussians: ParameterDict, size: float) -> None:
        splats = for_browser(gaussians, size)
        arrays = (splats.centers, splats.covariances, splats.rgbs, splats.opacities)
        if self._splats is None:
            self._splats = self.server.scene.add_gaussian_splats("/splats", *arrays, scale=splats.unit)
        else:
            self._splats.set_gaussians(*arrays)
            self._splats.scale = splats.unit

    def _start_at(self, frame: KeyFrame) -> None:
        """Browsers that connect begin there."""
        rotation, position = frame.camera_to_world[:3, :3], frame.position
        start = self.server.initial_camera
        start.position = position
        start.look_at = position + self.reach * rotation[:, 2]
        start.up = -rotation[:, 1]
        start.fov = math.radians(frame.fov_y_degrees)
        start.near, start.far = NEAREST * self.reach, FARTHEST * self.reach

    def _failed(self, failure: Exception) -> None:
        """A mistake is told to those who look; a defect of ours is also printed, once."""
        if isinstance(failure, UserError | OSError):
            return self.tell("Not done", str(failure))
        self.tell("Failed", f"{type(failure).__name__}: {failure}")
        words = "".join(traceback.format_exception(failure))
        if words not in self._said:
            self._said.add(words)
            print(f"the viewer failed and goes on:\n{words}", file=sys.stderr, flush=True)
        return None
