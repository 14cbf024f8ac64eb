"""Reference pictures by an images model, of what the language model described; kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sds_guidance.conditioning import MADE_FOLDER, ConditionImage, Conditioning
from sds_guidance.conditioning_options import ConditioningOptions
from utils.files import whole_file


def with_drawings(
    found: Conditioning, words: ConditioningOptions, source: str, say: Callable[[str], object]
) -> Conditioning:
    """What is found with --llm_images pictures, one a description in turn, asked for and saved as PNG.

    They are `conditioning/llm_000.png` and so on in the conditioning's folder; a resumed run whose notes
    changed numbers on, so that its history stays true. The record of the answer gets each one's path, prompt
    and model.

    Args:
        found: with the language model's answer.
        words: the flags, checked.
        source: of these pictures.
        say: told that they are asked for.

    Raises:
        UserError: a picture is not to be had.
    """
    from sds_guidance.language_model import draw  # noqa: PLC0415 - brings openai

    assert found.language_model and found.folder.name
    say(f"asking {words.llm_image_model} at {words.llm_base_url} for {words.llm_images} pictures")
    descriptions = found.language_model["answer"]["descriptions"]
    taken = [int(file.stem[4:]) for file in (found.folder / MADE_FOLDER).glob("llm_[0-9][0-9][0-9].png")]
    first = max(taken, default=-1) + 1
    made = []
    for number in range(words.llm_images):
        prompt = descriptions[number % len(descriptions)]
        path = f"{MADE_FOLDER}/llm_{first + number:03d}.png"
        picture = draw(words, prompt)
        with whole_file(found.folder / path) as file:
            picture.save(file, format="PNG")
        made.append({"path": path, "prompt": prompt, "model": words.llm_image_model})
    return replace(
        found,
        images=(*found.images, *(ConditionImage(each["path"], source) for each in made)),
        language_model={**found.language_model, "images": made},
    )
