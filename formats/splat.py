"""The `.splat` format: 32 bytes a Gaussian, no header, one colour for all directions.

Position and standard deviations as three float32 each, then as bytes red, green, blue, opacity, and the unit
quaternion w x y z in 128ths above 128. The format has no specification; this is what its readers agree on.
"""

import numpy as np

from formats.splats import SH_C0, Splats, opacity_bytes, opacity_logits, sigmoid, to_bytes, unit_quaternions
from utils.errors import UserError

RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("colour", "u1", 4), ("quat", "u1", 4)])
SMALLEST = 1e-30  # a deviation of 0 is stored by some, and has no logarithm


def pack_splat(splats: Splats) -> bytes:
    """The file's bytes, the most visible Gaussians first, so that a viewer that streams shows them first."""
    visible = sigmoid(splats.opacities.astype(np.float64)) * np.exp(
        splats.scales.sum(axis=1, dtype=np.float64)
    )
    splats = splats[np.argsort(-visible, kind="stable")]
    records = np.empty(len(splats), RECORD)
    records["mean"] = splats.means
    records["scale"] = np.exp(splats.scales)
    records["colour"][:, :3] = to_bytes(255 * (0.5 + SH_C0 * splats.sh0))
    records["colour"][:, 3] = opacity_bytes(splats.opacities)
    records["quat"] = to_bytes(128 + 128 * unit_quaternions(splats.quats))
    return records.tobytes()


def unpack_splat(content: bytes, name: str) -> Splats:
    """The Gaussians of a file's bytes.

    Raises:
        UserError: these bytes are no `.splat`.
    """
    if not content or len(content) % RECORD.itemsize:
        raise UserError(
            f"{name} is no .splat file, or not a whole one: it has {len(content):,} bytes, which is no "
            f"multiple of {RECORD.itemsize}"
        )
    records = np.frombuffer(content, RECORD)
    if (records["scale"] < 0).any():
        raise UserError(f"{name} is no .splat file: Gaussians of negative size; is it one of another format?")
    return Splats(
        means=records["mean"].astype(np.float32),
        scales=np.log(np.maximum(records["scale"], SMALLEST), dtype=np.float32),
        quats=((records["quat"] - 128.0) / 128).astype(np.float32),
        opacities=opacity_logits(records["colour"][:, 3]),
        sh0=((records["colour"][:, :3] / 255 - 0.5) / SH_C0).astype(np.float32),
        shN=np.zeros((len(records), 0, 3), np.float32),
    )
