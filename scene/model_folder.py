"""The files of a trained model in its folder, named and shaped as the reference's."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import ParameterDict

from scene.cameras import Camera, demand_rigid
from scene.dataset import Scene, SceneOptions
from scene.gaussians import save_ply
from scene.points import save_point_cloud
from utils.errors import UserError
from utils.files import write_json
from utils.options import SETTINGS_FILE, from_plain, load_cfg_args, load_settings, save_cfg_args

CAMERAS_FILE = "cameras.json"


def write_reference_files(
    model_path: Path, scene: Scene, options: SceneOptions, sh_degree: int, depths: str
) -> None:
    """Writes `cfg_args`, `cameras.json` and `input.ply`, which viewers and other tools look for.

    Args:
        model_path: folder of the model; made where it is missing.
        scene, options: what it is trained on, and how that was read.
        sh_degree: the stored one.
        depths: folder of depth maps inside the dataset, or empty.
    """
    model_path.mkdir(parents=True, exist_ok=True)
    values: Mapping[str, Any] = {
        "sh_degree": sh_degree,
        "source_path": options.source_path,
        "model_path": str(model_path),
        "images": options.images,
        "depths": depths,
        "resolution": options.resolution,
        "white_background": options.white_background,
        "train_test_exp": options.train_test_exp,
        "data_device": "cpu",
        "eval": options.eval,
    }
    save_cfg_args(model_path, values)
    write_cameras_json(model_path / CAMERAS_FILE, scene)
    save_point_cloud(model_path / "input.ply", scene.points)


def write_cameras_json(path: Path, scene: Scene) -> None:
    """Writes the reference's `cameras.json`: test cameras, then training cameras, at their original size."""
    rows: list[dict[str, Any]] = []
    for camera in scene.test_cameras + scene.train_cameras:
        original = camera.resized(*scene.original_sizes[camera.name])
        rows.append(
            {
                "id": len(rows),
                "img_name": camera.name,
                "width": original.width,
                "height": original.height,
                "position": original.position.tolist(),
                "rotation": original.camera_to_world[:3, :3].tolist(),
                "fy": float(original.intrinsics[1, 1]),
                "fx": float(original.intrinsics[0, 0]),
            }
        )
    write_json(path, rows, indent=None)


def save_model(model_path: Path, iteration: int, gaussians: ParameterDict, antialiased: bool) -> None:
    """Writes `point_cloud/iteration_N/point_cloud.ply`."""
    path = model_path / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"
    save_ply(path, gaussians, antialiased=antialiased)


def find_ply(model_path: Path, iteration: int) -> tuple[int, Path]:
    """The iteration, the last one for -1, and its PLY file.

    Raises:
        UserError: there is none; the iterations that there are are named.
    """
    folder = model_path / "point_cloud"
    saved = {
        int(path.parent.name.removeprefix("iteration_")): path
        for path in folder.glob("iteration_*/point_cloud.ply")
        if path.parent.name.removeprefix("iteration_").isdigit()
    }
    if not saved:
        raise UserError(f"no iteration_N/point_cloud.ply in {folder}; train first, or check -m")
    if iteration == -1:
        iteration = max(saved)
    if iteration not in saved:
        raise UserError(
            f"--iteration {iteration}: {folder} holds {', '.join(map(str, sorted(saved)))}; choose one, or -1"
        )
    return iteration, saved[iteration]


def saved_scene_options(model_path: Path) -> SceneOptions:
    """How the model's scene was read: from our `settings.json`, or else from the reference's `cfg_args`."""
    if not model_path.is_dir():
        raise UserError(f"model folder {model_path} does not exist; check -m")
    saved = load_settings(model_path)
    plain = saved["options"].get("scene") if saved else load_cfg_args(model_path)
    if not isinstance(plain, Mapping):
        raise UserError(f"{model_path / SETTINGS_FILE} does not say what scene was trained on; restore it")
    return from_plain(SceneOptions, plain)


def read_cameras(path: Path) -> list[Camera]:
    """The cameras of a `cameras.json`, ours or the reference's, without photographs; none if it is missing.

    The file has no principal point: it is taken to be the picture's centre.

    Raises:
        UserError: it is damaged.
    """
    try:
        return [_camera(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, RuntimeError) as problem:
        raise UserError(
            f"{path} is not a list of cameras with img_name, width, height, position, rotation, fx and fy "
            f"({type(problem).__name__}: {problem}); restore it, or remove it to do without cameras"
        ) from None


def _camera(row: dict[str, Any]) -> Camera:
    width, height, fx, fy = (float(row[name]) for name in ("width", "height", "fx", "fy"))
    if not (1 <= width <= 1e6 and 1 <= height <= 1e6 and 0 < fx < math.inf and 0 < fy < math.inf):
        raise ValueError("a size or a focal length is out of range")
    to_world = torch.eye(4, dtype=torch.float64)
    to_world[:3, :3] = torch.tensor(row["rotation"], dtype=torch.float64).reshape(3, 3)
    to_world[:3, 3] = torch.tensor(row["position"], dtype=torch.float64).reshape(3)
    demand_rigid(to_world.numpy(), "a camera's rotation and position")
    lens = torch.tensor([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1]])
    world_to_camera = torch.linalg.inv(to_world).float()
    return Camera(str(row["img_name"]), world_to_camera, lens, int(width), int(height))
