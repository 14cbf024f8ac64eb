"""Asks for prompts and pictures, through the interface that OpenAI and many servers have."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletionMessage
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from torch import Tensor

from sds_guidance.conditioning_options import ConditioningOptions
from utils.errors import UserError
from utils.images import image_pixels

T = TypeVar("T")
KEY = "OPENAI_API_KEY"
LONG_SIDE = 512  # pixels of a photograph that is sent
RETRIES = 4  # where the server is out of reach, busy or failing; the client waits longer each time
ATTEMPTS = 3  # at an answer that can be used
SECRET = 8  # characters from which on a key is one: servers that want none are given "x", "none" or "EMPTY"
MODEL_FLAGS = {"llm": "llm_model", "llm_images": "llm_image_model"}
NO_JSON = (json.JSONDecodeError, RecursionError)  # of a reply as a whole; the client lets them through
REFUSALS = ("content_policy_violation", "moderation_blocked")  # codes of a 400 that is about the prompt
WAY_OUT = (
    "To go on without it, leave --{flag} out; what an earlier run was told is in its conditioning.json, for "
    "--conditioning."
)
TASK = """\
You write prompts for Stable Diffusion. Its pictures will help to reconstruct one real, motionless scene
from few photographs, so each prompt has to be true of this scene, from wherever it is seen. Do not invent
things.
descriptions: four to six. Each is one sentence in English of at most 50 words that names what is there, how
it is arranged, materials, colours, light, and the kind of picture. Let them differ in what they stress.
Leave the point of view out.
negative_prompt: what such pictures must not show, as a list with commas, of at most 50 words.
directions: a few words that can follow a description where the main thing is seen from its front, from a
side, from its back, and from above."""


class Directions(BaseModel):
    """What is added to a prompt, by the direction from which an object is seen."""

    model_config = ConfigDict(extra="forbid")
    front: str
    side: str
    back: str
    overhead: str


class Answer(BaseModel):
    """What the language model is asked for; its JSON schema goes with the question."""

    model_config = ConfigDict(extra="forbid")
    descriptions: list[str]
    negative_prompt: str
    directions: Directions

    @field_validator("descriptions")
    @classmethod
    def _usable(cls, texts: list[str]) -> list[str]:
        """Without spaces at the ends, and each only once; at least one, none of them empty."""
        texts = list(dict.fromkeys(text.strip() for text in texts))
        if not texts or not all(texts):
            raise ValueError("there is no description, or an empty one")
        return texts


class UnusableAnswer(Exception):
    """An answer that came but cannot be used; the message says why."""


def ask(
    options: ConditioningOptions,
    prompts: Sequence[str],
    negative_prompt: str,
    notes: str,
    photographs: Sequence[Tensor],
) -> Answer:
    """What the language model answers.

    A server that is busy (429), fails (5xx), is out of reach or too slow is tried five times in all, as far
    apart as it asks for, or else half a second to eight; one that refuses, is cut off or gives something of
    another form, is asked three times in all. No message repeats the key.

    Args:
        options: address, model and time-out; the key is the environment's OPENAI_API_KEY.
        prompts, negative_prompt: the user's own words; may be empty.
        notes: what somebody knows of the scene; may be empty.
        photographs: (3, H, W) float32 in [0, 1] each; sent as JPEG of at most 512 pixels a side, which holds
            nothing but the pixels.

    Raises:
        UserError: there is no key, no answer, or none that can be used.
    """
    question = _question(prompts, negative_prompt, notes, photographs)
    key = _key(options.llm_base_url)

    def exchange(client: openai.OpenAI) -> Answer:
        answer = read_answer(_answered(client, options.llm_model, question))
        if len(key) >= SECRET and key in answer.model_dump_json():
            raise UnusableAnswer("it repeats the key")
        return answer

    return _persistently(options, "llm", options.llm_model, exchange)


def draw(options: ConditioningOptions, prompt: str) -> Image.Image:
    """A picture that the images interface makes of a prompt, RGB; tried as often as `ask` does.

    Args:
        options: address, the name of the model for pictures, time-out.
        prompt: what is to be seen.

    Raises:
        UserError: there is no key, no picture, or none that can be used.
    """
    model = options.llm_image_model
    # those models send nothing but base64, and refuse to be told so
    form: Any = {} if model.startswith("gpt-image") else {"response_format": "b64_json"}

    def exchange(client: openai.OpenAI) -> Image.Image:
        try:
            return read_drawing(client.images.generate(model=model, prompt=prompt, n=1, **form))
        except NO_JSON as failure:
            raise UnusableAnswer(f"the reply is no JSON ({failure})") from None
        except openai.BadRequestError as failure:
            if failure.code in REFUSALS:
                raise UnusableAnswer(f"it is a refusal ({failure.message})") from None
            raise

    return _persistently(options, "llm_images", model, exchange)


def read_answer(completion: Any) -> Answer:
    """The answer in a server's reply.

    Args:
        completion: a `ChatCompletion`, or whatever else the client made of what came.

    Raises:
        UnusableAnswer: it refuses, is cut off, empty, or not of the form that was asked for.
    """
    choice = _first(completion, "choices")
    message = getattr(choice, "message", None)
    if not isinstance(message, ChatCompletionMessage):
        raise UnusableAnswer(
            "it is none of the chat interface; the address may lack its path, mostly /v1, at the end"
        )
    if message.refusal or choice.finish_reason == "content_filter":
        raise UnusableAnswer(f"it is a refusal ({message.refusal or 'content filter'})")
    if choice.finish_reason == "length":
        raise UnusableAnswer("it was cut off at the server's limit of length")
    if not message.content:
        raise UnusableAnswer("it is empty")
    try:
        return Answer.model_validate_json(message.content)
    except ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UnusableAnswer(f"it is not of the form that was asked for ({place}: {first['msg']})") from None


def read_drawing(reply: Any) -> Image.Image:
    """The picture in a server's reply, RGB.

    Args:
        reply: an `ImagesResponse`, or whatever else the client made of what came.

    Raises:
        UnusableAnswer: it is empty, an address instead of a picture, or nothing that can be read as one.
    """
    drawing = _first(reply, "data")
    if not isinstance(drawing, openai.types.Image):
        raise UnusableAnswer("it holds no picture; the address may lack its path, mostly /v1, at the end")
    if not drawing.b64_json:
        what = "the address of a picture, not the picture (b64_json)" if drawing.url else "no picture"
        raise UnusableAnswer(f"it holds {what}")
    try:
        with Image.open(io.BytesIO(base64.b64decode(drawing.b64_json, validate=True))) as picture:
            return picture.convert("RGB")
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as failure:
        raise UnusableAnswer(f"it is no picture that can be read ({failure})") from None


def data_url(photograph: Tensor) -> str:
    """A photograph as a small JPEG in a data URL, without any metadata.

    Args:
        photograph: (3, H, W) float32 in [0, 1].
    """
    picture = Image.fromarray(image_pixels(photograph))
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _persistently(
    options: ConditioningOptions, flag: str, model: str, exchange: Callable[[openai.OpenAI], T]
) -> T:
    """What an exchange with the server brings, tried again where that may help; see `ask`."""
    key = _key(options.llm_base_url)
    client = openai.OpenAI(
        api_key=key or "none",
        base_url=options.llm_base_url,
        timeout=options.llm_timeout,
        max_retries=RETRIES,
    )
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            return exchange(client)
        except UnusableAnswer as failure:
            problem = f"was asked {ATTEMPTS} times; the last answer cannot be used: {failure}"
        except openai.OpenAIError as failure:
            problem = _explained(failure, bool(key), MODEL_FLAGS[flag])
            break
    message = f"--{flag}: {model} at {options.llm_base_url} {problem}.\n{WAY_OUT.format(flag=flag)}"
    raise UserError(message.replace(key, "[key]") if len(key) >= SECRET else message)


def _answered(client: openai.OpenAI, model: str, question: list[Any]) -> Any:
    """One exchange with the server; the schema makes most servers keep to the form."""
    schema: Any = {"name": "prompts", "strict": True, "schema": Answer.model_json_schema()}
    try:
        return client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": TASK}, {"role": "user", "content": question}],
            response_format={"type": "json_schema", "json_schema": schema},
        )
    except NO_JSON as failure:
        raise UnusableAnswer(f"the reply is no JSON ({failure})") from None


def _first(reply: Any, name: str) -> Any:
    """The first in a list of the reply; None where there is no such list, for the client checks no types."""
    values = getattr(reply, name, None)
    return values[0] if isinstance(values, list) and values else None


def _question(
    prompts: Sequence[str], negative_prompt: str, notes: str, photographs: Sequence[Tensor]
) -> list[Any]:
    """The parts of the user's message."""
    texts = ["The scene:"]
    if prompts:
        texts.append("Its owner's words for it:\n" + "\n".join(prompts))
    if negative_prompt:
        texts.append(f"What its owner does not want to see: {negative_prompt}")
    if notes:
        texts.append(f"What an expert knows of it:\n{notes}")
    if photographs:
        texts.append(f"{len(photographs)} photographs of it follow.")
    pictures = [{"type": "image_url", "image_url": {"url": data_url(each)}} for each in photographs]
    return [{"type": "text", "text": "\n\n".join(texts)}, *pictures]


def _key(address: str) -> str:
    """The environment's key; empty where there is none, which is usual for a server of one's own.

    Raises:
        UserError: OpenAI's own server would need one; or it is not fit to be sent.
    """
    key = os.environ.get(KEY, "").strip()
    if not key and address == ConditioningOptions.llm_base_url:
        raise UserError(
            f"--llm: the environment has no key; set {KEY}, or give the --llm_base_url of a server that "
            "needs none"
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"--llm: the environment's {KEY} holds characters that no key has; set it anew")
    return key


def _explained(failure: openai.OpenAIError, has_key: bool, model_flag: str) -> str:
    """What went wrong and what to do, as the end of a sentence about the server."""
    said = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    match failure:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            what = f"does not accept the key in {KEY}" if has_key else f"wants a key; set {KEY}"
        case openai.NotFoundError():
            what = f"is not there; check --llm_base_url (mostly with /v1 at the end) and --{model_flag}"
        case openai.RateLimitError():
            what = f"is busy, or the account's limit is reached; tried up to {1 + RETRIES} times, try later"
        case openai.APITimeoutError():
            return f"was tried {1 + RETRIES} times and did not answer in time; give a longer --llm_timeout"
        case openai.APIConnectionError():
            what = f"was tried {1 + RETRIES} times and cannot be reached; check --llm_base_url"
            said = str(failure.__cause__ or said)
        case openai.InternalServerError():
            what = f"fails; tried up to {1 + RETRIES} times, try later"
        case _:
            what = "does not accept the question"
    return f"{what} ({said})"
