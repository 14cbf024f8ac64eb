"""The panel beside the scene: what a person can do with the model, in four tabs."""

from functools import partial
from pathlib import Path

import numpy as np
from viser import CameraFrustumHandle, ClientHandle, GuiEvent, SceneNodePointerEvent, TransformControlsEvent

from scene.cameras import Camera
from scene.gaussians import save_ply
from utils.images import image_pixels, write_png
from viewer.cameras import MOST_PIXELS, key_frame, key_frame_of, move_to, view_of
from viewer.paths import FRAMES_PER_SECOND, KeyFrame, save_path, smooth_path
from viewer.pictures import coloured_depth, enlarged, photograph, together, within
from viewer.splats import Box, box_around, chosen
from viewer.stage import Stage

LONGEST = 640  # pixels of the pictures in the panel
THUMBNAIL = 160  # pixels of those in the scene
ORANGE, BLUE = (230, 150, 40), (60, 160, 250)
NOTE = (
    "The browser draws every Gaussian in one colour, that of SH degree 0, and leaves out what is smaller "
    "than half a pixel. *Our rendering* and screenshots show all that the model has."
)


def add_panels(stage: Stage) -> None:
    """Fills the panel; every part acts on the stage."""
    tabs = stage.server.gui.add_tab_group()
    with tabs.add_tab("Model"):
        ModelTab(stage)
    if stage.around.cameras:
        with tabs.add_tab("Cameras"):
            CamerasTab(stage)
    with tabs.add_tab("Crop"):
        CropTab(stage)
    with tabs.add_tab("Path"):
        PathTab(stage)


class ModelTab:
    """The Gaussians' size, our rendering of what the browser's camera sees, and screenshots."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client: ClientHandle | None = None
        gui = stage.server.gui
        self.title = gui.add_markdown(stage.model.title)
        size = gui.add_slider("Size", 0.0, 1.0, 0.05, 1.0, hint="of the Gaussians; 0: points")
        self.kind = gui.add_dropdown("Our rendering", ("off", "colour", "depth"))
        self.picture = gui.add_image(np.zeros((1, 1, 3), np.uint8), visible=False)
        self.pixels = gui.add_number("Longer side", 1280, min=16, max=MOST_PIXELS, step=1, hint="pixels")
        save = gui.add_button("Save a screenshot", hint=f"into {stage.around.folder}")
        gui.add_markdown(NOTE)

        @size.on_update
        def _(_: GuiEvent) -> None:
            stage.size = min(max(float(size.value), 0.0), 1.0)
            stage.redraw()

        @self.kind.on_update
        def _(event: GuiEvent) -> None:
            self.client = event.client or self.client
            self.picture.visible = self.kind.value != "off"
            self.look()

        @save.on_click
        def _(event: GuiEvent) -> None:
            if event.client:
                stage.worker.soon("screenshot", partial(self.save, event.client))

        stage.changed.append(self.model_changed)
        stage.server.on_client_connect(self.follow)

    def follow(self, client: ClientHandle) -> None:
        """Renders, from now on, what this browser sees whenever its camera has moved."""

        def moved(_: object) -> None:
            self.client = client
            self.look()

        client.camera.on_update(moved)
        self.client = self.client or client

    def model_changed(self) -> None:
        """Shows what the model now is."""
        self.title.content = self.stage.model.title
        self.look()

    def look(self) -> None:
        """Has the picture made anew, soon, unless it is switched off."""
        if self.kind.value != "off" and self.client:
            self.stage.worker.soon("picture", partial(self.show, self.client))

    def show(self, client: ClientHandle) -> None:
        """Renders what the browser sees into the panel."""
        camera = view_of(client, LONGEST)
        if self.kind.value == "depth":
            rendering = self.stage.rendering(camera, depth=True)
            assert rendering.depth is not None
            self.picture.image, span = coloured_depth(rendering.depth, rendering.alpha)
            self.picture.label = f"Depth, {span[0]:.3g} to {span[1]:.3g} scene units" if span else "No depth"
        else:
            self.picture.image, self.picture.label = image_pixels(self.stage.rendering(camera).rgb), "Colour"

    def save(self, client: ClientHandle) -> None:
        """Writes our rendering of what the browser sees as PNG."""
        path = free_name(self.stage.around.folder, "screenshot", "png")
        write_png(path, self.stage.rendering(view_of(client, int(self.pixels.value))).rgb)
        self.stage.tell("Screenshot saved", str(path), client)


class CamerasTab:
    """The dataset's cameras in the scene; a click on one goes there and shows what it took beside ours."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cameras = stage.around.cameras
        gui = stage.server.gui
        visible = gui.add_checkbox("Show cameras", True)
        self.names = gui.add_dropdown("Camera", [camera.name for camera in self.cameras])
        blank = np.zeros((1, 1, 3), np.uint8)
        self.pictures = gui.add_image(blank, visible=False)
        self.all = stage.server.scene.add_frame("/cameras", show_axes=False)
        self.size = 0.05 * stage.reach
        self.positions = np.stack([key_frame_of(camera).position for camera in self.cameras])
        self.frustums: list[CameraFrustumHandle] = []
        stage.worker.soon("cameras", self.draw)
        stage.server.on_client_connect(self.follow)

        @visible.on_update
        def _(_: GuiEvent) -> None:
            self.all.visible = visible.value

        @self.names.on_update
        def _(event: GuiEvent) -> None:
            if event.client:
                self.visit(event.client, self.cameras[self.names.options.index(self.names.value)])

    def draw(self) -> None:
        """A frustum for each camera, its photograph in it where that is at hand."""
        for number, camera in enumerate(self.cameras):
            frame = key_frame_of(camera)
            image = None
            if camera.photograph:
                image = photograph(camera, self.stage.around.background, THUMBNAIL)
            frustum = self.stage.server.scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=np.radians(frame.fov_y_degrees),
                aspect=camera.width / camera.height,
                scale=self.size,
                thickness=0.002 * self.stage.reach,
                color=ORANGE,
                image=image,
                wxyz=frame.wxyz,
                position=frame.position,
            )
            frustum.on_click(partial(self.clicked, camera))
            self.frustums.append(frustum)
        self.clear_views()

    def follow(self, client: ClientHandle) -> None:
        """Keeps, from now on, the view of this browser's camera clear."""

        def moved(_: object) -> None:
            self.stage.worker.soon("views", self.clear_views)

        client.camera.on_update(moved)
        moved(client)

    def clear_views(self) -> None:
        """Hides the frustums in which a browser's camera stands: their photographs would fill its view."""
        places = [client.camera.position for client in self.stage.server.get_clients().values()]
        for position, frustum in zip(self.positions, self.frustums, strict=True):
            clear = all(np.linalg.norm(position - place) > 2 * self.size for place in places)
            if frustum.visible != clear:
                frustum.visible = clear

    def clicked(self, camera: Camera, event: SceneNodePointerEvent[CameraFrustumHandle]) -> None:
        """A frustum in the scene was clicked."""
        self.names.value = camera.name  # type: ignore[misc]
        self.visit(event.client, camera)

    def visit(self, client: ClientHandle, camera: Camera) -> None:
        """Moves the browser's camera to this one, and shows the two pictures."""
        move_to(client, key_frame_of(camera), self.stage.reach, camera.width / camera.height)
        self.stage.worker.soon("visit", partial(self.compare, camera))

    def compare(self, camera: Camera) -> None:
        """Shows the photograph, if there is one, and our rendering of its camera."""
        small = camera.resized(*within(camera.width, camera.height, LONGEST))
        picture, label = image_pixels(self.stage.rendering(small).rgb), "Our rendering of it"
        if camera.photograph:
            taken = photograph(camera, self.stage.around.background, LONGEST)
            picture, label = together(taken, picture), "The photograph, then our rendering of it"
        self.pictures.image, self.pictures.label = enlarged(picture, LONGEST), label
        self.pictures.visible = True


class CropTab:
    """A box that a person moves and turns; what is outside is not shown, and what is inside can be saved."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        start = box_around(stage.model.gaussians["means"])
        gui, scene = stage.server.gui, stage.server.scene
        self.on = gui.add_checkbox("Crop", False)
        self.size = gui.add_vector3("Sides", start.size, min=(1e-6,) * 3, step=0.01 * start.size.max())
        reset = gui.add_button("Around the model again")
        save = gui.add_button("Save what is inside", hint=f"as PLY, into {stage.around.folder}")
        gui.add_markdown("Drag the arrows and rings in the scene; *Sides* are in scene units.")
        self.handles = scene.add_transform_controls(
            "/crop", scale=0.3 * start.size.max(), position=start.centre, visible=False, depth_test=False
        )
        self.edges = scene.add_box("/crop/box", ORANGE, start.size, wireframe=True)
        self.on.on_update(self.changed)
        self.size.on_update(self.changed)
        self.handles.on_update(self.moved)

        @reset.on_click
        def _(event: GuiEvent) -> None:
            box = box_around(stage.model.gaussians["means"])
            self.handles.position, self.handles.wxyz = box.centre, box.wxyz
            self.size.value = box.size  # type: ignore[misc, assignment]  # viser's setter takes arrays
            self.changed(event)

        @save.on_click
        def _(event: GuiEvent) -> None:
            if event.client:
                stage.worker.soon("crop", partial(self.save, event.client))

    def box(self) -> Box:
        """The box as it stands in the scene."""
        return Box(self.handles.position.copy(), self.handles.wxyz.copy(), np.array(self.size.value))

    def changed(self, _: GuiEvent) -> None:
        """Shows what is inside, or all."""
        self.handles.visible = self.on.value
        self.edges.dimensions = self.size.value
        self.stage.box = self.box() if self.on.value else None
        self.stage.redraw()

    def moved(self, _: TransformControlsEvent) -> None:
        """The box was dragged."""
        if self.on.value:
            self.stage.box = self.box()
            self.stage.redraw()

    def save(self, client: ClientHandle) -> None:
        """Writes the Gaussians whose centres lie in the box as PLY."""
        model, path = self.stage.model, free_name(self.stage.around.folder, "cropped", "ply")
        inside = chosen(model.gaussians, self.box().holds(model.gaussians["means"]))
        save_ply(path, inside, antialiased=self.stage.around.antialiased)
        self.stage.tell("Saved", f"{len(inside['means'])} Gaussians: {path}", client)


class PathTab:
    """Key frames taken from the browser's camera, and the smooth path through them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.keys: list[KeyFrame] = []
        gui = stage.server.gui
        self.count = gui.add_markdown("")
        add = gui.add_button("Add this view")
        remove = gui.add_button("Remove the last one")
        self.seconds = gui.add_number("Seconds between", 2.0, min=0.1, max=60.0, step=0.1)
        save = gui.add_button("Save the path", hint=f"for render.py --path, into {stage.around.folder}")
        self.drawn = stage.server.scene.add_frame("/path", show_axes=False)
        stage.worker.soon("keys", self.draw)

        @add.on_click
        def _(event: GuiEvent) -> None:
            if event.client:
                self.keys.append(key_frame(event.client.camera))
                stage.worker.soon("keys", self.draw)

        @remove.on_click
        def _(_: GuiEvent) -> None:
            del self.keys[-1:]
            stage.worker.soon("keys", self.draw)

        @save.on_click
        def _(event: GuiEvent) -> None:
            if event.client:
                stage.worker.soon("path", partial(self.save, event.client))

    def draw(self) -> None:
        """Shows the key frames in the scene, and the path where there are two or more."""
        keys, scene = list(self.keys), self.stage.server.scene
        self.drawn.remove()  # with all in it
        self.drawn = group = scene.add_frame("/path", show_axes=False)
        if keys:
            scene.add_point_cloud(
                f"{group.name}/keys",
                np.stack([key.position for key in keys]),
                BLUE,
                point_size=0.01 * self.stage.reach,
                precision="float32",
            )
        seconds = 0.0
        if len(keys) > 1:
            frames = smooth_path(keys, float(self.seconds.value))
            seconds = len(frames) / FRAMES_PER_SECOND
            places = np.stack([frame.position for frame in frames])
            lines = np.stack([places[:-1], places[1:]], axis=1)
            scene.add_line_segments(f"{group.name}/line", lines, BLUE, thickness=0.003 * self.stage.reach)
        self.count.content = f"Key frames: {len(keys)}, {seconds:.1f} s"

    def save(self, client: ClientHandle) -> None:
        """Writes the path as JSON."""
        frames = smooth_path(list(self.keys), float(self.seconds.value))
        path = free_name(self.stage.around.folder, "path", "json")
        save_path(path, frames)
        self.stage.tell("Path saved", f"{len(frames)} frames: {path}", client)


def free_name(folder: Path, stem: str, suffix: str) -> Path:
    """`stem_1.suffix`, or with the first number that no file in the folder has."""
    number = 1
    while (path := folder / f"{stem}_{number}.{suffix}").exists():
        number += 1
    return path
