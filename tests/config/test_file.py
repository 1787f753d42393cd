"""Which file is read, and what is said when it cannot be."""

from pathlib import Path

import pytest

from pgmux.config import load
from pgmux.errors import ConfigError

DEFAULT_PATH = "pgmux.config.file.DEFAULT_PATH"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Three configurations, told apart by their workers; "default" is where pgmux looks by itself."""
    paths = {}
    for workers, name in enumerate(("given", "named", "default"), start=1):
        path = tmp_path / f"{name}.toml"
        path.write_text(f"[pgmux]\nworkers = {workers}\n")
        paths[name] = str(path)
    monkeypatch.setattr(DEFAULT_PATH, paths["default"])
    return paths


def test_the_given_file_goes_before_the_named_one_and_that_before_the_default(files: dict[str, str]) -> None:
    environ = {"PGMUX_CONFIG": files["named"]}
    assert load(files["given"], environ).path == files["given"]
    assert load(files["given"], environ).pgmux.workers == 1
    assert load(None, environ).pgmux.workers == 2
    assert load(None, {}).pgmux.workers == 3
    assert load(None, {"PGMUX_CONFIG": ""}).pgmux.workers == 3


def test_without_any_file_the_places_looked_at_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DEFAULT_PATH, f"{tmp_path}/none.toml")
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    for word in (f"{tmp_path}/none.toml", "-c FILE", "PGMUX_CONFIG", "pgmux check --options"):
        assert word in str(caught.value)


@pytest.mark.parametrize("environ", [{}, {"PGMUX_CONFIG": "/nowhere/other.toml"}])
def test_a_file_that_does_not_exist_is_not_replaced_by_another(
    environ: dict[str, str], files: dict[str, str]
) -> None:
    with pytest.raises(
        ConfigError, match=r"^/nowhere/pgmux.toml: cannot be read: No such file or directory$"
    ):
        load("/nowhere/pgmux.toml", environ)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(str(tmp_path), {})


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes("[pgmux]\n# drei\n# fünf\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.toml:3: not valid UTF-8"):
        load(str(file), {})


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf[pgmux]\nworkers = 7\n")
    assert load(str(file), {}).pgmux.workers == 7


def test_a_configuration_with_passwords_for_everybody_to_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "pgmux.toml"
    file.write_text("[pgmux]\nauth_type = 'trust'\n[databases.app]\nuser = 'svc'\npassword = 'x'\n")
    file.chmod(0o644)
    assert [problem.key for problem in load(str(file), {}).warnings] == ["databases.app.password"]
    file.chmod(0o600)
    assert load(str(file), {}).warnings == ()
