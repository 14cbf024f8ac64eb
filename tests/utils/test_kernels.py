"""Compiled functions: said once, cached by the content of all their files, silent where one asks for that."""

import importlib.util
import sys

import pytest

from utils.kernels import announce_compiling

KERNELS = """
from helper import compiler, increment

@compiler.serial_kernel
def add(number):
    return increment(number)
"""
HELPER = """
from pathlib import Path
from utils.kernels import Compiler

compiler = Compiler(Path(__file__).parent.glob("*.py"), "compiling the test")

@compiler.device_function
def increment(number):
    return number + STEP
"""


@pytest.fixture
def said():
    """The lines about compiling; later ones are dropped, as with --quiet."""
    lines: list[str] = []
    announce_compiling(lines.append)
    yield lines
    announce_compiling(lambda _: None)


def test_the_cache_is_used_until_any_file_changes(tmp_path, monkeypatch, said):
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.syspath_prepend(tmp_path)

    def fresh(step: int):
        (tmp_path / "helper.py").write_text(HELPER.replace("STEP", str(step)))
        (tmp_path / "kernels.py").write_text(KERNELS)
        loaded = {}
        for name in ("helper", "kernels"):
            spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
            assert spec and spec.loader
            loaded[name] = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, name, loaded[name])
            spec.loader.exec_module(loaded[name])
        return loaded["kernels"].add

    first = fresh(step=1)
    assert first(1) == 2 and first(1.0) == 2.0
    assert said == ["compiling the test"]
    said.clear()
    assert fresh(step=1)(1) == 2
    assert not said, "found in the cache"
    assert fresh(step=10)(1) == 11
    assert said
