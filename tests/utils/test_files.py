"""Files are whole or not there at all; warnings are counted; mistakes end with code 2."""

import errno
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from scene.gaussians import save_ply
from tests.small_scene import some_gaussians
from utils.checkpoints import checkpoint_iterations, load_newest_checkpoint, save_checkpoint
from utils.determinism import sigmoid, single_threaded
from utils.errors import UserError, Warnings, run_program
from utils.files import whole_file, write_json
from utils.images import image_tensor, write_png
from utils.video import write_video


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with whole_file(path, "w") as file:
        file.write("old")
    with pytest.raises(ZeroDivisionError), whole_file(path, "w") as file:
        file.write("half")
        file.flush()
        _ = 1 / 0
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_json_is_whole_too(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


def test_warnings_are_one_line_a_kind_with_a_count():
    warnings = Warnings()
    for name in "abcd":
        warnings.add("photograph missing", name)
    warnings.add("something else")
    assert warnings.lines() == [
        "warning: photograph missing (4 times): a, b, c, ...",
        "warning: something else",
    ]


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (UserError("wrong flag"), 2, "error: wrong flag\n"),
        (OSError(errno.ENOSPC, "full", "x.ply"), 2, "error: x.ply: the disk is full"),
        (NotADirectoryError(errno.ENOTDIR, "no", "x/y"), 2, "error: x/y: a part of this path is a file"),
        (PermissionError(errno.EACCES, "no", "x.ply"), 2, "error: x.ply: permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_programs_end_with_one_message(failure, code, text, capsys):
    def fail():
        raise failure

    with pytest.raises(SystemExit) as end:
        run_program(fail)
    assert end.value.code == code and capsys.readouterr().err.startswith(text)


def test_defects_of_ours_keep_their_trace_back():
    with pytest.raises(ZeroDivisionError):
        run_program(lambda: 1 / 0)


def test_checkpoints_keep_the_newest_two_and_those_asked_for(tmp_path):
    for iteration in (10, 20, 30, 40):
        save_checkpoint(tmp_path, {"iteration": iteration, "x": torch.ones(2)}, keep={10})
    assert checkpoint_iterations(tmp_path) == [10, 30, 40]
    saved = load_newest_checkpoint(tmp_path, Warnings())
    assert saved is not None and saved["iteration"] == 40 and torch.equal(saved["x"], torch.ones(2))
    for iteration in (10, 30, 40):
        (tmp_path / f"chkpnt{iteration}.pth").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 3 checkpoints"):
        load_newest_checkpoint(tmp_path, Warnings())


@pytest.mark.parametrize("content", [b"", b"0", b"a", b"hello", b"\x80\x02\x85", b"PK\x03\x04"])
def test_whatever_lies_in_a_checkpoint_the_one_before_is_taken(tmp_path, content):
    save_checkpoint(tmp_path, {"iteration": 10}, keep=set())
    (tmp_path / "chkpnt20.pth").write_bytes(content)
    warnings = Warnings()
    assert load_newest_checkpoint(tmp_path, warnings) == {"iteration": 10}
    assert "chkpnt20.pth" in warnings.lines()[0]


@contextmanager
def small_disk():
    """No file may grow beyond 20 kB: writing fails in the midst of it, as on a full disk.

    Not a fixture, for pytest would write of the test's end, perhaps to a larger file, while the limit holds.
    """
    resource = pytest.importorskip("resource", reason="only Unix limits the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_checkpoint(path.parent, {"iteration": 9, "x": torch.ones(20_000)}, set()),
        lambda path: save_ply(path, some_gaussians(1000)),
        lambda path: write_json(path, list(range(20_000))),
        lambda path: write_png(path, image_tensor(noise(200, 200, 3))),
        lambda path: write_video(path, [noise(200, 200, 3)] * 3),
    ],
    ids=["checkpoint", "ply", "json", "png", "mp4"],
)
def test_a_disk_that_fills_up_is_one_message_and_leaves_no_file(write, tmp_path, capfd):
    with small_disk(), pytest.raises(SystemExit) as end:
        run_program(lambda: write(tmp_path / "file"))
    said = capfd.readouterr().err
    assert end.value.code == 2 and said.startswith("error: ") and len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_sigmoid_equals_torch_and_keeps_its_bits_at_any_thread_count():
    logits = torch.randn(100_003, generator=torch.Generator().manual_seed(0)) * 5
    torch.testing.assert_close(sigmoid(logits), torch.sigmoid(logits))
    extreme = torch.tensor([-1e30, -100.0, 100.0, 1e30], requires_grad=True)
    sigmoid(extreme).sum().backward()
    assert extreme.grad is not None and extreme.grad.isfinite().all()
    with single_threaded():
        alone = sigmoid(logits)
    assert torch.equal(alone, sigmoid(logits))
