"""A picture of the cameras from above and from the side, with the points that they see."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scene.check.health import Health
from utils.files import whole_file

SIDE, MARGIN, HEAD = 720, 48, 40  # pixels: of a panel, of its border, and of the line of text above it
FINER = 2  # drawn so many times larger, then shrunk, for smooth lines
MOST_POINTS = 6000
MOST_NAMES = 12
REACH = {"points": 10, "focus": 3}  # times the cameras' spread, farther from which the picture does not go
TRAIN, TEST, DOUBTFUL = (31, 95, 180), (230, 140, 20), (205, 30, 45)
BLACK, PALE = (20, 20, 20), (205, 205, 205)


def save_picture(path: Path, health: Health) -> None:
    """Writes the picture as PNG: training cameras blue, test ones orange, doubtful ones red and named.

    Cameras that stand apart lie outside; a line from the border tells where.
    """
    canvas = Image.new("RGB", (2 * SIDE * FINER, (SIDE + HEAD) * FINER), "white")
    draw = ImageDraw.Draw(canvas)
    its = health.arrangement
    low, high = _box(health)
    middle = (low + high) / 2 @ np.stack([its.right, its.forward, its.up])
    scale = (SIDE - 3 * MARGIN) / float((high - low).max() or 1.0)
    panels = (("from above", its.right, its.forward), ("from the side", its.forward, its.up))
    for number, (title, across, upward) in enumerate(panels):
        panel = _Panel(draw, number, np.stack([across, -upward]), middle, scale)
        if health.points != "random":
            _draw_points(panel, health)
        _draw_cameras(panel, health)
        panel.frame(title)
    _legend(draw, health)
    with whole_file(path) as file:
        canvas.resize((2 * SIDE, SIDE + HEAD), Image.Resampling.BOX).save(file, format="PNG")


class _Panel:
    """One of the two views: what is drawn is given in world coordinates."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        number: int,
        axes: NDArray[np.float64],
        middle: NDArray[np.float64],
        scale: float,
    ) -> None:
        self.draw, self.axes, self.middle, self.scale = draw, axes, middle, scale
        self.low = np.array([number * SIDE + MARGIN / 2, HEAD + MARGIN / 2]) * FINER
        self.high = np.array([(number + 1) * SIDE - MARGIN / 2, HEAD + SIDE - MARGIN / 2]) * FINER

    def place(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) pixels of (..., 3) world positions."""
        return (self.low + self.high) / 2 + (positions - self.middle) @ self.axes.T * self.scale * FINER

    def inside(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(...) which pixels lie in the panel."""
        return np.all((places > self.low) & (places < self.high), axis=-1)

    def frame(self, title: str) -> None:
        """The border, the title and a bar that tells the scale."""
        self.draw.rectangle([*self.low, *self.high], outline=PALE, width=FINER)
        self.draw.text((self.low[0] + 8 * FINER, self.low[1] + 4 * FINER), title, BLACK, _font(16))
        most = 0.3 * SIDE / self.scale
        unit = 10 ** math.floor(math.log10(most))
        length = max(factor * unit for factor in (1, 2, 5) if factor * unit <= most)
        x, y = self.low[0] + 10 * FINER, self.high[1] - 12 * FINER
        self.draw.line([x, y, x + length * self.scale * FINER, y], BLACK, 2 * FINER)
        self.draw.text((x, y - 20 * FINER), f"{length:g} scene unit{'s' * (length != 1)}", BLACK, _font(13))


def _box(health: Health) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,) lower and upper corner of what is shown, along the axes right, forward and up.

    It holds the cameras, those that stand apart left out, and nine tenths of the points along
    each axis, or without points what the cameras look at; these as far as `REACH` times the cameras' spread.
    """
    its = health.arrangement
    axes = np.stack([its.right, its.forward, its.up])
    near = its.positions[~its.apart] @ axes.T
    middle = near.mean(axis=0)
    spread = float(np.linalg.norm(near - middle, axis=1).max()) or 1.0
    seen = health.scene.points.positions[np.isfinite(health.scene.points.positions).all(axis=1)] @ axes.T
    if health.points == "random" or not len(seen):
        seen, reach = its.focus[None] @ axes.T, REACH["focus"] * spread
    else:
        seen, reach = np.percentile(seen, (5, 95), axis=0), REACH["points"] * spread
    shown = np.vstack([near, np.clip(seen, middle - reach, middle + reach)])
    return shown.min(axis=0), shown.max(axis=0)


def _draw_points(panel: _Panel, health: Health) -> None:
    points = health.scene.points
    step = max(len(points) // MOST_POINTS, 1)
    places = panel.place(points.positions[::step].astype(np.float64))
    # paler, so that the cameras stand out
    colours = 255 - (255 - points.colours[::step].astype(np.int64)) // 2
    for place, colour in zip(places, colours, strict=True):
        if panel.inside(place):
            box = [*(place - FINER), *(place + FINER)]
            panel.draw.rectangle(box, tuple(int(each) for each in colour))


def _draw_cameras(panel: _Panel, health: Health) -> None:
    its, named = health.arrangement, 0
    length = 26 / panel.scale  # of a camera's sides, world units
    cameras = health.scene.train_cameras + health.scene.test_cameras
    for number in sorted(range(len(cameras)), key=lambda each: bool(health.views[each].doubts)):
        view, camera = health.views[number], cameras[number]
        colour = DOUBTFUL if view.doubts else TRAIN if view.use == "train" else TEST
        own = camera.camera_to_world.numpy().astype(np.float64)
        across = own[:3, 0] * 0.5 * min(camera.width / float(camera.intrinsics[0, 0]), 2.0)
        down = own[:3, 1] * 0.5 * min(camera.height / float(camera.intrinsics[1, 1]), 2.0)
        corners = [own[:3, 2] + x * across + y * down for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        apex = panel.place(its.positions[number])
        place = np.clip(apex, panel.low + 4 * FINER, panel.high - 4 * FINER)
        if panel.inside(apex):
            ends = [panel.place(its.positions[number] + length * corner) for corner in corners]
            for end, following in zip(ends, ends[1:] + ends[:1], strict=True):
                panel.draw.line([*apex, *end], colour, FINER)
                panel.draw.line([*end, *following], colour, FINER)
        else:
            panel.draw.line(
                [*place, *(place + (place - apex) * 24 * FINER / np.linalg.norm(place - apex))], colour, FINER
            )
        panel.draw.ellipse([*(place - 3 * FINER), *(place + 3 * FINER)], fill=colour)
        if view.doubts and named < MOST_NAMES:
            named += 1
            left = place[0] > panel.high[0] - 0.2 * SIDE * FINER  # of the camera there is room for its name
            offset = np.array([-6 if left else 6, -8]) * FINER
            panel.draw.text((*(place + offset),), view.name, colour, _font(13), "ra" if left else "la")


def _legend(draw: ImageDraw.ImageDraw, health: Health) -> None:
    uses = [view.use for view in health.views if not view.doubts]
    entries = [
        (TRAIN, f"{uses.count('train')} to train from"),
        (TEST, f"{uses.count('test')} for the test"),
        (DOUBTFUL, f"{len(health.views) - len(uses)} doubtful"),
    ]
    x = MARGIN / 2 * FINER
    for colour, text in entries:
        if text.startswith("0 "):
            continue
        draw.ellipse([x, 14 * FINER, x + 10 * FINER, 24 * FINER], fill=colour)
        draw.text((x + 16 * FINER, 9 * FINER), text, BLACK, _font(16))
        x += 30 * FINER + draw.textlength(text, _font(16))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * FINER)
