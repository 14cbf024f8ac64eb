"""Gathers what conditions a run: flags, a file, the run's own start, a language model; weighed by CLIP."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.architecture import read_config
from sds_guidance.condition_images import find_pictures, read_condition_image
from sds_guidance.conditioning import (
    CONDITIONING_FILE,
    DEFAULT,
    MADE_FOLDER,
    ConditionImage,
    Conditioning,
    Prompt,
    Words,
    read_conditioning,
)
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.llm_images import with_drawings
from sds_guidance.models import CLIP, GIVE_CLIP, TOWERS, find_model, missing_files
from sds_guidance.options import GuidanceOptions
from sds_guidance.prompts import read_prompts_file, view_directions
from sds_guidance.run import Run
from utils.errors import UserError, Warnings

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.clip import Clip

LANGUAGE_MODEL = "language model"
OTHERS = (DEFAULT, LANGUAGE_MODEL)  # sources of what is not the user's own, and makes way for an answer
SENT = 8  # photographs that a language model gets, at most
SCORED = 32  # photographs that prompts are scored against, at most; condition images all are
LOGIT_SCALE = 100.0  # up to which CLIPs are trained: exp(100 cosine) is in proportion to the probability
UNFIT = 0.5  # who is drawn less than so often, of what was meant, is named to the user


def gather_conditioning(
    options: GuidanceOptions, cameras: Sequence[Camera], model: Path, run: Run
) -> Conditioning:
    """What conditions the run.

    A run that goes on takes its own `conditioning.json`, edited or not. The language model is asked where
    that holds no answer to the notes as they are now; its earlier prompts then make way for the new ones.

    Args:
        options: the flags, checked.
        cameras: the training cameras, with photographs.
        model: the guidance model's folder.
        run: to be guided; told that the language model is asked, and warned of prompts that CLIP finds unfit,
            or cuts. Pictures are put into its folder.

    Raises:
        UserError: a flag, a file, a picture, the language model, the CLIP or the front view cannot be used.
    """
    words = options.words
    notes = _read_notes(words.expert_notes)
    found, weighs = _found(options, run)
    if found.front_view:
        view_directions(cameras, found.front_view)
    asks = words.llm and not _is_answered(found, notes)
    if words.llm_images and not asks and "images" not in (found.language_model or {}):
        raise UserError(
            "--llm_images: the language model answered this run without pictures; they come with an answer, "
            "so change --expert_notes to have it asked again, or leave the flag out"
        )
    load_clip = _ranking_clip(words, found, model, run, weighs=weighs, asks=asks)

    kept, new = ((), found.prompts) if weighs else (found.prompts, ())
    if asks:
        found, answer = _asked(found, words, notes, cameras, run.say)
        if words.llm_images:
            found = with_drawings(found, words, LANGUAGE_MODEL, run.say)
        kept, new = _own(kept), _own(new)
        known = {prompt.text for prompt in (*kept, *new)}
        new = (*new, *(prompt for prompt in answer if prompt.text not in known))
    if load_clip and new and len(kept) + len(new) > 1:
        pictures = chain(photographs(cameras, SCORED), map(read_condition_image, found.image_files()))
        clip = load_clip()
        texts = clip.of_texts([prompt.text for prompt in (*kept, *new)], run.warnings)
        new = weighed(kept, new, clip.of_pictures(pictures) @ texts.T, run.warnings)
    return replace(found, prompts=(*kept, *new))


def weighed(
    kept: Sequence[Prompt], new: Sequence[Prompt], cosines: Tensor, warnings: Warnings
) -> tuple[Prompt, ...]:
    """The new prompts, those with a lower weight that CLIP finds to fit the photographs worse than meant.

    The weights are taken as prior probabilities; CLIP's posterior, by the softmax of its cosines that it was
    trained with, is averaged over the photographs. A prompt whose posterior is below its prior loses weight
    in that proportion; none gains.

    Args:
        kept: prompts whose weights stay as they are.
        new: prompts to weigh.
        cosines: (N, P), of N photographs and the P kept and new prompts, in this order.
        warnings: takes those that lose half their weight or more.
    """
    prior = torch.tensor([prompt.weight for prompt in (*kept, *new)], dtype=torch.float64)
    prior = prior / prior.sum()
    posterior = (prior.log() + LOGIT_SCALE * cosines.double()).softmax(dim=1).mean(dim=0)
    shares = torch.where(prior > 0, posterior / prior, 1.0).clamp(max=1.0)
    result = []
    for prompt, share, cosine in zip(
        new, shares[len(kept) :].tolist(), cosines.mean(dim=0)[len(kept) :].tolist(), strict=True
    ):
        result.append(replace(prompt, weight=prompt.weight * share, similarity=cosine))
        if share < UNFIT:
            warnings.add(
                "CLIP finds that a prompt fits the photographs worse than others do; it is drawn less often",
                f"{prompt.text[:60]!r} at {share:.0%}",
            )
    return tuple(result)


def _found(options: GuidanceOptions, run: Run) -> tuple[Conditioning, bool]:
    """What the run's own file, --conditioning's or the flags say, and whether CLIP is to weigh it.

    Its folder is where pictures for the run are put; what was made for one that never began is removed.
    """
    found, weighs = _read(options, run)
    if not run.folder:
        return found, weighs
    if not run.resumed:
        shutil.rmtree(run.made_in / MADE_FOLDER, ignore_errors=True)
    return replace(found, folder=run.made_in), weighs


def _read(options: GuidanceOptions, run: Run) -> tuple[Conditioning, bool]:
    """What `_found` finds, with its folder as read."""
    words, default = options.words, GuidanceOptions
    changed = [
        flag for flag in ("prompt", "negative_prompt") if getattr(options, flag) != getattr(default, flag)
    ]
    if words.conditioning and changed:
        raise UserError(
            f"--conditioning {words.conditioning} holds the prompts; leave out --{changed[0]}, and change "
            "the file instead"
        )
    if run.resumed and (run.made_in / CONDITIONING_FILE).is_file():
        return read_conditioning(run.made_in / CONDITIONING_FILE), False
    if words.conditioning:
        read = read_conditioning(Path(words.conditioning).expanduser())
        images = tuple(
            replace(image, path=str(file.absolute()))
            for image, file in zip(read.images, read.image_files(), strict=True)
        )
        return replace(read, images=images, history=()), words.image_condition == "rank"

    prompts = [Prompt(options.prompt, "--prompt")] if "prompt" in changed else []
    if words.prompts_file:
        prompts += [Prompt(text, "--prompts_file") for text in read_prompts_file(words.prompts_file)]
    if not prompts and not words.llm:
        prompts = [Prompt(options.prompt, DEFAULT)]
    negative_source = "--negative_prompt" if "negative_prompt" in changed else DEFAULT
    return Conditioning(
        prompts=tuple(prompts),
        negative_prompt=Words(options.negative_prompt, negative_source),
        front_view=words.front_view,
        images=tuple(
            ConditionImage(str(path.absolute()), "--condition_images")
            for path in find_pictures(words.condition_images, "condition_images")
        ),
    ), True


def _unseen(flag: str, reason: str) -> UserError:
    """What is said where pictures were given that would have no effect."""
    return UserError(
        f"--{flag}: prompts would be ranked by them, but {reason}. Give several prompts and a "
        f"CLIP, or --image_condition loss, unclip, lora or inversion.\n{GIVE_CLIP}"
    )


def _read_notes(name: str) -> str:
    """The text of --expert_notes; empty where there is none."""
    if not name:
        return ""
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as failure:
        raise UserError(f"--expert_notes {path} cannot be read as UTF-8 text: {failure}") from failure
    if not text:
        raise UserError(f"--expert_notes {path} is empty; write into it what is known of the scene")
    return text


def _digest(notes: str) -> str:
    return hashlib.sha256(notes.encode()).hexdigest()[:16]


def _is_answered(found: Conditioning, notes: str) -> bool:
    """Whether it holds the language model's answer to these notes."""
    return found.language_model is not None and found.language_model.get("notes") == _digest(notes)


def _own(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Those that the user wrote."""
    return tuple(prompt for prompt in prompts if prompt.source not in OTHERS)


def _asked(
    found: Conditioning,
    words: ConditioningOptions,
    notes: str,
    cameras: Sequence[Camera],
    say: Callable[[str], object],
) -> tuple[Conditioning, tuple[Prompt, ...]]:
    """What is found with the language model's answer, and its prompts; words of the user's own stay."""
    from sds_guidance.language_model import ask  # noqa: PLC0415 - brings openai

    own = [prompt.text for prompt in _own(found.prompts)]
    if not (own or notes or words.llm_send_images):
        raise UserError(
            "--llm: the language model would know nothing of the scene; give --prompt, --expert_notes or "
            "--llm_send_images"
        )
    negative = found.negative_prompt
    sent = list(photographs(cameras, SENT)) if words.llm_send_images else []
    say(
        f"asking {words.llm_model} at {words.llm_base_url} for prompts"
        + (f", with {len(sent)} photographs" if sent else "")
    )
    answer = ask(words, own, "" if negative.source in OTHERS else negative.text, notes, sent)
    record = {
        "model": words.llm_model,
        "base_url": words.llm_base_url,
        "notes": _digest(notes),
        "photographs": len(sent),
        "answer": answer.model_dump(),
    }
    directions = {name: Words(text, LANGUAGE_MODEL) for name, text in answer.directions.model_dump().items()}
    by_hand = {name: it for name, it in found.directions.items() if it.source not in OTHERS}
    return replace(
        found,
        negative_prompt=Words(answer.negative_prompt, LANGUAGE_MODEL)
        if negative.source in OTHERS
        else negative,
        directions={**directions, **by_hand},
        images=tuple(image for image in found.images if image.source not in OTHERS),
        language_model=record,
    ), tuple(Prompt(text, LANGUAGE_MODEL) for text in answer.descriptions)


def photographs(cameras: Sequence[Camera], most: int | None = None) -> Iterator[Tensor]:
    """(3, H, W) float32 in [0, 1] each, evenly chosen or all, over white where they are transparent."""
    count = min(most or len(cameras), len(cameras))
    for index in range(count):
        yield cameras[index * len(cameras) // count].own_photograph.target(torch.ones(3))[0]


def _ranking_clip(
    words: ConditioningOptions, found: Conditioning, model: Path, run: Run, *, weighs: bool, asks: bool
) -> Callable[[], Clip] | None:
    """What loads the CLIP that weighs prompts; None where none is to, or auto finds none.

    Args:
        words: the flags.
        found: before the language model is asked.
        model: the guidance model's folder.
        run: to be guided.
        weighs: whether the prompts that were found are weighed.
        asks: whether the language model is asked, whose prompts are.

    Raises:
        UserError: a flag would have no effect, or there is no CLIP where one is asked for.
    """
    several = len(found.prompts) > 1
    if words.image_condition == "rank" and weighs and not (several or asks):
        raise UserError(
            "--image_condition rank compares prompts, and there is one; give several, or leave it"
        )
    load_clip = _clip_at_hand(words, model, run) if asks or (several and weighs) else None
    ranked = (found.images and weighs) or (words.llm_images and asks)
    if ranked and words.image_condition in ("auto", "rank") and not load_clip:
        raise _unseen(
            "condition_images" if found.images else "llm_images",
            "no CLIP is at hand" if several or asks else "one prompt has no others to be ranked with",
        )
    return load_clip


def _clip_at_hand(words: ConditioningOptions, model: Path, run: Run) -> Callable[[], Clip] | None:
    """What loads a CLIP; None where none is wanted, or auto finds none."""
    from sds_guidance.clip import load_clip, load_towers  # noqa: PLC0415 - brings transformers

    if words.image_condition == "none":
        return None
    if words.clip_model:
        folder = find_model(words.clip_model, run.argv, run.warnings, kind=CLIP).folder
        return lambda: load_clip(folder)
    if not missing_files(model, TOWERS):
        kinds = read_config(model / "text_encoder" / "config.json").get("architectures") or []
        if "CLIPTextModelWithProjection" in kinds:
            return lambda: load_towers(model)
    if words.image_condition == "rank":
        raise UserError(f"--image_condition rank: {model} has not both towers of a CLIP.\n{GIVE_CLIP}")
    return None
