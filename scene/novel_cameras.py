"""Cameras that guidance looks through: between neighbouring photographs, and on an arc outside of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from scene.camera_paths import focus_distances, look_at
from scene.cameras import NEAR_PLANE, Camera

NEIGHBOURS = 3  # a camera's partners for a view between two
POSITION_JITTER = 0.1  # radius of the jitter about such a view, as a share of its partners' distance
ANGLE_JITTER = math.radians(2.0)  # largest rotation of the jitter
ARC = (0.1, 0.6)  # how far outside, at the start and at the end of a run, as a share of the cameras' radius
SAME_WAY = math.cos(math.radians(60.0))  # cameras whose axes are closer than this look at the same thing
LEAST_RADIUS = 0.1  # of the distance to what is looked at, where the cameras stand closer together than that


class NovelCameras:
    """A sampler of novel cameras: half of them between photographs, half outside.

    Works from one training camera on (with one, all are outside). The sampler holds no random state.

    Attributes:
        cameras: the training cameras.
        positions: (C, 3) float64, their centres.
        focus: (C,) float64, how far each camera's subject lies along its axis, scene units.
        radius: scene units, the largest distance of a camera from their middle; at least a tenth of the
            median distance to what they look at.
        largest_gap: scene units, the largest distance of a camera from its nearest neighbour; 0: it has none.
    """

    def __init__(self, cameras: Sequence[Camera], points: np.ndarray) -> None:
        """Prepares the sampler.

        Args:
            cameras: the training cameras, at least one.
            points: (P, 3), world frame: the scene's points, which tell how far the subject is.
        """
        self.cameras = list(cameras)
        self.positions = torch.stack([camera.position for camera in cameras]).double().cpu()
        self.middle = self.positions.mean(dim=0)
        spread = float((self.positions - self.middle).norm(dim=1).max())
        self.focus = focus_distances(self.cameras, torch.as_tensor(points).double(), spread)
        self.radius = max(spread, LEAST_RADIUS * float(self.focus.median()))
        self.axes = torch.stack([camera.world_to_camera[2, :3] for camera in cameras]).double().cpu()
        self.partners = self._partners()
        apart = torch.cdist(self.positions, self.positions).fill_diagonal_(math.inf).amin(dim=1)
        self.largest_gap = float(apart.max()) if len(self.cameras) > 1 else 0.0

    def __call__(self, generator: torch.Generator, progress: float) -> Camera:
        """A novel camera of a training camera's size, without a photograph.

        Args:
            generator: on the CPU; all chance comes from it.
            progress: fraction of the run in [0, 1]; the arc outside grows with it.
        """
        index = int(torch.randint(len(self.cameras), (1,), generator=generator))
        if self.partners[index] and float(torch.rand(1, generator=generator)) < 0.5:
            choice = int(torch.randint(len(self.partners[index]), (1,), generator=generator))
            partner = self.partners[index][choice]
            weight = float(torch.rand(1, generator=generator))
            camera = between(self.cameras[index], self.cameras[partner], weight)
            apart = float((self.positions[index] - self.positions[partner]).norm())
            return jittered(camera, POSITION_JITTER * apart, ANGLE_JITTER, generator)
        angle = 2 * math.pi * float(torch.rand(1, generator=generator))
        share = ARC[0] + progress * (ARC[1] - ARC[0])
        return self.outside(index, angle, share * self.radius)

    def outside(self, index: int, angle: float, distance: float) -> Camera:
        """A camera on the arc that leaves the training cameras in a direction of the image plane.

        Of the cameras that look the same way as camera `index`, the one farthest in that direction is moved
        on, round what it looks at: at most `distance`, its subject kept centred and as far away.

        Args:
            index: the camera whose image plane the direction lies in.
            angle: the direction in it, radians from its x axis towards its y axis.
            distance: scene units.
        """
        right, down = self.cameras[index].world_to_camera[:2, :3].double().cpu()
        direction = math.cos(angle) * right + math.sin(angle) * down
        alike = self.axes @ self.axes[index] >= SAME_WAY
        ahead = torch.where(alike, (self.positions - self.positions[index]) @ direction, -math.inf)
        start = int(ahead.argmax()) if float(ahead.max()) > 0.01 * self.radius else index

        camera, axis, position = self.cameras[start], self.axes[start], self.positions[start]
        direction = direction - (direction @ axis) * axis
        direction = direction / direction.norm()
        subject = position + self.focus[start] * axis
        offset = position + distance * direction - subject
        moved = subject + self.focus[start] * offset / offset.norm()
        up = -camera.world_to_camera[1, :3].double().cpu()
        return _camera_like(camera, look_at(moved, subject, up))

    def distance_weight(self, camera: Camera, near: float) -> float:
        """How much is to be learnt at a camera, by its distance d to the nearest photograph: min(1, d / far).

        far is `near` times the largest gap between a training camera and its nearest neighbour, centres all,
        so that with 0.5 the middle of that gap has the whole weight (GaussianObject, arXiv 2402.10259, has
        min(1, 2 d / d_max)). A camera at the very place of a photograph has it too: it is there on purpose
        (`GuidanceViews`), or turned. So has every camera where there is no gap, with one photograph say.

        Args:
            camera: any.
            near: share of the largest gap, in [0, 1]; at 0 every camera has the weight 1.
        """
        nearest = float((self.positions - camera.position.double().cpu()).norm(dim=1).min())
        far = near * self.largest_gap
        return min(1.0, nearest / far) if nearest > 0 and far > 0 else 1.0

    def _partners(self) -> list[list[int]]:
        """For each camera the few nearest others, by distance (in radii) plus angle between them."""
        rotations = torch.stack([camera.world_to_camera[:3, :3] for camera in self.cameras]).double().cpu()
        traces = torch.einsum("aij,bij->ab", rotations, rotations)
        angles = ((traces - 1) / 2).clamp(-1, 1).acos()
        apart = torch.cdist(self.positions, self.positions) / self.radius + angles
        apart.fill_diagonal_(math.inf)
        nearest = apart.argsort(dim=1, stable=True)[:, : min(NEIGHBOURS, len(self.cameras) - 1)]
        return [row.tolist() for row in nearest]


class GuidanceViews:
    """Where guidance looks: at novel cameras, at the photographs' own, or by a coin's toss at either."""

    def __init__(self, novel: NovelCameras, kind: str, near: float, near_plane: float = 0.0) -> None:
        """Makes the sampler of a run.

        Args:
            novel: the novel cameras, and the photographs' own.
            kind: "novel", "train" or "mixed".
            near: see `NovelCameras.distance_weight`.
            near_plane: where the novel cameras' near plane lies, as a share of the least distance from a
                photograph to its subject, in [0, 1], but no nearer than others'. What no photograph sees and
                stands close before a novel camera would become a veil that guidance alone paints.
        """
        self.novel = novel
        self.kind = kind
        self.near = near
        self.near_plane = max(near_plane * float(novel.focus.min()), NEAR_PLANE)

    def __call__(self, generator: torch.Generator, progress: float) -> Camera:
        """A camera; see `NovelCameras.__call__`. Of the training cameras each is as likely."""
        train = self.kind == "train"
        if self.kind == "mixed":
            train = float(torch.rand(1, generator=generator)) < 0.5
        if train:
            cameras = self.novel.cameras
            return cameras[int(torch.randint(len(cameras), (1,), generator=generator))]
        return replace(self.novel(generator, progress), near_plane=self.near_plane)

    def weight(self, camera: Camera) -> float:
        """The weight of guidance at one of these cameras, in [0, 1]."""
        return self.novel.distance_weight(camera, self.near)


def between(first: Camera, second: Camera, weight: float) -> Camera:
    """The camera on the way from `first` (weight 0) to `second` (weight 1), of the first one's size.

    Centres and intrinsics are mixed linearly, rotations on the shortest arc (slerp).
    """
    second = second.resized(first.width, first.height)
    start, end = (
        Rotation.from_matrix(camera.world_to_camera[:3, :3].double().cpu().numpy())
        for camera in (first, second)
    )
    rotation = torch.from_numpy(
        (Rotation.from_rotvec(weight * (end * start.inv()).as_rotvec()) * start).as_matrix()
    )
    position = torch.lerp(first.position.double().cpu(), second.position.double().cpu(), weight)
    camera = _camera_like(first, _world_to_camera(rotation, position))
    return replace(camera, intrinsics=torch.lerp(first.intrinsics, second.intrinsics, weight))


def jittered(camera: Camera, reach: float, angle: float, generator: torch.Generator) -> Camera:
    """The camera, moved by up to `reach` (scene units) and turned by up to `angle` (radians) at random."""
    shift = reach * _in_unit_ball(generator)
    turn = Rotation.from_rotvec((angle * _in_unit_ball(generator)).numpy()).as_matrix()
    rotation = torch.from_numpy(turn) @ camera.world_to_camera[:3, :3].double().cpu()
    return _camera_like(camera, _world_to_camera(rotation, camera.position.double().cpu() + shift))


def _in_unit_ball(generator: torch.Generator) -> Tensor:
    """(3,) float64, evenly distributed in the unit ball."""
    direction = torch.randn(3, generator=generator, dtype=torch.float64)
    length = float(torch.rand(1, generator=generator)) ** (1 / 3)
    return length * direction / direction.norm()


def _world_to_camera(rotation: Tensor, position: Tensor) -> Tensor:
    """(4, 4) float64 of a camera with this rotation, standing at `position`."""
    result = torch.eye(4, dtype=torch.float64)
    result[:3, :3] = rotation
    result[:3, 3] = -rotation @ position
    return result


def _camera_like(camera: Camera, world_to_camera: Tensor) -> Camera:
    """A camera of the same lens and device elsewhere, without a photograph."""
    return replace(
        camera, name="novel", world_to_camera=world_to_camera.to(camera.world_to_camera), photograph=None
    )
