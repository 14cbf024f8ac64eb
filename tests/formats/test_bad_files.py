"""Files that are cut short, of another kind or lie about their size: one message, no large allocation."""

import gzip
import json
import re
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from formats.compressed_ply import RANGES, pack_compressed
from formats.files import holds_splats, read_splats
from formats.ply import write_ply
from formats.splat import pack_splat
from formats.splats import Splats, finite
from formats.spz import HEADER, pack_spz
from scene.gaussians import load_gaussians
from scene.model_folder import read_cameras
from tests.formats.models import some_splats
from utils.errors import UserError, Warnings
from utils.optional_modules import importable

FUZZ = settings(max_examples=60, deadline=None, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def written(folder: Path, splats: Splats) -> Path:
    write_ply(folder / "whole.ply", splats)
    return folder / "whole.ply"


def header_of(*lines: str, form: str = "binary_little_endian") -> bytes:
    return "\n".join(["ply", f"format {form} 1.0", *lines, "end_header", ""]).encode()


def refusal(folder: Path, content: bytes, suffix: str = ".ply") -> str:
    """The message with which a file is refused, while less than 50 MB are allocated."""
    path = folder / f"bad{suffix}"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read_splats(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize("kept", [2, 40, 1000, -1])
def test_a_ply_that_was_cut_short(folder, kept):
    assert "not a whole PLY file" in refusal(folder, written(folder, some_splats(20)).read_bytes()[:kept])


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("column", ["property float x", "property list uchar int x", "comment none"])
def test_a_ply_that_claims_more_than_it_holds(folder, form, column):
    for count in (10**4, 10**12, 10**30):
        message = refusal(folder, header_of(f"element vertex {count}", column, form=form) + b"1 2 3\n")
        assert f"claims {count:,} of 'vertex'" in message and "6 bytes are left" in message


@pytest.mark.parametrize("comment", ["comment end_header", "comment a\rend_header\r", "comment end_header 2"])
def test_a_ply_whose_comment_hides_the_rest_of_its_header(folder, comment):
    lines = (comment, f"element vertex {10**12}", "property list uchar int x")
    assert f"claims {10**12:,} of 'vertex'" in refusal(folder, header_of(*lines, form="ascii"))


def test_a_mesh_is_named_and_said_to_be_a_start(folder):
    lines = [f"property float {axis}" for axis in "xyz"]
    content = header_of(
        "element vertex 3", *lines, "element face 1", "property list uchar int vertex_indices"
    )
    message = refusal(folder, content + bytes(36) + struct.pack("<B3i", 3, 0, 1, 2))
    assert "is no 3D Gaussian PLY but a mesh of 3 vertices and 1 faces" in message
    assert re.search(r"train\.py --init_ply .*bad\.ply", message)


def test_a_point_cloud_is_named_and_said_to_be_a_start(folder):
    lines = [f"property float {axis}" for axis in "xyz"] + ["property uchar red"]
    message = refusal(folder, header_of("element vertex 2", *lines) + bytes(26))
    assert "a point cloud of 2 points (columns found: red, x, y, z)" in message and "--init_ply" in message


def without(splats: Splats, folder: Path, *names: str) -> bytes:
    """A PLY of Gaussians that lacks columns."""
    table: Any = np.array(PlyData.read(written(folder, splats))["vertex"].data)
    table = table[[name for name in table.dtype.names if name not in names]].copy()
    table = table.astype([(name, "<f4") for name in table.dtype.names])  # without the gaps
    PlyData([PlyElement.describe(table, "vertex")]).write(folder / "less.ply")
    return (folder / "less.ply").read_bytes()


def test_a_wrong_number_of_sh_coefficients(folder):
    message = refusal(folder, without(some_splats(5), folder, "f_rest_44"))
    assert "has 44 columns f_rest_*; expected 0, 9, 24 or 45" in message and "export it again" in message
    message = refusal(folder, without(some_splats(5, degree=1), folder, *(f"f_rest_{i}" for i in range(3))))
    assert "has 6 columns" in message


def test_missing_columns(folder):
    message = refusal(folder, without(some_splats(5), folder, "scale_2", "rot_3"))
    assert "columns missing: scale_2, rot_3" in message


def test_lists_where_numbers_belong(folder):
    names = PlyData.read(written(folder, some_splats(1, 0)))["vertex"].data.dtype.names
    lines = [f"property {'list uchar float' if name == 'x' else 'float'} {name}" for name in names]
    content = header_of("element vertex 1", *lines) + b"\x01" + bytes(4 * len(names))
    assert "it has lists in a column of numbers" in refusal(folder, content)


def test_gaussians_that_are_all_not_finite_or_none(folder):
    splats = some_splats(5)
    splats.opacities[:] = np.nan
    with pytest.raises(UserError, match="none of its 5 Gaussians has finite values"):
        load_gaussians(written(folder, splats))
    with pytest.raises(UserError, match="holds no Gaussians"):
        load_gaussians(written(folder, some_splats(5)[:0]))


def test_some_that_are_not_finite_are_left_out_with_a_count(folder):
    splats, warnings = some_splats(5), Warnings()
    splats.means[1, 2], splats.shN[3, 4, 1] = np.nan, np.inf
    good, dropped = finite(splats, "a.ply", warnings)
    assert dropped == 2 and np.array_equal(good.means, splats.means[[0, 2, 4]])
    assert "2 Gaussians with values that are not finite were left out: a.ply" in warnings.lines()[0]


def test_a_compressed_ply_is_loaded_as_any_other(folder):
    path = folder / "a.compressed.ply"
    path.write_bytes(pack_compressed(some_splats(500)))
    gaussians, info = load_gaussians(path)
    assert len(gaussians["means"]) == 500 and info.sh_degree == 3


def compressed(folder: Path, **changes: Any) -> bytes:
    """A compressed PLY with elements changed or left out (None)."""
    (folder / "whole.ply").write_bytes(pack_compressed(some_splats(300)))
    ply = PlyData.read(folder / "whole.ply")
    elements = []
    for element in ply.elements:
        data = np.array(element.data)
        if element.name in changes:
            data = changes[element.name](data)
        if data is not None:
            elements.append(PlyElement.describe(data, element.name))
    PlyData(elements, byte_order="<").write(folder / "changed.ply")
    return (folder / "changed.ply").read_bytes()


def test_a_compressed_ply_that_contradicts_itself(folder):
    assert "1 chunks hold at most 256 Gaussians" in refusal(
        folder, compressed(folder, chunk=lambda rows: rows[:1])
    )
    message = refusal(folder, compressed(folder, sh=lambda rows: rows[:299]))
    assert "45 SH coefficients for 299 of 300 Gaussians" in message
    fewer = [name for name in RANGES if name != "max_scale_z"]
    narrow = [(name, "<f4") for name in fewer]
    message = refusal(folder, compressed(folder, chunk=lambda rows: rows[fewer].copy().astype(narrow)))
    assert "columns missing: max_scale_z" in message


def test_an_older_compressed_ply_has_colours_without_ranges(folder):
    kept = [name for name in RANGES if name[-2:] not in ("_r", "_g", "_b")]
    narrow = [(name, "<f4") for name in kept]
    content = compressed(folder, chunk=lambda rows: rows[kept].copy().astype(narrow), sh=lambda rows: None)
    (folder / "old.ply").write_bytes(content)
    splats = read_splats(folder / "old.ply")
    assert splats.sh_degree == 0 and np.abs(splats.sh0).max() <= 0.5 / 0.282


def spz_header(count: int, version: int = 3, degree: int = 0, bits: int = 12, streams: int = 0) -> bytes:
    return HEADER.pack(b"NGSP", version, count, degree, bits, 0, streams)


def test_an_spz_file_that_was_cut_short_or_lies(folder):
    whole = pack_spz(some_splats(300))
    for kept in (3, 30, len(whole) // 2):
        assert "SPZ file" in refusal(folder, whole[:kept], ".spz")
    assert "claims 4,000,000,000 Gaussians" in refusal(folder, gzip.compress(spz_header(4 * 10**9)), ".spz")
    for content in (
        gzip.compress(spz_header(40_000_000) + bytes(1000)),
        spz_header(40_000_000) + bytes(1000),
    ):
        assert "claims 800,000,000 bytes of Gaussians" in refusal(folder, content, ".spz")
    assert "is SPZ version 1" in refusal(folder, gzip.compress(spz_header(1, version=1)), ".spz")
    assert "SH degree 4" in refusal(folder, gzip.compress(spz_header(1, degree=4)), ".spz")
    assert "claims 0 Gaussians" in refusal(folder, gzip.compress(spz_header(0)), ".spz")
    assert "no SPZ file" in refusal(folder, gzip.compress(b"something else altogether"), ".spz")


def test_an_spz_file_of_version_4_that_lies(folder):
    zstandard = pytest.importorskip("zstandard")
    bomb = zstandard.ZstdCompressor().compress(bytes(10**8))  # ten thousand bytes
    count = 1000
    table = b"".join(struct.pack("<QQ", len(bomb), count * size) for size in (9, 1, 3, 3, 4))
    content = spz_header(count, 4, streams=5) + struct.pack("<I12x", 32) + table + 5 * bomb
    assert "does not have its 9,000 bytes" in refusal(folder, content, ".spz")
    whole = pack_spz(some_splats(300), version=4)
    for kept in (20, 40, len(whole) - 1):
        assert "not a whole SPZ file" in refusal(folder, whole[:kept], ".spz")


def test_a_splat_file_of_another_size_or_kind(folder):
    whole = pack_splat(some_splats(4))
    assert "100 bytes, which is no multiple of 32" in refusal(folder, whole[:100], ".splat")
    assert "0 bytes" in refusal(folder, b"", ".splat")
    assert "negative size" in refusal(folder, b"\xbf" * 64, ".splat")


def test_a_file_of_no_known_kind(folder):
    assert "begins with b'PK" in refusal(folder, b"PK\x03\x04 a zip file", ".sog")
    with pytest.raises(UserError, match="no such file: "):
        read_splats(folder / "none.ply")
    with pytest.raises(UserError, match="is a folder"):
        read_splats(folder)


@pytest.fixture(scope="module")
def whole_files(folder: Path) -> dict[str, bytes]:
    """A small file of each kind, SPZ in the clear too, so that changes reach what is inside."""
    splats = some_splats(9, degree=1)
    gzipped = pack_spz(splats)
    files = {
        "plain.ply": written(folder, splats).read_bytes(),
        "small.compressed.ply": pack_compressed(splats),
        "model.splat": pack_splat(splats),
        "gzipped.spz": gzipped,
        "clear.spz": zlib.decompress(gzipped, wbits=31),
    }
    if importable("zstandard"):
        files["zstd.spz"] = pack_spz(splats, version=4)
    return files


CHANGES = st.lists(
    st.tuples(st.integers(0, 10**4), st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255]))),
    max_size=8,
)


@FUZZ
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(folder, whole_files, data):
    name = data.draw(st.sampled_from(sorted(whole_files)))
    content = bytearray(whole_files[name])
    for place, value in data.draw(CHANGES):
        near = place % (64 if data.draw(st.booleans()) else len(content))  # half of them in the header
        content[near] = value
    del content[
        data.draw(st.integers(0, len(content))) if data.draw(st.integers(0, 3)) == 0 else len(content) :
    ]
    (folder / name).write_bytes(bytes(content))
    read_or_refuse(folder / name)


WORDS = (
    "element",
    "property",
    "comment",
    "list",
    "vertex",
    "chunk",
    "sh",
    "float",
    "uint",
    "uchar",
    "x",
    "y",
)
LINES = st.lists(
    st.sampled_from((*WORDS, "f_rest_0", "opacity", "-1", "0", "2", "1e3", "99999999999")), max_size=5
)


@FUZZ
@given(
    lines=st.lists(LINES, max_size=12),
    form=st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]),
    body=st.one_of(st.binary(max_size=200), st.text("0123456789-. \nenaif", max_size=60).map(str.encode)),
)
def test_any_header_of_a_ply_is_read_or_refused(folder, lines, form, body):
    content = header_of("element vertex 2", *(" ".join(line) for line in lines), form=form) + body
    (folder / "made_up.ply").write_bytes(content)
    read_or_refuse(folder / "made_up.ply")


def read_or_refuse(path: Path) -> None:
    try:
        splats, _ = finite(read_splats(path), str(path), Warnings())
    except UserError:
        with suppress(UserError):
            holds_splats(path)
        return
    assert holds_splats(path)
    assert all(np.isfinite(values).all() for values in splats.arrays().values())


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@FUZZ
@given(
    changes=st.dictionaries(st.sampled_from(["width", "fx", "position", "rotation", "img_name"]), JSON),
    rows=JSON,
)
def test_any_cameras_file_is_read_or_refused(folder, changes, rows):
    row = {"img_name": "a", "width": 4, "height": 3, "fx": 5, "fy": 5, "position": [0, 0, 1]}
    row["rotation"] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for content in ([row], [row | changes], rows):
        (folder / "cameras.json").write_text(json.dumps(content))
        try:
            cameras = read_cameras(folder / "cameras.json")
        except UserError as refused:
            assert content != [row] and "cameras.json is not a list of cameras" in str(refused)
        else:
            assert all(camera.world_to_camera.isfinite().all() for camera in cameras)
