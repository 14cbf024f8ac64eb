"""How the cameras stand: what each shares with the others, how far apart neighbours are, who stands apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scene.cameras import Camera

FAR = 6.0  # times the median distance from the cameras' middle, from which on a camera stands apart
FEWEST = 5  # cameras, of which one can be said to stand apart


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The cameras of a scene.

    Attributes:
        positions, axes: (B, 3) where they stand and look, unit vectors.
        right, forward, up: (3,) unit vectors: up is square to the pictures' rows, as far as these differ,
            forward where the cameras mostly look, level.
        trains: (B,) which cameras train.
        overlap: (B,) the largest share of a camera's points that another one, which trains, sees too; 0
            without points.
        angles: (B, B) degrees, between two cameras as the first one's points see them; 0 on the diagonal.
        distances: (B,) from the cameras' median place, over the median of these distances.
    """

    positions: NDArray[np.float64]
    axes: NDArray[np.float64]
    right: NDArray[np.float64]
    forward: NDArray[np.float64]
    up: NDArray[np.float64]
    trains: NDArray[np.bool_]
    overlap: NDArray[np.float64]
    angles: NDArray[np.float64]
    distances: NDArray[np.float64]

    @property
    def nearest(self) -> NDArray[np.float64]:
        """(B,) degrees from a camera to its nearest neighbour that trains; 0 where there is none."""
        others = self.trains & ~np.eye(len(self.angles), dtype=bool)
        nearest = np.where(others, self.angles, np.inf).min(axis=1)
        return np.where(np.isfinite(nearest), nearest, 0)

    @property
    def apart(self) -> NDArray[np.bool_]:
        """(B,) which cameras stand apart from all others."""
        if len(self.distances) < FEWEST:
            return np.zeros(len(self.distances), bool)
        return self.distances > FAR

    @property
    def round_about(self) -> float:
        """Degrees of the circle, seen from above, within which all cameras stand about what they look at.

        360 less the largest gap between two neighbours; 0 for a single camera.
        """
        offsets = self.positions - self.focus
        turns = np.sort(np.degrees(np.arctan2(offsets @ self.right, -offsets @ self.forward)))
        return float(360 - np.diff(np.append(turns, turns[0] + 360)).max())

    @property
    def focus(self) -> NDArray[np.float64]:
        """(3,) the point nearest to all optical axes; where these are parallel, far before the cameras."""
        across = np.eye(3) - self.axes[:, :, None] * self.axes[:, None, :]
        middle = self.positions.mean(axis=0)
        spread = np.linalg.norm(self.positions - middle, axis=1).max() or 1.0
        # a weak pull to a place far ahead keeps parallel axes from having no answer
        ahead = middle + 10 * spread * self.axes.mean(axis=0)
        weight = 1e-3 * len(self.axes)
        normal = across.sum(axis=0) + weight * np.eye(3)
        return np.linalg.solve(normal, np.einsum("nij,nj->i", across, self.positions) + weight * ahead)


def arrange(
    cameras: Sequence[Camera],
    trains: NDArray[np.bool_],
    positions: NDArray[np.floating],
    seen: Sequence[NDArray[np.int64]],
) -> Arrangement:
    """The cameras' arrangement about the points.

    Args:
        cameras: at least one.
        trains: (B,) which of them train.
        positions: (N, 3) points, world frame; there may be none.
        seen: for each camera, the rows of the points that it sees.
    """
    to_world = np.stack([camera.camera_to_world.numpy() for camera in cameras]).astype(np.float64)
    places, axes = to_world[:, :3, 3], to_world[:, :3, 2]
    up = _upward(to_world[:, :3, 0], -to_world[:, :3, 1])
    level = axes - np.outer(axes @ up, up)
    across = _unit(np.cross(up, [1.0, 0, 0]), _unit(np.cross(up, [0, 1.0, 0]), up))
    mean = level.mean(axis=0)
    forward = _unit(mean if np.linalg.norm(mean) > 0.2 else level[0], across)
    away = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    result = Arrangement(
        positions=places,
        axes=axes,
        right=np.cross(forward, up),
        forward=forward,
        up=up,
        trains=trains,
        overlap=_overlap(seen, len(positions), trains),
        angles=np.zeros((len(cameras), len(cameras))),
        distances=away / (np.median(away) or 1.0),
    )
    for number, rows in enumerate(seen):
        # the median point of those seen; where none is, what all look at
        middle = np.median(positions[rows], axis=0) if len(rows) else result.focus
        rays = places - middle
        rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
        result.angles[number] = np.degrees(np.arccos(np.clip(rays @ rays[number], -1, 1)))
        result.angles[number, number] = 0.0
    return result


def _upward(rows: NDArray[np.float64], ups: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) unit vector that is up in the world, for (B, 3) directions of pictures' rows and columns.

    Cameras are mostly held level, though they look down: up is square to their rows. Where all look the same
    way, that leaves it open, and the mean of what is up in the pictures is taken.
    """
    mean = _unit(ups.mean(axis=0), np.array([0.0, -1.0, 0.0]))
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[1] < 0.05:
        return mean
    return vectors[:, 0] * (1 if vectors[:, 0] @ mean >= 0 else -1)


def _overlap(seen: Sequence[NDArray[np.int64]], count: int, trains: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows = np.concatenate(seen)
    starts = np.cumsum([0, *(len(each) for each in seen)])
    sees = csr_matrix((np.ones(len(rows)), rows, starts), shape=(len(seen), max(count, 1)))
    shared = (sees @ sees.T).toarray()
    own = np.maximum(shared.diagonal().copy(), 1)
    np.fill_diagonal(shared, 0)
    return (shared * trains).max(axis=1) / own


def _unit(vector: NDArray[np.float64], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-6 else otherwise
