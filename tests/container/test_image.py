"""The image's files, held against the tree and against a running pgmux. No engine is needed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pgmux.config import Settings, read_config
from pgmux.config.findings import environment_name
from pgmux.config.option import rows_of
from tests.fix_pgmux import MakePgmux

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE = (ROOT / "container" / "compose.yaml").read_text()
KUBERNETES = [path.read_text() for path in sorted((ROOT / "container" / "kubernetes").glob("*.yaml"))]
IGNORE = (ROOT / ".dockerignore").read_text().splitlines()
ANSWERS = ROOT / "container" / "answers.py"


def is_healthy(runtime_dir: Path) -> bool:
    """What the image's health check says about a pgmux with this directory."""
    environ = {**os.environ, "PGMUX_RUNTIME_DIR": str(runtime_dir)}
    return subprocess.run([sys.executable, ANSWERS], env=environ, timeout=30).returncode == 0


def test_whatever_is_copied_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert len(sources) >= 5
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in IGNORE


def test_it_does_not_run_as_root() -> None:
    [user] = re.findall(r"^USER (\d+):\d+$", CONTAINERFILE, re.MULTILINE)
    assert int(user) > 0


@pytest.mark.parametrize("text", [CONTAINERFILE, COMPOSE, *KUBERNETES])
def test_every_variable_is_an_option(text: str) -> None:
    known = {environment_name(key) for key in rows_of(Settings)}
    named = set(re.findall(r"\bPGMUX_[A-Z_]+", text))
    assert named
    assert named <= known


def test_the_images_configuration_waits_only_for_a_list_of_users(tmp_path: Path) -> None:
    (tmp_path / "userlist.txt").write_text((ROOT / "container" / "userlist.txt").read_text())
    text = (ROOT / "container" / "pgmux.toml").read_text()
    config = read_config(text, {"PGMUX_RUNTIME_DIR": "/dev/shm/pgmux"}, path=str(tmp_path / "pgmux.toml"))
    assert config.databases["*"].host == ("postgres",)
    assert [str(listen) for listen in config.pgmux.listen] == [":6432"]


def things_in(text: str) -> list[dict[str, Any]]:
    """The documents of a manifest."""
    return [thing for thing in yaml.safe_load_all(text) if thing]


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_kubernetes_understands_every_word_of_its_manifests(version: str) -> None:
    things = [thing for text in KUBERNETES for thing in things_in(text)]
    assert len(things) == 5
    for thing in things:
        kubernetes_validate.validate(thing, version, strict=True)
    del things[0]["metadata"]["name"]
    things[0]["metadata"]["nmae"] = "pgmux"
    with pytest.raises(kubernetes_validate.ValidationError, match="nmae"):
        kubernetes_validate.validate(things[0], version, strict=True)


def pods() -> list[dict[str, Any]]:
    """The specification of every pod in the manifests for Kubernetes."""
    things = [thing for text in KUBERNETES for thing in things_in(text)]
    templates = [thing["spec"]["template"]["spec"] for thing in things if thing["kind"] == "Deployment"]
    return templates + [thing["spec"] for thing in things if thing["kind"] == "Pod"]


def test_a_container_is_given_time_to_stop() -> None:
    [compose] = things_in(COMPOSE)
    assert float(compose["services"]["pgmux"]["stop_grace_period"].rstrip("s")) > Settings().drain_timeout
    assert len(pods()) == 2
    for pod in pods():
        assert pod["terminationGracePeriodSeconds"] > Settings().drain_timeout


def test_pods_give_pgmux_no_rights_and_memory_to_share() -> None:
    for pod in pods():
        [pgmux] = [container for container in pod["containers"] if container["name"] == "pgmux"]
        own = pgmux["securityContext"]
        assert own["readOnlyRootFilesystem"]
        assert not own["allowPrivilegeEscalation"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "livenessProbe" in pgmux
        [memory] = [mount["name"] for mount in pgmux["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        assert [volume["emptyDir"]["medium"] for volume in pod["volumes"] if volume["name"] == memory] == [
            "Memory"
        ]
        assert {mount["name"] for mount in pgmux["volumeMounts"]} <= {
            volume["name"] for volume in pod["volumes"]
        }


def test_the_configuration_of_the_deployment_is_accepted(tmp_path: Path) -> None:
    [config] = [thing for text in KUBERNETES for thing in things_in(text) if thing["kind"] == "ConfigMap"]
    (tmp_path / "userlist.txt").write_text('"app" "secret"\n')
    environ = {"PGMUX_AUTH_FILE": str(tmp_path / "userlist.txt")}
    assert read_config(config["data"]["pgmux.toml"], environ).databases["*"].host == ("postgres",)


def test_the_entry_is_the_command() -> None:
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", CONTAINERFILE, re.MULTILINE)
    [command] = re.findall(r"^CMD (.+)$", CONTAINERFILE, re.MULTILINE)
    assert json.loads(entry) + json.loads(command) == ["pgmux", "run"]


def test_the_health_check_says_yes_to_a_running_pgmux(make_pgmux: MakePgmux) -> None:
    assert is_healthy(make_pgmux(workers=2).folder / "run")


def test_the_health_check_says_no_where_nothing_answers(tmp_path: Path) -> None:
    assert not is_healthy(tmp_path)
    with socket.socket(socket.AF_UNIX) as mute:  # it takes the connection, and says nothing
        mute.bind(str(tmp_path / "control.sock"))
        mute.listen()
        assert not is_healthy(tmp_path)
