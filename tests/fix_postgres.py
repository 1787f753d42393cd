"""Fixtures of real PostgreSQL servers. A test that uses one of them is marked `pg`.

A server is started when the first test wants its version, and serves all tests of the session; what a test
leaves of connections is ended after it, and a server that it stopped is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from pgmux.demo.embedded import Setting
from pgmux.demo.installations import find_installations
from tests.fix_evidence import Evidence
from tests.servers.certificates import Authority, Certificate
from tests.servers.postgres import Postgres
from tests.servers.waiting import wait_until

VERSIONS = ("15", "16", "18")

_SETTINGS: dict[str, Setting] = {"max_connections": 120, "log_connections": True, "log_disconnections": True}
_FIXTURES = {"postgres", "any_postgres", "make_postgres", "postgres_servers", "make_pgmux"}

Servers = Callable[[str | None], Postgres]


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need a PostgreSQL."""
    for item in items:
        if isinstance(item, pytest.Function) and _FIXTURES & set(item.fixturenames):
            item.add_marker("pg")


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Servers]:
    """The session's server of a version, None for the wheel's newest; skips if there is no such."""
    with ExitStack() as stack:
        servers: dict[str | None, Postgres] = {}

        def server(version: str | None) -> Postgres:
            found = find_installations()
            if version is None:
                version = found[0].major if found else "any"
            _skip_without(version)
            if version not in servers:
                servers[version] = stack.enter_context(Postgres(version, _SETTINGS))
            return servers[version]

        yield server


@pytest.fixture
def postgres(postgres_servers: Servers, evidence: Evidence) -> Iterator[Postgres]:
    """A running PostgreSQL, the newest of the wheel's."""
    with _lent(postgres_servers(None), evidence) as server:
        yield server


@pytest.fixture(params=VERSIONS)
def any_postgres(
    request: pytest.FixtureRequest, postgres_servers: Servers, evidence: Evidence
) -> Iterator[Postgres]:
    """A running PostgreSQL: the test runs once with each version."""
    with _lent(postgres_servers(request.param), evidence) as server:
        yield server


@pytest.fixture(scope="session")
def _secure_server(authority: Authority) -> Iterator[Postgres]:
    with Postgres(version_with_openssl(), _SETTINGS, certificate=authority.certify()) as server:
        yield server


@pytest.fixture
def secure_postgres(_secure_server: Postgres, evidence: Evidence) -> Iterator[Postgres]:
    """A running PostgreSQL that speaks TLS, under a certificate of `authority`; skips if there is none."""
    with _lent(_secure_server, evidence) as server:
        yield server


def version_with_openssl() -> str:
    """The system's PostgreSQL, as the wheel's are built without OpenSSL. Skips if there is none."""
    for installation in find_installations():
        if installation.origin == "system":
            return installation.major
    pytest.skip("no PostgreSQL with OpenSSL is installed here")


class MakePostgres:
    """Makes servers for one test alone: for settings of its own, or to do them harm."""

    def __init__(self, stack: ExitStack, evidence: Evidence) -> None:
        self._stack = stack
        self._evidence = evidence

    def __call__(
        self,
        version: str | None = None,
        settings: Mapping[str, Setting] | None = None,
        hba: Sequence[str] = (),
        certificate: Certificate | None = None,
    ) -> Postgres:
        if version is not None:
            _skip_without(version)
        server = Postgres(version, {**_SETTINGS, **(settings or {})}, hba, certificate)
        self._evidence(f"log of PostgreSQL {server.version}", server.log_file.tail)
        return self._stack.enter_context(server)


@pytest.fixture
def make_postgres(evidence: Evidence) -> Iterator[MakePostgres]:
    """Makes servers for this test alone."""
    with ExitStack() as stack:
        yield MakePostgres(stack, evidence)


@contextmanager
def _lent(server: Postgres, evidence: Evidence) -> Iterator[Postgres]:
    """The server for one test, which is then put in order again."""
    server.log_file.mark()
    evidence(f"log of PostgreSQL {server.version}", server.log_file.tail)
    before = set(server.backend_pids())
    yield server
    if not server.is_running():
        server.start()
    left = set(server.backend_pids()) - before
    for pid in left:
        server.sql(f"SELECT pg_terminate_backend({pid})")
    wait_until(lambda: not left & set(server.backend_pids()), what="the end of the test's backends")


def _skip_without(version: str) -> None:
    if version not in {installation.major for installation in find_installations()}:
        pytest.skip(f"PostgreSQL {version} is not installed here")
