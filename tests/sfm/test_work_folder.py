"""The work folder: kept after an interruption, gone after success and mistakes, never another's."""

import pytest

from sfm.work_folder import finished, work_folder
from utils.errors import UserError

ASKED = {"files": [["a.jpg", 3, 5]], "options": {"seed": 0}}


def interrupted(output, asked=ASKED):
    """A first call that ends in the middle of its second part."""

    def half(into):
        (into / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), work_folder(output, asked) as work:
        finished(work / "one", lambda into: (into / "done").touch())
        finished(work / "two", half)
    return work


def test_finished_parts_are_not_made_again_and_half_ones_are(tmp_path):
    work = interrupted(tmp_path / "out")
    with work_folder(tmp_path / "out", ASKED) as again:
        assert again == work
        assert finished(again / "one", lambda into: pytest.fail("it is there")) == work / "one"
        two = finished(again / "two", lambda into: (into / "whole").touch())
        assert [path.name for path in two.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == []


def test_other_work_starts_anew(tmp_path, capsys):
    interrupted(tmp_path / "out")
    with work_folder(tmp_path / "out", ASKED | {"options": {"seed": 1}}) as work:
        assert [path.name for path in work.iterdir()] == ["record.json"]
    assert "starting anew" in capsys.readouterr().out


def test_a_mistake_of_the_user_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="nothing"), work_folder(tmp_path / "out", ASKED):
        raise UserError("nothing to do")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [None, "no JSON", "\xff", "[]", '{"name": "a thesis"}', "[" * 100_000])
def test_a_folder_of_something_else_is_not_touched(tmp_path, record):
    folder = tmp_path / "out.work"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    if record:
        (folder / "record.json").write_text(record, encoding="latin-1")
    with pytest.raises(UserError, match=r"out\.work is in the way"), work_folder(tmp_path / "out", ASKED):
        pass
    assert (folder / "thesis.tex").is_file()
