"""What meshes are called, and captions: from file names, ShapeNet's categories, or a table."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpy.random import Generator

from tools.mesh_sets.finding import MeshFile
from tools.procedural.captions import OPENINGS, VIEW_WORDS
from utils.errors import UserError, Warnings

NAMELESS = "object"
EMPTY_WORDS = frozenset({"model", "mesh", "normalized", "textured", "object", "obj", "final", "scene"})
COLUMNS = ("mesh", "caption")


def subject(mesh: MeshFile, categories: Mapping[str, str]) -> str:
    """What a mesh shows, in words: its category, or the words in its file's or its folder's name.

    "red_chair-01" and "RedChair01" are a "red chair"; numbers, hexadecimal labels and words such as "model"
    are left out. Where nothing is left it is an "object".

    Args:
        categories: names of ShapeNet's categories, by synset.
    """
    if mesh.synset:
        return categories.get(mesh.synset, NAMELESS)
    names = [mesh.path.stem, *reversed(mesh.name.split("/")[:-1])]
    return next((words for words in map(_words, names) if words), NAMELESS)


def _words(name: str) -> str:
    pieces = [piece for piece in re.split(r"[\W_]+", name) if not _is_label(piece)]
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", " ".join(pieces))
    words = [word.lower() for word in re.findall(r"[^\W\d_]{2,}", apart)]
    return " ".join(word for word in words if word not in EMPTY_WORDS)


def _is_label(piece: str) -> bool:
    """Whether a piece of a name is a number or such as "1a04e3ea"."""
    return bool(re.fullmatch(r"(?=.*\d)[0-9a-f]+", piece))


def caption(rng: Generator, what: str, view: str) -> str:
    """A caption for what a mesh shows, in varied words.

    Args:
        what: without article, see `subject`.
        view: a key of `procedural.captions.VIEW_WORDS`, or "" where the front is not known.
    """
    return f"{rng.choice(OPENINGS)}{'an' if what[0] in 'aeiou' else 'a'} {what}{seen(rng, view)}"


def seen(rng: Generator, view: str) -> str:
    """Words for a view, such as ", seen from the front"; mostly, not always, and never for the view ""."""
    return str(rng.choice(VIEW_WORDS[view])) if view and rng.random() < 0.7 else ""


def read_table(path: Path, meshes: Sequence[MeshFile], warnings: Warnings) -> dict[str, list[str]]:
    """Captions by a mesh's name, from a CSV with the columns "mesh" and "caption".

    A mesh is given by its name, its path below the folder, or its file's name or model alone; several rows
    for one mesh give its pictures captions in turn.

    Args:
        warnings: takes rows without mesh and meshes without row.

    Raises:
        UserError: the table cannot be read, or a row's mesh could be several.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for mesh in meshes:
        last = mesh.name.split("/")[-1]
        for key in (mesh.name, last, f"{mesh.name}{mesh.path.suffix}", mesh.path.name):
            known[key].add(mesh.name)
    result: dict[str, list[str]] = defaultdict(list)
    for line, row in _rows(path):
        key, text = (row[column].strip() for column in COLUMNS)
        found = known.get(key, set())
        if len(found) > 1:
            raise UserError(
                f"{path}, line {line}: {key} could be {' or '.join(sorted(found)[:3])}; "
                "give it with its folder"
            )
        if not found or not text:
            warnings.add(f"a row of {path} {'has no caption' if found else 'names no mesh'}", key)
        else:
            result[next(iter(found))].append(text)
    for mesh in meshes:
        if mesh.name not in result:
            warnings.add(f"a mesh is not in {path} and is captioned by its name", mesh.name)
    return dict(result)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            found = list(reader.fieldnames or ())
            rows = list(enumerate(reader, start=2))
    except FileNotFoundError:
        raise UserError(f"--captions {path}: there is no such file") from None
    except (UnicodeDecodeError, csv.Error) as failure:
        raise UserError(f"--captions {path} cannot be read as a UTF-8 CSV table: {failure}") from failure
    if not set(COLUMNS) <= set(found):
        raise UserError(
            f"--captions {path}: the first line must name the columns {' and '.join(COLUMNS)}; found {found}"
        )
    return rows
