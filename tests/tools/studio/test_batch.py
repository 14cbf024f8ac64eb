"""Work in one or several processes: what is done is not done again, what fails ends it cleanly."""

import os
from functools import partial
from pathlib import Path

import pytest

from tools.studio.batch import work_through
from utils.errors import UserError


def write(folder: Path, number: int) -> int:
    """A job: writes its number, unless it is seven."""
    if number == 7:
        raise OSError(28, "no space", str(folder))
    (folder / str(number)).write_text(str(number))
    return 10 * number


def die(number: int) -> None:
    """A job that takes its process with it."""
    os._exit(1)


def write_after(folder: Path, number: int) -> None:
    """A job that wants nine to be there."""
    assert (folder / "9").is_file()
    write(folder, number)


def files(folder: Path, number: int) -> list[Path]:
    """What `write` writes."""
    return [folder / str(number)]


def test_only_what_is_missing_is_done(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("kept")
    done = work_through(partial(write, tmp_path), [0, 1, 2], outputs=partial(files, tmp_path), workers=1)
    assert done == [0, 20]
    assert (tmp_path / "1").read_text() == "kept"


def test_every_process_is_prepared_before_its_first_job(tmp_path: Path) -> None:
    write_nine = partial(write, tmp_path, 9)
    for workers, jobs in ((1, [0]), (2, [1, 2])):
        (tmp_path / "9").unlink(missing_ok=True)
        work_through(
            partial(write_after, tmp_path),
            jobs,
            outputs=partial(files, tmp_path),
            workers=workers,
            prepare=write_nine,
        )


def test_a_failure_is_raised_and_what_was_done_stays(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space"):
        work_through(partial(write, tmp_path), [5, 7, 9], outputs=partial(files, tmp_path), workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5"]


@pytest.mark.slow
def test_a_killed_process_is_one_helpful_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fewer --workers"):
        work_through(die, [4, 6], outputs=partial(files, tmp_path), workers=2)
