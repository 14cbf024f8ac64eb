"""Prompts and pictures by the real client and a server on this machine: what is asked, and every fault."""

import base64
import copy
import functools
import io
import json
import logging
import socket
import ssl

import pytest
import torch
from PIL import Image

from sds_guidance import GuidanceOptions, language_model
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.language_model import Answer, ask, data_url, draw
from tests.sds_guidance.chat_server import ANSWER, AT_ONCE, Reply, chat, drawing, failure, serving
from utils.errors import UserError
from utils.options import parse

SECRET = "sk-a-key-that-nobody-may-see"
CERTIFICATES = functools.cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key to look for; and the certificates are read once, which is most of what a client costs."""
    monkeypatch.setenv(language_model.KEY, SECRET)
    monkeypatch.setattr(ssl, "create_default_context", CERTIFICATES)


def put(url: str, prompts=(), negative="", notes="", photographs=(), timeout: float = 10.0) -> Answer:
    options = ConditioningOptions(llm=True, llm_model="m", llm_base_url=url, llm_timeout=timeout)
    options.check()
    return ask(options, prompts, negative, notes, photographs)


def drawn(url: str, model: str = "p", timeout: float = 10.0) -> Image.Image:
    """A picture of "a vase"."""
    options = ConditioningOptions(
        llm=True,
        llm_model="m",
        llm_base_url=url,
        llm_timeout=timeout,
        llm_images=1,
        llm_image_model=model,
    )
    options.check()
    return draw(options, "a vase")


def changed(**changes) -> dict:
    """The usual answer with other fields; None leaves one out."""
    answer = {**copy.deepcopy(ANSWER), **changes}
    return {name: value for name, value in answer.items() if value is not None}


def test_the_question_holds_words_notes_schema_and_key_and_the_answer_is_read():
    with serving(chat()) as server:
        answer = put(server.url, ["a vase"], "cars", "Etruscan, sixth century")
    assert answer.model_dump() == ANSWER
    (asked,) = server.requests
    assert asked["path"] == "/v1/chat/completions" and asked["model"] == "m"
    assert asked["headers"]["authorization"] == f"Bearer {SECRET}"
    form = asked["response_format"]["json_schema"]
    assert asked["response_format"]["type"] == "json_schema" and form["strict"] is True
    assert form["schema"]["required"] == list(ANSWER)
    assert form["schema"]["additionalProperties"] is False
    (part,) = asked["messages"][1]["content"]
    assert all(text in part["text"] for text in ("a vase", "cars", "Etruscan, sixth century"))
    assert "data:image" not in json.dumps(asked)


def test_photographs_are_sent_small_and_without_metadata():
    wide = torch.rand(3, 300, 1200, generator=torch.Generator().manual_seed(0))
    wide[0] = torch.linspace(0, 1, 1200)
    with serving(chat()) as server:
        put(server.url, photographs=[wide, torch.zeros(3, 40, 30)])
    _, first, second = server.requests[0]["messages"][1]["content"]
    sizes = []
    for part in (first, second):
        head, data = part["image_url"]["url"].split(",")
        assert part["type"] == "image_url" and head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            sizes.append(picture.size)
            assert picture.format == "JPEG" and not picture.getexif()
            corner = picture.convert("RGB").getpixel((0, 0)), picture.convert("RGB").getpixel((29, 39))
    assert sizes == [(512, 128), (30, 40)]
    assert corner == ((0, 0, 0), (0, 0, 0))
    assert data_url(wide) == first["image_url"]["url"]


def test_spaces_and_what_comes_twice_go():
    with serving(chat(changed(descriptions=[" a vase ", "a jar", "a vase"]))) as server:
        assert put(server.url).descriptions == ["a vase", "a jar"]


@pytest.mark.parametrize("first", [failure(429), failure(500), failure(503)], ids=["429", "500", "503"])
def test_a_busy_or_failing_server_is_tried_again(first):
    with serving(first, first, chat()) as server:
        assert put(server.url).model_dump() == ANSWER
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "tries", "words"),
    [
        (failure(429, "slow down"), 5, ("limit is reached", "slow down")),
        (failure(500), 5, ("fails", "out of order")),
        (failure(401, f"wrong key {SECRET}"), 1, ("OPENAI_API_KEY", "[key]")),
        (failure(403), 1, ("OPENAI_API_KEY",)),
        (failure(404), 1, ("--llm_base_url", "--llm_model")),
        (failure(400, "no pictures please"), 1, ("does not accept the question", "no pictures please")),
    ],
    ids=["429", "500", "401", "403", "404", "400"],
)
def test_what_stays_wrong_ends_with_one_message_without_the_key(reply, tries, words):
    with serving(reply) as server, pytest.raises(UserError) as raised:
        put(server.url)
    assert len(server.requests) == tries
    assert all(word in str(raised.value) for word in (*words, server.url, "--conditioning"))
    assert SECRET not in str(raised.value)


UNUSABLE = {
    "refusal": (chat(None, refusal="I will not look at that"), "I will not look at that"),
    "filter": (chat("", finish="content_filter"), "refusal"),
    "length": (chat(json.dumps(ANSWER)[:60], finish="length"), "cut off"),
    "truncated": (chat(json.dumps(ANSWER)[:60]), "the whole: Invalid JSON"),
    "empty": (chat(""), "empty"),
    "nothing": (chat(None), "empty"),
    "prose": (chat("Here are some prompts for you!"), "the whole: Invalid JSON"),
    "missing": (chat(changed(negative_prompt=None)), "negative_prompt: Field required"),
    "further": (chat(changed(mood="calm")), "mood: Extra inputs"),
    "type": (chat(changed(descriptions="a vase")), "descriptions: Input should be a valid array"),
    "no descriptions": (chat(changed(descriptions=[])), "no description"),
    "an empty description": (chat(changed(descriptions=["a vase", " "])), "an empty one"),
    "no choices": (Reply({"choices": []}), "/v1"),
    "choices of another kind": (Reply({"choices": {"0": 1}}), "/v1"),
    "a choice that is none": (Reply({"choices": [None]}), "/v1"),
    "a choice without a message": (Reply({"choices": [{"message": None}]}), "/v1"),
    "lists without end": (Reply("[" * 100_000), "the reply is no JSON"),
    "another kind": (Reply({"status": "fine"}), "/v1"),
    "a list": (Reply([1, 2]), "/v1"),
    "a page": (Reply("<html>Welcome</html>", kind="text/html"), "/v1"),
    "no JSON": (Reply('{"choices": [{"ind'), "the reply is no JSON"),
    "the key": (chat(changed(negative_prompt=f"{SECRET}, cars")), "repeats the key"),
}


@pytest.mark.parametrize(("reply", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_cannot_be_used_is_asked_for_three_times(reply, words):
    with serving(reply) as server, pytest.raises(UserError) as raised:
        put(server.url)
    assert len(server.requests) == 3
    assert words in str(raised.value) and "3 times" in str(raised.value) and SECRET not in str(raised.value)


def test_the_third_answer_may_be_the_first_good_one():
    with serving(chat(None, refusal="no"), chat("{"), chat()) as server:
        assert put(server.url).model_dump() == ANSWER
    assert len(server.requests) == 3


def test_a_slow_server_is_given_up(monkeypatch):
    monkeypatch.setattr(language_model, "RETRIES", 1)
    reply = chat()
    reply.wait = 0.6
    with serving(reply) as server, pytest.raises(UserError, match="--llm_timeout"):
        put(server.url, timeout=0.05)
    assert len(server.requests) == 2


def test_a_reply_that_breaks_off_is_tried_again(monkeypatch):
    monkeypatch.setattr(language_model, "RETRIES", 1)
    broken = chat()
    broken.lost = 40
    with serving(broken, chat()) as server:
        assert put(server.url).model_dump() == ANSWER


def test_nobody_at_the_address(monkeypatch):
    monkeypatch.setattr(language_model, "RETRIES", 0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"cannot be reached.*refused"):
            put(url)


def test_without_a_key_openai_is_not_asked_and_another_server_is(monkeypatch):
    monkeypatch.delenv(language_model.KEY)
    with pytest.raises(UserError, match="set OPENAI_API_KEY"):
        put(ConditioningOptions.llm_base_url)
    with serving(chat()) as server:
        assert put(server.url).model_dump() == ANSWER
    with serving(failure(401)) as server, pytest.raises(UserError, match="wants a key; set OPENAI_API_KEY"):
        put(server.url)


def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch):
    monkeypatch.setenv(language_model.KEY, "sk-half\nof-a-key")
    with pytest.raises(UserError, match="characters that no key has") as raised:
        put("http://127.0.0.1:9/v1")
    assert "half" not in str(raised.value)


def test_the_key_is_in_no_log(caplog):
    with caplog.at_level(logging.DEBUG), serving(failure(500), chat()) as server:
        put(server.url)
    assert SECRET not in caplog.text
    assert any("retry" in record.message.lower() for record in caplog.records)


def test_the_server_says_when_to_come_back():
    """A wait of one millisecond, where the client's own would be half a second at least."""
    assert failure(429).headers == AT_ONCE
    with serving(*[failure(429)] * 4, chat()) as server:
        assert put(server.url).model_dump() == ANSWER
    assert len(server.requests) == 5


@pytest.mark.parametrize("model", ["p", "gpt-image-1"])
def test_a_picture_is_asked_for_as_base64_and_read(model):
    """By the flag of the interface, except where models know none because they send nothing else."""
    with serving(drawing("blue")) as server:
        picture = drawn(server.url, model)
    assert picture.mode == "RGB" and picture.size == (32, 24) and picture.getpixel((5, 5)) == (0, 0, 255)
    (asked,) = server.requests
    assert asked["path"] == "/v1/images/generations"
    assert asked["headers"]["authorization"] == f"Bearer {SECRET}"
    rest = {name: value for name, value in asked.items() if name not in ("path", "headers")}
    form = {} if model.startswith("gpt-image") else {"response_format": "b64_json"}
    assert rest == {"model": model, "prompt": "a vase", "n": 1, **form}


def text_as_picture() -> Reply:
    return drawing(b64_json=base64.b64encode(b"a vase").decode())


def half_a_picture() -> Reply:
    whole = base64.b64decode(drawing().body["data"][0]["b64_json"])
    return drawing(b64_json=base64.b64encode(whole[: len(whole) // 2]).decode())


BAD_PICTURES = {
    "refusal": (failure(400, "no vases", "content_policy_violation"), 3, "a refusal (Error code: 400"),
    "blocked": (failure(400, "no vases", "moderation_blocked"), 3, "no vases"),
    "another 400": (failure(400, "no such size"), 1, "does not accept the question"),
    "busy": (failure(429, "slow down"), 5, "limit is reached"),
    "failing": (failure(500), 5, "fails"),
    "no endpoint": (failure(404), 1, "--llm_image_model"),
    "wrong key": (failure(401, f"wrong key {SECRET}"), 1, "[key]"),
    "address": (drawing(b64_json=None, url="http://a/b.png"), 3, "the address of a picture"),
    "neither": (drawing(b64_json=None), 3, "it holds no picture"),
    "empty": (Reply({"created": 0, "data": []}), 3, "/v1"),
    "nothing": (Reply({"created": 0}), 3, "/v1"),
    "data of another kind": (Reply({"created": 0, "data": {"0": 1}}), 3, "/v1"),
    "data that is none": (Reply({"created": 0, "data": [None]}), 3, "/v1"),
    "a number": (drawing(b64_json=5), 3, "no picture that can be read"),
    "lists without end": (Reply("[" * 100_000), 3, "the reply is no JSON"),
    "a page": (Reply("<html>Welcome</html>", kind="text/html"), 3, "/v1"),
    "no JSON": (Reply('{"data": [{"b64'), 3, "the reply is no JSON"),
    "no base64": (drawing(b64_json="a vase!"), 3, "no picture that can be read"),
    "text": (text_as_picture(), 3, "no picture that can be read"),
    "half": (half_a_picture(), 3, "no picture that can be read"),
}


@pytest.mark.parametrize(("reply", "tries", "words"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_a_picture_that_is_not_to_be_had_ends_with_one_message_without_the_key(reply, tries, words):
    with serving(reply) as server, pytest.raises(UserError) as raised:
        drawn(server.url)
    said = str(raised.value)
    assert len(server.requests) == tries
    assert said.startswith(f"--llm_images: p at {server.url} ") and "leave --llm_images out" in said
    assert words in said and SECRET not in said


def test_a_slow_server_of_pictures_is_given_up_and_a_third_picture_may_be_the_first_good_one(monkeypatch):
    with serving(failure(400, "no", "moderation_blocked"), text_as_picture(), drawing()) as server:
        assert drawn(server.url).getpixel((0, 0)) == (255, 0, 0)
    monkeypatch.setattr(language_model, "RETRIES", 1)
    slow = drawing()
    slow.wait = 0.6
    with serving(slow) as server, pytest.raises(UserError, match="--llm_timeout"):
        drawn(server.url, timeout=0.05)
    assert len(server.requests) == 2


def test_the_flags_carry_no_prefix():
    words = ["--llm", "--llm_model", "m", "--llm_timeout", "5", "--expert_notes", "n.txt"]
    expected = ConditioningOptions(llm=True, llm_model="m", llm_timeout=5.0, expert_notes="n.txt")
    assert parse(GuidanceOptions, words).words == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"llm_model": ""}, "--llm_model"),
        ({"llm_timeout": 0.0}, "--llm_timeout"),
        ({"llm_base_url": "localhost:8000/v1"}, "http://"),
        ({"llm_base_url": "http://[::1/v1"}, "http://"),
        ({"llm_base_url": "http://host:port/v1"}, "http://"),
        ({"llm_base_url": "http://me:password@host/v1"}, "plain address"),
        ({"llm_base_url": "http://me:password@[host/v1"}, "http://"),
        ({"llm_base_url": "https://host/v1?api_key=password"}, "plain address"),
        ({"conditioning": "a.json"}, "--conditioning"),
        ({"llm": False, "llm_model": "m"}, "--llm_model"),
        ({"llm": False, "llm_model": "", "expert_notes": "n.txt"}, "--expert_notes"),
        ({"llm": False, "llm_model": "", "llm_send_images": True}, "--llm_send_images"),
        ({"llm": False, "llm_model": "", "llm_images": 2}, "--llm_images"),
        ({"llm_images": 2}, "--llm_image_model NAME"),
        ({"llm_image_model": "p"}, "--llm_images N"),
        ({"llm_images": -1, "llm_image_model": "p"}, "--llm_images -1"),
        ({"llm_images": 1, "llm_image_model": "p", "image_condition": "none"}, "--image_condition none"),
    ],
)
def test_flags_that_make_no_sense(changes, words):
    options = ConditioningOptions(**{"llm": True, "llm_model": "m", **changes})
    with pytest.raises(UserError) as raised:
        options.check()
    assert words in str(raised.value) and "password@" not in str(raised.value)
    assert "api_key=" not in str(raised.value)
