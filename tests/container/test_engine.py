"""The image, built by a container engine and run as its README says. `make test-container`: it takes minutes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from pgmux.demo.ports import free_port, give_back
from tests.container.engine import Container, Engine, NoEngineError
from tests.servers import PASSWORDS, Postgres, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        "PGMUX_CONTAINERS" not in os.environ, reason="make test-container builds and runs images"
    ),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        engine = Engine()
    except NoEngineError as error:
        pytest.skip(str(error))
    yield engine
    engine.close()


class Pooler:
    """The image in front of a PostgreSQL of this machine."""

    def __init__(self, engine: Engine, postgres: Postgres, folder: Path) -> None:
        self._engine = engine
        self.port = free_port()
        self._files = {
            "/etc/pgmux/pgmux.toml": folder / "pgmux.toml",
            "/etc/pgmux/userlist.txt": folder / "userlist.txt",
        }
        self._files["/etc/pgmux/pgmux.toml"].write_text(
            '[pgmux]\nauth_file = "userlist.txt"\n[databases."*"]\n'
            f'host = "{postgres.host}"\nport = {postgres.port}\n'
        )
        self._files["/etc/pgmux/userlist.txt"].write_text(f'"scram" "{PASSWORDS["scram"]}"\n')
        for file in self._files.values():
            file.chmod(0o644)

    def run(
        self, *command: str, environ: dict[str, str] | None = None, **options: Any
    ) -> AbstractContextManager[Container]:
        """A container of it; `environ` beside what says where to listen."""
        everything = {"PGMUX_LISTEN": f"127.0.0.1:{self.port}", "PGMUX_WORKERS": "2", **(environ or {})}
        return self._engine.run(*command, files=self._files, environ=everything, **options)

    def connect(self) -> psycopg.Connection[Any]:
        """As an application would."""
        place = f"host=127.0.0.1 port={self.port} dbname=app user=scram password={PASSWORDS['scram']}"
        return psycopg.connect(place, autocommit=True)


@pytest.fixture
def pooler(engine: Engine, postgres: Postgres, tmp_path: Path) -> Iterator[Pooler]:
    pooler = Pooler(engine, postgres, tmp_path)
    yield pooler
    give_back(pooler.port)


def test_it_serves_without_rights_and_is_found_healthy(pooler: Pooler) -> None:
    with pooler.run() as container:
        container.wait_for_log("is ready: 2 workers")
        with pooler.connect() as client:
            assert client.execute("SELECT 6 * 7").fetchone() == (42,)
        assert container.run("id", "-u").strip() == "6432"
        effective = container.run("grep", "CapEff", "/proc/1/status").split()[1]
        assert int(effective, 16) == 0
        wait_until(lambda: container.health() == "healthy", what="a healthy container", timeout=60.0)
        assert "2 of 2 workers" in container.run("pgmux", "top", "--once")


def test_options_come_from_the_environment(pooler: Pooler) -> None:
    said = {
        "PGMUX_MAX_BACKENDS": "7",
        "PGMUX_DEFAULT_POOL_SIZE": "3",
        "PGMUX_DRAIN_TIMEOUT": "5s",
        "PGMUX_ADMIN_USERS": "scram, app",
        "PGMUX_LOG_FORMAT": "json",
    }
    with pooler.run(environ=said) as container:
        container.wait_for_log("is ready: 2 workers")
        rows = json.loads(container.run("pgmux", "ctl", "show", "config", "--json"))
        found = {row["key"]: row["value"] for row in rows}
        assert (found["max_backends"], found["default_pool_size"]) == ("7", "3")
        assert found["drain_timeout"] == "5s"
        assert found["admin_users"] == "scram,app"
        assert json.loads(container.log().splitlines()[-1])["level"]


def test_what_runs_is_finished_when_it_is_stopped(pooler: Pooler) -> None:
    found: list[Any] = []

    def work() -> None:
        with pooler.connect() as client:
            found.append(client.execute("SELECT 'done' FROM pg_sleep(3)").fetchone())

    with pooler.run() as container:
        container.wait_for_log("is ready: 2 workers")
        worker = Thread(target=work)
        worker.start()
        container.wait_for_log("client connected")
        wait_until(
            lambda: json.loads(container.run("pgmux", "ctl", "show", "pools", "--json"))[0]["cl_active"] == 1,
            what="a transaction that runs",
        )
        assert container.stop(patience_s=75) == 0
        worker.join()
        assert found == [("done",)]
        assert "pgmux has stopped" in container.log()


def test_it_starts_again_in_memory_that_a_killed_one_has_left(engine: Engine, pooler: Pooler) -> None:
    with engine.memory() as memory, pooler.run(**memory) as container:
        container.wait_for_log("is ready: 2 workers")
        container.kill()
        container.start()
        wait_until(lambda: container.log().count("is ready: 2 workers") == 2, what="its second life")
        with pooler.connect() as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_what_is_missing_is_said_in_a_line(engine: Engine) -> None:
    with engine.run(files={}, environ={}) as container:
        assert container.wait() == 2
        [line] = container.log().splitlines()
    assert "auth_file: /etc/pgmux/userlist.txt cannot be read" in line
