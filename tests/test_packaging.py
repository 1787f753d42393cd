"""The build backend: what it says where nothing can be compiled, and what the archives hold."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def backend() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compiled", ROOT / "packaging" / "compiled.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_where_pgmux_was_built_nothing_is_missing(backend: ModuleType) -> None:
    assert backend.find_missing() == ""


def test_a_missing_compiler_is_named(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc -pthread")
    assert "no C compiler (/nowhere/cc)" in backend.find_missing()
    with pytest.raises(SystemExit, match="apt-get install gcc"):
        backend.build_wheel(".")


def test_missing_headers_are_named(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert f"headers are not installed ({tmp_path}/Python.h)" in backend.find_missing()


def test_headers_that_are_too_old_are_named(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PROBE", "#include <linux/io_uring_of_old.h>\n")
    assert "Linux's of 5.6 or later" in backend.find_missing()
    assert "linux/io_uring_of_old.h" in backend.find_missing()


def test_another_system_than_linux_is_told_at_once(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "runs on Linux alone" in backend.find_missing()


def test_every_hook_of_setuptools_is_there(backend: ModuleType) -> None:
    hooks = [
        name
        for name in importlib.import_module("setuptools.build_meta").__all__
        if name.startswith(("build_", "get_requires", "prepare"))
    ]
    assert set(hooks) <= set(backend.__all__)


def test_wheels_are_built_for_the_pythons_that_pgmux_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = project["tool"]["cibuildwheel"]["build"]
    assert f"cp3{project['project']['requires-python'].rsplit('.', 1)[1]}-*" == built[0]


def test_every_extension_of_the_tree_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = {source for each in project["tool"]["setuptools"]["ext-modules"] for source in each["sources"]}
    assert listed == {str(path.relative_to(ROOT)) for path in ROOT.glob("pgmux/**/*.pyx")}
