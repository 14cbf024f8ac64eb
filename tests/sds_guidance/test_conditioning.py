"""What conditions a run: its file, its history, where it comes from, and what CLIP makes of it."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import train
from sds_guidance import GuidanceOptions, clip, language_model
from sds_guidance.conditioning import Conditioning, Prompt, Words, read_conditioning
from sds_guidance.conditioning_sources import weighed
from sds_guidance.prompts import DIRECTIONS
from tests.programs import ply, run_train
from tests.sds_guidance.chat_server import ANSWER, chat, failure, serving
from tests.sds_guidance.conditioned import MADE, edit, gather, options
from tests.sds_guidance.views import CAMERA
from utils.checkpoints import checkpoint_path
from utils.errors import UserError, Warnings
from utils.options import parse

KEY = "sk-a-key-that-nobody-may-see"


def texts(conditioning: Conditioning) -> list[tuple[str, str]]:
    return [(prompt.text, prompt.source) for prompt in conditioning.prompts]


def test_written_and_read_is_the_same(tmp_path):
    MADE.save(tmp_path)
    assert read_conditioning(tmp_path / "conditioning.json") == MADE
    everything = replace(MADE, front_view="a.png", negative_prompt=Words("Übermalung", "default")).recorded(5)
    everything.save(tmp_path)
    assert read_conditioning(tmp_path / "conditioning.json") == everything
    assert "Übermalung" in (tmp_path / "conditioning.json").read_text(encoding="utf-8")


def test_a_file_by_hand_needs_no_more_than_its_texts(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"prompts": [{"text": "a fern"}], "negative_prompt": {"text": ""}}')
    found = read_conditioning(path)
    assert found == Conditioning((Prompt("a fern", "by hand"),), Words("", "by hand"))
    assert found.texts() == ["", "a fern"]


def test_texts_by_direction_come_in_the_order_of_the_states():
    found = replace(MADE, front_view="a.png", directions={**MADE.directions, "back": Words("from behind")})
    endings = ("front view", "side view", "from behind", "overhead view")
    expected = [f"{text}, {ending}" for text in ("a fern", "a potted fern") for ending in endings]
    assert found.texts() == ["blurry", *expected]
    assert MADE.texts() == ["blurry", "a fern", "a potted fern"]


def test_an_edit_is_marked_and_recorded_with_its_iteration(tmp_path):
    MADE.save(tmp_path)

    def change(values):
        values["prompts"][1]["text"] = "a fern in a blue pot"
        values["negative_prompt"]["text"] = "people"

    edit(tmp_path, change)
    found = read_conditioning(tmp_path / "conditioning.json")
    assert texts(found) == [("a fern", "--prompt"), ("a fern in a blue pot", "by hand")]
    assert found.negative_prompt == Words("people", "by hand")
    again = found.recorded(1200)
    assert [entry["after_iteration"] for entry in again.history] == [0, 1200]
    assert again.history[0] == MADE.history[0]
    assert again.history[1]["prompts"][1]["text"] == "a fern in a blue pot"
    assert again.change(1200) == (
        "conditioning changed after iteration 1200: 1 new, 1 gone and 1 kept prompts, 0 of these with "
        "another weight; another negative prompt"
    )
    assert again.recorded(2000) == again and again.change(2000) == ""


def test_the_history_says_what_was_in_force_when():
    def with_text(conditioning, text):
        return replace(conditioning, prompts=(Prompt(text),))

    at = [entry["after_iteration"] for entry in MADE.recorded(100).history]
    assert at == [0] and MADE.recorded(100).change(100) == ""
    second = with_text(MADE, "a palm").recorded(100)
    third = with_text(second, "a cactus").recorded(300)
    assert [entry["after_iteration"] for entry in third.history] == [0, 100, 300]
    # killed, and resumed from iteration 200 with what was in force by then: 300 never happened
    assert [e["after_iteration"] for e in with_text(third, "a palm").recorded(200).history] == [0, 100]
    # resumed once more from where the change came in: it is recorded once
    assert second.recorded(100) == second
    assert [e["after_iteration"] for e in with_text(third, "a tree").recorded(0).history] == [0]
    # a weight is a change, a source and unused words are not
    heavier = replace(MADE, prompts=(replace(MADE.prompts[0], weight=2.0), MADE.prompts[1]))
    assert "2 kept prompts, 1 of these with another weight" in heavier.recorded(50).change(50)
    other = replace(MADE, directions={**MADE.directions, "back": Words("from behind")})
    assert len(other.recorded(50).history) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("prompts"), "lacks the field 'prompts'"),
        (lambda v: v.update(promts=[]), "unknown field 'promts'"),
        (lambda v: v.update(prompts=[]), "weight above 0"),
        (lambda v: [p.update(weight=0) for p in v["prompts"]], "weight above 0"),
        (lambda v: v["prompts"][1].update(weight=-1), "number 2"),
        (lambda v: v["prompts"][0].update(weight=math.nan), "number 1"),
        (lambda v: v["prompts"][0].update(weight=10**400), "number 1"),
        (lambda v: v["prompts"][0].update(weight="1"), "number 1"),
        (lambda v: v["prompts"][0].update(weight=True), "number 1"),
        (lambda v: v["prompts"][0].update(text=None), "'text'"),
        (lambda v: v["prompts"].append("a palm"), "number 3"),
        (lambda v: v.update(negative_prompt="blurry"), "negative_prompt"),
        (lambda v: v["directions"].update(below={"text": "from below"}), "'below'"),
        (lambda v: v["history"][0].pop("after_iteration"), "history"),
        (lambda v: v["history"][0]["directions"].pop("front"), "history"),
        (lambda v: v.update(history={}), "'history'"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(tmp_path, change, words):
    MADE.save(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(UserError) as raised:
        read_conditioning(tmp_path / "conditioning.json")
    assert words in str(raised.value) and "conditioning.json" in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[1]", "null", "[" * 100_000])
def test_a_file_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_conditioning(tmp_path / "a.json")
    with pytest.raises(UserError, match="nowhere"):
        read_conditioning(tmp_path / "nowhere.json")


def places(value):
    """The containers of JSON values, each with a key in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


ODD = ["\ud800", 10**400, 1e308, 5e-324]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(DIRECTIONS), inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), put=ANYTHING)
def test_a_changed_file_is_refused_or_can_be_drawn_from_and_written_again(tmp_path, place, put):
    MADE.save(tmp_path)
    path = tmp_path / "conditioning.json"
    values = json.loads(path.read_text())
    found = list(places(values))
    container, key = found[place % len(found)]
    container[key] = put
    path.write_text(json.dumps(values))
    try:
        read = read_conditioning(path)
    except UserError as refusal:
        assert str(path) in str(refusal)
        return
    states = read.conditions(torch.zeros(len(read.texts()), 1, 1), [])
    assert states(CAMERA, torch.Generator()).shape == (2, 1, 1)
    read.save(tmp_path)
    assert read_conditioning(path) == read


def test_weights_are_prior_or_posterior_whichever_is_less():
    """Beside a loop over photographs and prompts that knows no softmax."""
    cosines = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) * 0.05
    kept, new = [Prompt("k", weight=2.0)], [Prompt("a"), Prompt("b", weight=0.5), Prompt("c", weight=3.0)]
    found = weighed(kept, new, cosines, Warnings())
    weights = [2.0, 1.0, 0.5, 3.0]
    for place in range(1, 4):
        shares = []
        for row in cosines.double().tolist():
            votes = [w * math.exp(100 * c) for w, c in zip(weights, row, strict=True)]
            shares.append(votes[place] / sum(votes))
        posterior, prior = sum(shares) / 5, weights[place] / sum(weights)
        assert found[place - 1].weight == pytest.approx(weights[place] * min(1.0, posterior / prior))
        assert found[place - 1].similarity == pytest.approx(float(cosines[:, place].mean()))


def test_prompts_that_fit_alike_keep_their_weights_and_a_misfit_is_named():
    alike, warnings = torch.full((3, 2), 0.2), Warnings()
    new = [Prompt("a fern", weight=0.7), Prompt("a palm")]
    assert [p.weight for p in weighed([], new, alike, warnings)] == pytest.approx([0.7, 1.0])
    assert not warnings.kinds
    unlike = alike - torch.tensor([0.0, 0.05])
    fern, palm = weighed([], new, unlike, warnings)
    assert fern.weight == 0.7 and palm.weight < 0.05
    (line,) = warnings.lines()
    assert "fits the photographs worse" in line and "'a palm'" in line and "fern" not in line


def test_flags_become_prompts_that_know_where_they_come_from(tmp_path, cameras):
    (tmp_path / "p.txt").write_text("a palm\n\n a cactus \n")
    assert texts(gather(options(), cameras, tmp_path)) == [("a photograph", "default")]
    both = gather(options(prompt="a fern", prompts_file=str(tmp_path / "p.txt")), cameras, tmp_path)
    in_file = [("a palm", "--prompts_file"), ("a cactus", "--prompts_file")]
    assert texts(both) == [("a fern", "--prompt"), *in_file]
    assert texts(gather(options(prompts_file=str(tmp_path / "p.txt")), cameras, tmp_path)) == in_file
    assert both.negative_prompt == Words(GuidanceOptions.negative_prompt, "default")
    named = gather(options(negative_prompt="people", front_view="b.png"), cameras, tmp_path)
    assert named.negative_prompt == Words("people", "--negative_prompt") and named.front_view == "b.png"


def test_another_runs_file_is_taken_as_it_is(tmp_path, cameras, tiny_towers):
    MADE.save(tmp_path)
    file = str(tmp_path / "conditioning.json")
    found = gather(options(conditioning=file), cameras, tiny_towers)
    assert found == replace(MADE, history=())
    ranked = gather(options(conditioning=file, image_condition="rank"), cameras, tiny_towers)
    assert [p.similarity for p in ranked.prompts] != [p.similarity for p in MADE.prompts]
    with pytest.raises(UserError, match="leave out --prompt"):
        gather(options(conditioning=file, prompt="a palm"), cameras, tiny_towers)


def test_clip_weighs_prompts_where_it_is_at_hand(tmp_path, cameras, tiny_model, tiny_towers, tiny_clip):
    (tmp_path / "p.txt").write_text("a red vase\na blue car\nferns\n")
    flags = {"prompts_file": str(tmp_path / "p.txt")}
    found = gather(options(**flags), cameras, tiny_towers)
    pictures = [camera.photograph.target(torch.ones(3))[0] for camera in cameras if camera.photograph]
    towers = clip.load_towers(tiny_towers)
    cosines = towers.of_pictures(pictures) @ towers.of_texts([p.text for p in found.prompts], Warnings()).T
    assert [p.similarity for p in found.prompts] == pytest.approx(cosines.mean(dim=0).tolist(), abs=1e-6)
    assert max(p.weight for p in found.prompts) == 1.0 and min(p.weight for p in found.prompts) < 1.0
    own = gather(options(**flags, clip_model=str(tiny_clip)), cameras, tiny_model)
    assert [p.similarity for p in own.prompts] == pytest.approx(
        [p.similarity for p in found.prompts], abs=3e-3
    )  # the towers are stored in half precision
    for model, condition in ((tiny_towers, "none"), (tiny_model, "auto")):
        plain = gather(options(**flags, image_condition=condition), cameras, model)
        assert [(p.weight, p.similarity) for p in plain.prompts] == [(1.0, None)] * 3
    with pytest.raises(UserError, match=r"--image_condition rank.*has not both towers"):
        gather(options(**flags, image_condition="rank"), cameras, tiny_model)


def test_one_prompt_loads_no_clip(cameras, tiny_towers, monkeypatch):
    monkeypatch.setattr(clip, "load_towers", lambda _: pytest.fail("loaded"))
    assert gather(options(prompt="a fern"), cameras, tiny_towers).prompts == (Prompt("a fern", "--prompt"),)
    with pytest.raises(UserError, match="there is one"):
        gather(options(prompt="a fern", image_condition="rank"), cameras, tiny_towers)


def test_what_a_language_model_says_is_written_and_never_asked_for_again(
    tmp_path, cameras, tiny_model, monkeypatch
):
    monkeypatch.setenv(language_model.KEY, KEY)
    run, notes = tmp_path / "run", tmp_path / "notes.txt"
    notes.write_text("It is Etruscan.")
    with serving(chat()) as server:
        flags = options(
            prompt="a vase",
            llm=True,
            llm_model="m",
            llm_base_url=server.url,
            expert_notes=str(notes),
            llm_send_images=True,
        )
        made = gather(flags, cameras, tiny_model).recorded(0)
        parts = server.requests[0]["messages"][1]["content"]
    assert len(server.requests) == 1 and len(parts) == 1 + len(cameras)
    assert "It is Etruscan." in parts[0]["text"] and "a vase" in parts[0]["text"]
    assert texts(made) == [("a vase", "--prompt"), *((t, "language model") for t in ANSWER["descriptions"])]
    assert made.negative_prompt == Words(ANSWER["negative_prompt"], "language model")
    assert made.directions["side"] == Words("from a side", "language model")
    assert made.language_model is not None and made.language_model["answer"] == ANSWER
    made.save(run)
    written = (run / "conditioning.json").read_text()
    assert KEY not in written and "Etruscan" not in written

    assert gather(flags, cameras, tiny_model, run) == made  # the server is gone


def test_other_notes_bring_other_prompts_and_leave_what_was_edited(
    tmp_path, cameras, tiny_model, monkeypatch
):
    monkeypatch.setenv(language_model.KEY, KEY)
    notes = tmp_path / "notes.txt"
    notes.write_text("It is Etruscan.")
    with serving(chat(), failure(400), chat({**ANSWER, "descriptions": ["a Greek jar"]})) as server:
        words = {"llm": True, "llm_model": "m", "llm_base_url": server.url, "expert_notes": str(notes)}
        flags = options(negative_prompt="people", **words)
        made = gather(flags, cameras, tiny_model).recorded(0)
        made.save(tmp_path)
        assert texts(made) == [(text, "language model") for text in ANSWER["descriptions"]]

        edit(tmp_path, lambda values: values["prompts"][1].update(text="a jar"))
        notes.write_text("It is Greek.")
        with pytest.raises(UserError, match="does not accept the question"):
            gather(flags, cameras, tiny_model, tmp_path)
        found = gather(flags, cameras, tiny_model, tmp_path).recorded(60)
    assert texts(found) == [("a jar", "by hand"), ("a Greek jar", "language model")]
    assert found.negative_prompt == Words("people", "--negative_prompt")
    assert [entry["after_iteration"] for entry in found.history] == [0, 60]
    found.save(tmp_path)
    assert gather(flags, cameras, tiny_model, tmp_path) == found


def test_a_run_that_began_without_a_language_model_may_ask_one(tmp_path, cameras, tiny_model, monkeypatch):
    monkeypatch.setenv(language_model.KEY, KEY)
    gather(options(), cameras, tiny_model).recorded(0).save(tmp_path)
    with serving(chat()) as server:
        words = {"llm": True, "llm_model": "m", "llm_base_url": server.url}
        with pytest.raises(UserError, match="know nothing of the scene"):
            gather(options(**words), cameras, tiny_model, tmp_path)
        found = gather(options(llm_send_images=True, **words), cameras, tiny_model, tmp_path)
    assert texts(found) == [(text, "language model") for text in ANSWER["descriptions"]]
    (asked,) = server.requests
    said = asked["messages"][1]["content"][0]["text"]
    assert "words" not in said  # the default prompt and negative prompt are nobody's


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"front_view": "e.png"}, "those are a.png"),
        ({"prompts_file": "nowhere.txt"}, "--prompts_file nowhere.txt"),
        ({"conditioning": "nowhere.json"}, "nowhere.json"),
        ({"expert_notes": "nowhere.txt", "llm": True, "llm_model": "m"}, "--expert_notes nowhere.txt"),
    ],
)
def test_files_and_photographs_that_are_not_there(cameras, tmp_path, flags, words):
    with pytest.raises(UserError) as raised:
        gather(options(**flags), cameras, tmp_path)
    assert words in str(raised.value)


GUIDED = (
    *("--lambda_sds", 0.2, "--guidance_from", 0, "--guidance_until", 1, "--guidance_interval", 2),
    *("--guidance_resolution", 64, "--checkpoint_interval", 5, "--test_iterations", -1),
)


def test_a_run_writes_what_conditions_it_and_goes_on_with_what_was_edited(
    small_scene, tiny_towers, tmp_path, capsys
):
    """Two prompts weighed by CLIP; resumed alike equals unbroken, resumed with another prompt does not."""
    (tmp_path / "p.txt").write_text("a red vase\na blue car\n")
    flags = (*GUIDED, "--guidance_model", tiny_towers, "--prompts_file", tmp_path / "p.txt")
    whole = run_train(small_scene, tmp_path / "whole", *flags, "--iterations", 10)
    first = read_conditioning(whole / "conditioning.json")
    assert [prompt.text for prompt in first.prompts] == ["a red vase", "a blue car"]
    assert all(prompt.similarity is not None for prompt in first.prompts)
    assert [entry["after_iteration"] for entry in first.history] == [0]

    checkpoint_path(whole, 10).unlink()
    ends = []
    for name, text in (("alike", "a red vase"), ("edited", "a green cup")):
        folder = shutil.copytree(whole, tmp_path / name)
        (folder / "conditioning.json").write_text(
            (whole / "conditioning.json").read_text().replace('"text": "a red vase"', f'"text": "{text}"', 1)
        )
        words = ["-s", small_scene, "-m", folder, "--device", "cpu", *flags, "--iterations", 10, "--resume"]
        train.main(parse(train.Options, [str(word) for word in words]))
        ends.append(ply(folder, 10))
    assert ends[0] == ply(whole, 10) != ends[1]
    assert read_conditioning(tmp_path / "alike" / "conditioning.json") == first
    edited = read_conditioning(tmp_path / "edited" / "conditioning.json")
    assert [entry["after_iteration"] for entry in edited.history] == [0, 5]
    assert edited.prompts[0].source == "by hand"
    assert capsys.readouterr().out.count("conditioning changed after iteration 5") == 1
