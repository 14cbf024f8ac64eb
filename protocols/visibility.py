"""How many training photographs see what each pixel of a test photograph shows, and PSNR apart on these.

What a pixel shows is not known, only measured: by the depth of a reference model, plain 3DGS trained from all
photographs of the scene, those of the test included. It takes no part in any score but this division of
pixels, which is so the same for all variants and seeds, and none of them has a say in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gaussian_renderer import choose_engine, render
from protocols.cells import Cell, call, record_path
from scene.cameras import Camera
from scene.dataset import Scene, SceneOptions, load_scene
from scene.gaussians import load_gaussians
from scene.model_folder import find_ply, saved_scene_options
from utils.errors import UserError
from utils.files import whole_file, write_json
from utils.warping import reproject

CLASSES = ("none", "one", "several")
"""Of pixels, by how many training photographs see them."""
NO_SURFACE = 255  # in a map: the reference model shows none here, so nobody can be asked
SURFACE = 0.5  # alpha from which on a pixel's depth is taken for that of a surface
HIDDEN = 0.05  # a point is hidden by a surface that is nearer by more than this share of the distance
REFERENCE_WIDTH = 320  # pixels, at most; depth needs no more, and the time goes with the square
REFERENCE_PIXELS = REFERENCE_WIDTH * 240  # of a photograph of usual shape, for estimates


@dataclass(frozen=True)
class Surface:
    """What a camera sees of the reference model.

    Attributes:
        camera: which.
        depth: (H, W) float32, along the camera's z axis, scene units; infinity where there is no surface.
        counted: (H, W) bool, where its photograph shows something: not masked, not transparent.
    """

    camera: Camera
    depth: Tensor
    counted: Tensor


def sightings(view: Surface, photographers: Sequence[Surface]) -> Tensor:
    """How many photographs see the surface that each pixel of a view shows.

    A photograph sees a point that lies inside of it, on a pixel that counts, and is not farther away than the
    surface there by more than 5 %, for which the farthest of 3 x 3 pixels is taken: at an edge, a pixel's
    expected depth is a mean of both sides.

    Args:
        view: of the test camera.
        photographers: of the training cameras.

    Returns:
        (H, W) uint8, at most 254; `NO_SURFACE` where the view shows none.
    """
    known = view.depth.isfinite()
    depth = torch.where(known, view.depth, 1.0)
    count = torch.zeros_like(depth, dtype=torch.int64)
    for source in photographers:
        camera = source.camera
        pixels, distance = reproject(view.camera, camera, depth)
        size = pixels.new_tensor([camera.width, camera.height])
        inside = (distance > 0) & ((pixels >= 0) & (pixels < size)).all(dim=-1)
        column, row = torch.where(inside[..., None], pixels, 0).long().unbind(dim=-1)
        farthest = F.max_pool2d(source.depth[None], 3, stride=1, padding=1)[0]
        hidden = distance > (1 + HIDDEN) * farthest[row, column]
        count += inside & source.counted[row, column] & ~hidden
    return torch.where(known, count.clamp(max=NO_SURFACE - 1), NO_SURFACE).to(torch.uint8)


def psnr_by_class(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    maps: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_] | None],
) -> dict[str, dict[str, float | None]]:
    """For each class its share of all pixels that count, and the PSNR over its pixels.

    The squared error is pooled over the views before its logarithm is taken: of a view that has only a few
    pixels of a class, their mean would be chance.

    Args:
        pairs: rendering and photograph of each view, (H, W, 3) uint8.
        maps: of `sightings`, (H, W) uint8.
        masks: (H, W) bool, pixels that count; None: all.

    Returns:
        by class "share" in [0, 1] and "PSNR" in dB, None where there is no such pixel or no error; what is
        missing from the sum of 1 shows no surface.
    """
    pixels, errors, total = dict.fromkeys(CLASSES, 0), dict.fromkeys(CLASSES, 0), 0
    for (image, photograph), count, mask in zip(pairs, maps, masks, strict=True):
        squares = np.square(image.astype(np.int64) - photograph).sum(axis=2)
        counted = np.ones(count.shape, bool) if mask is None else mask
        total += int(counted.sum())
        several = (count > 1) & (count != NO_SURFACE)
        for name, where in zip(CLASSES, (count == 0, count == 1, several), strict=True):
            pixels[name] += int((where & counted).sum())
            errors[name] += int(squares[where & counted].sum())
    return {
        name: {
            "share": pixels[name] / max(total, 1),
            "PSNR": 10 * math.log10(3 * 255**2 * pixels[name] / errors[name]) if errors[name] else None,
        }
        for name in CLASSES
    }


@dataclass
class Visibility:
    """Adds to the records of an evaluation what they score on each class of pixels.

    Attributes:
        output: the evaluation's folder; the reference models and the maps are kept in it.
        iterations: of the reference models; 0: nothing is added.
        device: as train.py's --device.
        failed: why the maps in a folder could not be made, which is said once and not tried again.
    """

    output: Path
    iterations: int
    device: str
    failed: dict[Path, str] = field(default_factory=dict)

    def added(self, cell: Cell, record: dict[str, Any]) -> dict[str, Any]:
        """The record with "visibility", also in its file; as it is where that cannot be had.

        That is so where the reference model fails, which is printed; where the cell's pictures are gone; and
        where they are not of the maps' size, since the variant changed the resolution.
        """
        if not self.iterations or record.get("visibility", {}).get("iterations") == self.iterations:
            return record
        folder = self.output / cell.scene / f"{cell.views or 'all'}_views" / f"seen_{self.iterations}"
        pictures = pictures_folder(self.output, cell, record)
        if folder in self.failed or not (pictures / "renders").is_dir():
            return record
        if not folder.is_dir():
            try:
                self._write_maps(cell, folder)
            except UserError as failure:
                self.failed[folder] = str(failure)
                print(f"{cell.scene}: no scores by visibility: {failure}", flush=True)
                return record
        names = sorted(record["per_view"]["PSNR"])
        pairs = [(_pixels(pictures / "renders" / name), _pixels(pictures / "gt" / name)) for name in names]
        maps = [np.asarray(Image.open(folder / name)) for name in names]
        if any(image.shape[:2] != count.shape for (image, _), count in zip(pairs, maps, strict=True)):
            return record
        masks = [_mask(pictures / "masks" / name) for name in names]
        found = {"iterations": self.iterations, **psnr_by_class(pairs, maps, masks)}
        record = {**record, "visibility": found}
        write_json(record_path(self.output, cell), record)
        return record

    def missing_models(self, cells: Sequence[Cell]) -> list[Cell]:
        """The reference models of these cells that are not trained yet, as cells whose time can be told."""
        homes = {self._home(cell): cell for cell in cells if self.iterations}
        return [
            replace(
                cell,
                variant=f"reference_{self.iterations}",
                iterations=self.iterations,
                guided=False,
                pixels=min(cell.pixels, REFERENCE_PIXELS),
            )
            for home, cell in homes.items()
            if not self._trained(home).is_dir()
        ]

    def _home(self, cell: Cell) -> Path:
        """Where a cell's reference model lies: below its scene, or its views if they have own poses."""
        scene = self.output / cell.scene
        return scene / f"{cell.views or 'all'}_views" if cell.pose_source == "train" and cell.split else scene

    def _trained(self, home: Path) -> Path:
        """The folder that is there when the reference model in `home` is trained."""
        return home / f"reference_{self.iterations}" / "point_cloud" / f"iteration_{self.iterations}"

    def _write_maps(self, cell: Cell, folder: Path) -> None:
        """Writes the maps of a scene and number of photographs, numbered as render.py's pictures are.

        Raises:
            UserError: the reference model cannot be trained.
        """
        model = self.output / cell.name
        points = str(model / "input.ply")  # what they came from may be gone
        options = replace(saved_scene_options(model), init_ply=points, train_test_exp=False)
        scene = load_scene(options, seed=0)
        train, test = self._surfaces(self._reference(self._home(cell), options, scene), scene)
        part = folder.with_name(f"{folder.name}.part")
        for number, view in enumerate(test):
            count = sightings(view, train).numpy()
            with whole_file(part / f"{number:05d}.png") as file:
                Image.fromarray(count).save(file, format="PNG")
        part.replace(folder)

    def _reference(self, home: Path, options: SceneOptions, scene: Scene) -> Path:
        """The scene's reference model in the folder `home`, trained where it is missing."""
        model = home / f"reference_{self.iterations}"
        if not self._trained(home).is_dir():
            print(f"{scene.source_path.name}: training the model that says who sees what", flush=True)
            width = min(REFERENCE_WIDTH, *(it.width for it in scene.train_cameras + scene.test_cameras))
            words = ["-s", options.source_path, "-m", str(model), "-i", options.images, "-r", str(width)]
            words += ["-w"] * options.white_background
            words += ["--masks", options.masks, "--mask_mode", options.mask_mode]
            words += ["--iterations", str(self.iterations), "--preset", "reference", "--lambda_sds", "0"]
            words += ["--test_iterations", "-1", "--save_iterations", "-1", "--resume"]
            model.mkdir(parents=True, exist_ok=True)
            call("train.py", [*words, "--device", self.device, "--quiet"], model.with_suffix(".log"), None)
            for checkpoint in model.glob("chkpnt*.pth"):
                checkpoint.unlink()
        return model

    @torch.no_grad()
    def _surfaces(self, model: Path, scene: Scene) -> tuple[list[Surface], list[Surface]]:
        """What the training and the test cameras of a scene see of a model."""
        gaussians, info = load_gaussians(find_ply(model, self.iterations)[1])
        engine = choose_engine(self.device, lambda *_: None)
        gaussians = gaussians.to(engine.device)
        black = torch.zeros(3, device=engine.device)

        def surface(camera: Camera) -> Surface:
            seen = render(
                camera, gaussians, sh_degree=info.sh_degree, background=black, engine=engine, depth=True
            )
            assert seen.depth is not None
            there = (seen.alpha[0] >= SURFACE) & (seen.depth[0] > 0)
            return Surface(camera, torch.where(there, seen.depth[0], torch.inf).cpu(), _counted(camera))

        train, test = scene.train_cameras, scene.test_cameras
        return [surface(camera) for camera in train], [surface(camera) for camera in test]


def pictures_folder(output: Path, cell: Cell, record: Mapping[str, Any]) -> Path:
    """Where a cell's renderings and photographs lie."""
    return output / cell.name / "test" / f"ours_{record['cell']['iterations']}"


def _counted(camera: Camera) -> Tensor:
    """(H, W) bool: where a camera's photograph is neither masked nor transparent."""
    return torch.from_numpy(camera.own_photograph.pixels().shown)


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _mask(path: Path) -> NDArray[np.bool_] | None:
    return _pixels(path)[..., 0] > 127 if path.is_file() else None
