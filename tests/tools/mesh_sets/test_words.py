"""Words for meshes: names of files, captions, tables of captions."""

from pathlib import Path

import numpy as np
import pytest

from tools.mesh_sets.finding import MeshFile
from tools.mesh_sets.words import caption, read_table, subject
from utils.errors import UserError, Warnings

MESHES = [MeshFile(Path("in/a/chair.obj"), "a/chair"), MeshFile(Path("in/b/chair.obj"), "b/chair")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("red_chair-01", "red chair"),
        ("RedChair01", "red chair"),
        ("OLD.lamp final", "old lamp"),
        ("vases/1a04e3eab45ca15d", "vases"),
        ("sofas/model_normalized", "sofas"),
        ("model-3", "object"),
        ("Äpfel", "äpfel"),
        ("decade", "decade"),
    ],
)
def test_names_become_words(name: str, words: str) -> None:
    assert subject(MeshFile(Path(f"{name}.obj"), name), {}) == words


def test_a_category_wins_over_the_name() -> None:
    mesh = MeshFile(Path("model.obj"), "03001627/abc", "03001627")
    assert subject(mesh, {"03001627": "chair"}) == "chair"
    assert subject(mesh, {}) == "object"


def test_captions_name_the_subject_and_only_a_known_view() -> None:
    texts = [caption(np.random.default_rng(seed), "old lamp", "back") for seed in range(40)]
    assert all("an old lamp" in text for text in texts)
    named = [text for text in texts if "back" in text or "behind" in text]
    assert 10 < len(named) < 40 and len(set(texts)) > 4
    assert {caption(np.random.default_rng(seed), "cup", "").split()[-1] for seed in range(40)} == {"cup"}


def table(folder: Path, text: str) -> Path:
    """A file with that text."""
    path = folder / "captions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_captions_and_tells_what_does_not_match(tmp_path: Path) -> None:
    rows = 'mesh,caption,by\na/chair,a chair,me\na/chair.obj,"red, wooden"\nc/sofa,a sofa\nb/chair, \n'
    warnings = Warnings()
    assert read_table(table(tmp_path, rows), MESHES, warnings) == {"a/chair": ["a chair", "red, wooden"]}
    lines = "\n".join(warnings.lines())
    assert "names no mesh: c/sofa" in lines and "has no caption: b/chair" in lines
    assert "captioned by its name: b/chair" in lines


def test_a_model_alone_is_enough_where_it_is_the_only_one(tmp_path: Path) -> None:
    meshes = [MeshFile(Path("x/models/model_normalized.obj"), "03001627/abc", "03001627")]
    assert read_table(table(tmp_path, "mesh,caption\nabc,a stool\n"), meshes, Warnings()) == {
        "03001627/abc": ["a stool"]
    }
    with pytest.raises(UserError, match=r"line 2: chair.obj could be a/chair or b/chair"):
        read_table(table(tmp_path, "mesh,caption\nchair.obj,a stool\n"), MESHES, Warnings())


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"columns mesh and caption; found \['file', 'text'\]"):
        read_table(table(tmp_path, "file,text\na,b\n"), MESHES, Warnings())
    with pytest.raises(UserError, match=r"found \[\]"):
        read_table(table(tmp_path, ""), MESHES, Warnings())
    (tmp_path / "captions.csv").write_bytes(b"mesh,caption\na,\xff\n")
    with pytest.raises(UserError, match="cannot be read as a UTF-8"):
        read_table(tmp_path / "captions.csv", MESHES, Warnings())
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "nowhere.csv", MESHES, Warnings())
