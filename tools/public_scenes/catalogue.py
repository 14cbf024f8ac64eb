"""The archives of the public scenes: addresses, checksums, and which folder inside is which scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from utils.errors import UserError


@dataclass(frozen=True)
class Archive:
    """A zip file of scenes that somebody publishes.

    Attributes:
        file: what it is called on disk.
        urls: addresses of the same bytes, tried in this order.
        scenes: name of each scene, and its folder inside the archive.
        page: where a person finds it, and its licence.
        below: a folder that the scenes' folders are put into, for an archive that has none of its own.
        size: bytes; None where nobody states it.
        sha256: hexadecimal; None where nobody states it: the first download's is then recorded.
        hint: what to know when training on it.
    """

    file: str
    urls: tuple[str, ...]
    scenes: Mapping[str, str]
    page: str
    below: str = ""
    size: int | None = None
    sha256: str | None = None
    hint: str = ""

    @property
    def name(self) -> str:
        """The archive's file name without its ending."""
        return self.file.removesuffix(".zip")

    def home(self, scene: str) -> PurePosixPath:
        """The scene's folder below the output folder."""
        return PurePosixPath(self.below, self.scenes[scene])


def _scenes(names: str, prefix: str = "") -> dict[str, str]:
    return {name: f"{prefix}{name}" for name in names.split()}


# Checksums: tandt_db and 360_v2 as several users of the publishers' files report them, equal to those that
# Hugging Face states for its copies; nerf_synthetic and nerf_llff_data as nerfbaselines states them for the
# authors' files and the copy's keeper for the copy. Nobody states one for 360_extra_scenes.
HUGGING_FACE = "https://huggingface.co"
GITHUB_COPY = "https://github.com/yxlao/nerfmirror/releases/download/20220618"
NERF_PAGE = "https://drive.google.com/drive/folders/128yBriW1IG_3NJ5Rp7APSTZsJqdJdfc1"
ARCHIVES = (
    Archive(
        file="tandt_db.zip",
        urls=(
            "https://repo-sam.inria.fr/fungraph/3d-gaussian-splatting/datasets/input/tandt_db.zip",
            f"{HUGGING_FACE}/camenduru/gaussian-splatting/resolve/f1a50032da2b80408d95af0629ccdd9e62621541/tandt_db.zip",
        ),
        scenes=_scenes("train truck", "tandt/") | _scenes("drjohnson playroom", "db/"),
        page="https://repo-sam.inria.fr/fungraph/3d-gaussian-splatting/",
        size=682_628_995,
        sha256="816e62f22a161abbfe841d2a6b10cdf036e297c9fa289b3bfeee9c6ec526d7e1",
        hint="Tanks and Temples, Deep Blending, as the reference packs them; -s FOLDER --eval",
    ),
    Archive(
        file="360_v2.zip",
        urls=(
            "https://storage.googleapis.com/gresearch/refraw360/360_v2.zip",
            f"{HUGGING_FACE}/datasets/YouLiXiya/nerf/resolve/8bb2c1f48e1ee51a94bce0c1634dd04795f92faa/360_v2.zip",
        ),
        scenes=_scenes("bicycle bonsai counter garden kitchen room stump"),
        below="mipnerf360",
        page="https://jonbarron.info/mipnerf360/",
        size=12_535_427_936,
        sha256="77332bf4eba3b8ca0c7f70130849b1e394efdd60d8f20efa6f217081d08a8b2a",
        hint="Mip-NeRF 360; -s FOLDER --eval, with -i images_4 outdoors and -i images_2 indoors",
    ),
    Archive(
        file="360_extra_scenes.zip",
        urls=("https://storage.googleapis.com/gresearch/refraw360/360_extra_scenes.zip",),
        scenes=_scenes("flowers treehill"),
        below="mipnerf360",
        page="https://jonbarron.info/mipnerf360/",
        size=4_488_140_217,
        hint="Mip-NeRF 360, the two scenes apart; -s FOLDER --eval -i images_4",
    ),
    Archive(
        file="nerf_synthetic.zip",
        urls=(f"{GITHUB_COPY}/nerf_synthetic.zip",),
        scenes=_scenes("chair drums ficus hotdog lego materials mic ship", "nerf_synthetic/"),
        page=NERF_PAGE,
        sha256="f01fd1b4ab045b0d453917346f26f898657bb5bec4834b95fdad1f361826e45e",
        hint="NeRF-synthetic (Blender); -s FOLDER --eval --white_background",
    ),
    Archive(
        file="nerf_llff_data.zip",
        urls=(f"{GITHUB_COPY}/nerf_llff_data.zip",),
        scenes={
            **_scenes("fern flower fortress horns leaves orchids trex", "nerf_llff_data/"),
            "llff_room": "nerf_llff_data/room",
        },
        page=NERF_PAGE,
        sha256="5794b432feaf4f25bcd603addc6ad0270cec588fed6a364b7952001f07466635",
        hint="LLFF, forward-facing; -s FOLDER --eval -r 8",
    ),
)


def chosen(names: Sequence[str], archives: Sequence[Archive]) -> list[tuple[Archive, list[str]]]:
    """The archives that are needed, in their order, each with the scenes to unpack.

    Args:
        names: scenes, or archives for all their scenes.

    Raises:
        UserError: a name is neither.
    """
    known = [archive.name for archive in archives] + [name for archive in archives for name in archive.scenes]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            question = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"no public scene or archive is called {name}{question} --list names all")
    wanted = [
        (archive, [scene for scene in archive.scenes if {scene, archive.name} & set(names)])
        for archive in archives
    ]
    return [(archive, scenes) for archive, scenes in wanted if scenes]
