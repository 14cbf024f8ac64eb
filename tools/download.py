"""Downloads the public scenes of the field, checks them and unpacks them.

python -m tools.download --list
python -m tools.download truck train --output data
python -m tools.download tandt_db

A name is a scene, or an archive for all its scenes. A download that stops is kept and continued; a scene that
is there is not fetched again. The archives stay in OUTPUT/archives and may be deleted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a file, from anywhere

from tools.public_scenes.catalogue import ARCHIVES, Archive, chosen
from tools.public_scenes.fetch import fetch
from tools.public_scenes.unpack import unpack
from utils.errors import UserError, run_program
from utils.options import parse


@dataclass
class Options:
    """Downloads the public scenes of the field."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Scenes, or archives for all their scenes."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "data"
    """Folder for the scenes; the archives go to archives/ in it."""
    list: bool = False
    """Print what there is, and fetch nothing."""


def described(archives: Sequence[Archive], output: Path) -> str:
    """What there is: archives, their size, their scenes and where those go."""
    lines = []
    for archive in archives:
        size = f"{archive.size / 1e9:.2f} GB" if archive.size else "size not published"
        checksum = "known" if archive.sha256 else "not published, so that of the first download is kept"
        lines.append(f"{archive.name}: {size}, SHA-256 {checksum}")
        lines += [f"  {archive.hint}", f"  licence, and the file by hand: {archive.page}"]
        for scene in archive.scenes:
            home = output / archive.home(scene)
            lines.append(f"  {scene:<12} {home}{'  (there)' if home.is_dir() else ''}")
    lines.append(f"A file fetched by hand goes into {output / 'archives'}, where it is checked and unpacked.")
    return "\n".join(lines)


def main(options: Options, archives: Sequence[Archive] = ARCHIVES) -> None:
    """Fetches, checks and unpacks what was asked for.

    Raises:
        UserError: no name or an unknown one, or what `fetch` and `unpack` raise.
    """
    output = Path(options.output)
    if options.list:
        print(described(archives, output))
        return
    if not options.names:
        raise UserError("which scenes? Give names of scenes or archives; --list shows them")
    for archive, scenes in chosen(options.names, archives):
        homes = {archive.scenes[scene]: output / archive.home(scene) for scene in scenes}
        stored = output / "archives" / archive.file
        if stored.is_file() or not all(home.is_dir() for home in homes.values()):
            unpack(fetch(archive, stored.parent), homes)
        for home in homes.values():
            print(f"{home}: ready")


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
