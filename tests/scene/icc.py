"""ICC profiles made byte by byte (ICC.1:2001-04), whose every number is known."""

import struct

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
"""(3, 3) linear RGB to XYZ, white adapted to D50."""
GAMMA = 563 / 256  # as the format stores 2.2


def xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def gamma_curve() -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256))


def srgb_curve() -> bytes:
    """sRGB's, as a table of 1024."""
    values = np.linspace(0, 1, 1024)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *np.rint(65535 * linear).astype(int).tolist())


def profile(matrix: NDArray[np.float64], curve: bytes, name: str) -> bytes:
    """A display's profile: (3, 3) linear RGB to XYZ, and one curve for the three channels."""
    text = name.encode("ascii") + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": xyz(D50),
        **{
            channel + b"XYZ": xyz(column)
            for channel, column in zip((b"r", b"g", b"b"), matrix.T, strict=True)
        },
        **{channel + b"TRC": curve for channel in (b"r", b"g", b"b")},
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI", 128 + len(table) + len(body), 0x02100000) + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(D50)[8:] + bytes(48)
    assert len(header) == 128
    return header + table + body


def shown_in_srgb(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """What sRGB values look like (..., 3) bytes in a profile with that matrix and `gamma_curve`."""
    linear = np.clip((pixels / 255) ** GAMMA @ matrix.T @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
