"""Command line, settings and cfg_args: written, read back, compared, and refused by name."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from utils.options import (
    differences,
    from_plain,
    load_cfg_args,
    load_settings,
    parse,
    save_cfg_args,
    save_settings,
    to_plain,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Group:
    """Some."""

    source_path: Annotated[str, tyro.conf.arg(aliases=["-s"])] = ""
    """Where."""
    resolution: Annotated[int, tyro.conf.arg(aliases=["-r"])] = -1
    """How large."""


@dataclass
class Options:
    """All."""

    group: Group = field(default_factory=Group)
    eval: bool = False
    """Hold out."""
    test_iterations: tuple[int, ...] = (7000, 30_000)
    """When."""


def test_flags_are_spelt_as_in_the_reference():
    options = parse(Options, ["-s", "x", "-r", "-1", "--eval", "--test_iterations", "1", "2"])
    assert options == Options(Group("x", -1), True, (1, 2))
    assert parse(Options, ["--source_path=x", "--test_iterations", "-1"]).test_iterations == (-1,)
    assert parse(Options, []) == Options()


def test_flags_of_others_are_refused_by_name():
    for words in (["--depths", "x"], ["--depths=x"]):
        with pytest.raises(UserError, match="--depths is not supported: not yet"):
            parse(Options, words, {"--depths": "not yet"})


def test_settings_come_back_equal(tmp_path):
    options = Options(Group("a b", 4), True, ())
    save_settings(tmp_path, options, versions={"torch": "2"})
    saved = load_settings(tmp_path)
    assert saved is not None and saved["versions"] == {"torch": "2"}
    assert from_plain(Options, saved["options"]) == options
    assert load_settings(tmp_path / "nowhere") is None


def test_settings_of_another_version_keep_what_they_know():
    assert from_plain(Options, {"eval": True, "unknown": 1, "group": {"resolution": 8}}) == Options(
        Group(resolution=8), True
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"options": 3}', "\xff", "[" * 100_000, "1" * 5000])
def test_damaged_settings_are_named(tmp_path, content):
    (tmp_path / "settings.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"settings\.json"):
        load_settings(tmp_path)


def test_saved_values_of_another_type_are_named():
    for plain in ({"eval": "yes"}, {"group": {"resolution": "x"}}, {"group": {"source_path": 3}}):
        with pytest.raises(
            UserError, match=r"--(eval|resolution|source_path) was saved as .* is no (bool|int|str)"
        ):
            from_plain(Options, plain)


def test_differences_name_the_flag_and_both_values():
    old, new = to_plain(Options(Group("a", 1))), to_plain(Options(Group("b", 1), eval=True))
    assert differences(old, new) == ["--source_path: was 'a', now 'b'", "--eval: was False, now True"]
    assert differences(old, new, frozenset({"eval", "source_path"})) == []


def test_cfg_args_come_back_and_are_never_evaluated(tmp_path):
    values = {"sh_degree": 3, "source_path": "/a b/it's", "eval": True, "images": "images"}
    save_cfg_args(tmp_path, values)
    text = (tmp_path / "cfg_args").read_text()
    assert text.startswith("Namespace(sh_degree=3, source_path=") and "\n" not in text
    assert load_cfg_args(tmp_path) == values
    (tmp_path / "cfg_args").write_text("Namespace(a=__import__('os').getcwd())")
    with pytest.raises(UserError, match="cfg_args"):
        load_cfg_args(tmp_path)
    with pytest.raises(UserError, match="holds no trained model"):
        load_cfg_args(tmp_path / "nowhere")


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=2)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3), st.tuples(inner)
    ),
    max_leaves=6,
)
WORDS = st.sampled_from(
    [*"()[]{},=-+.*", "Namespace", "Namespace(", "a=", "1", "'x'", "\n", "\0", "not ", "é"]
)


@settings(max_examples=60, deadline=None)
@given(
    text=st.one_of(
        st.dictionaries(st.sampled_from(["resolution", "source_path", "eval"]), ANYTHING, max_size=3).map(
            lambda values: f"Namespace({', '.join(f'{key}={value!r}' for key, value in values.items())})"
        ),
        st.lists(WORDS, max_size=12).map("".join),
        st.tuples(st.sampled_from(["(", "[", "-", "1+", "x.", "{"]), st.integers(0, 6000)).map(
            lambda many: f"Namespace(a={many[0] * many[1]}1)"
        ),
        st.just("Namespace(a={[]: 1})"),
    )
)
def test_any_cfg_args_are_read_or_refused(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    (folder / "cfg_args").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        group = from_plain(Group, load_cfg_args(folder))
    except UserError:
        return
    assert isinstance(group.resolution, int) and isinstance(group.source_path, str)


def test_help_names_a_program_as_it_was_started():
    command = [sys.executable, "-m", "scene.check", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: python -m scene.check ")
