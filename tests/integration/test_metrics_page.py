"""The page of metrics, scraped as Prometheus would, and what Kubernetes asks."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pgmux.demo.ports import free_port, give_back
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import Crowd, connect
from tests.integration.lobbies import Lobbies
from tests.integration.test_control_socket import stopped
from tests.servers import Pgmux, Postgres, wait_until
from tests.wire import frontend

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """The HTTP side of one pgmux."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET", accept: str = OPENMETRICS) -> tuple[int, str]:
        """Status and body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers={"Accept": accept}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def scrape(self) -> dict[str, float]:
        """Every sample by name and labels, as pgmux_clients{database="app",...}."""
        status, text = self.get("/metrics")
        assert status == 200
        return {
            sample.name
            + "{"
            + ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            + "}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def page() -> Iterator[Page]:
    port = free_port()
    yield Page(port)
    give_back(port)


def make(make_pgmux: MakePgmux, page: Page, **settings: object) -> Pgmux:
    return make_pgmux(metrics_listen=f"127.0.0.1:{page.port}", **settings)  # type: ignore[arg-type]


def test_what_clients_did_is_counted_over_all_workers(make_pgmux: MakePgmux, page: Page) -> None:
    pgmux = make(make_pgmux, page, workers=3, default_pool_size=1)
    lobbies = Lobbies(pgmux)
    clients = list(lobbies.a_client_on_each_worker().values())
    for number, client in enumerate(clients):
        for _ in range(number + 1):
            client.query("SELECT pg_sleep(0.002)")
    clients[0].query("BEGIN")
    clients[1].send(frontend.query("SELECT 1"))
    lobbies.wait_for_parked(1)

    def scraped() -> dict[str, float]:
        found = page.scrape()
        return found if found["pgmux_transactions_total{database=app,user=app}"] == 6 else {}

    found = wait_until(scraped, what="six transactions")
    assert found["pgmux_query_seconds_count{database=app,user=app}"] == 7
    assert found["pgmux_clients{database=app,state=idle,user=app}"] == 1
    assert found["pgmux_clients{database=app,state=served,user=app}"] == 1
    assert found["pgmux_clients{database=app,state=waiting,user=app}"] == 1
    assert found["pgmux_waiting_clients{database=app,reason=pool_size,user=app}"] == 1
    assert found["pgmux_backends{database=app,state=leased,user=app}"] == 1
    assert found["pgmux_longest_wait_seconds{database=app,user=app}"] > 0
    assert found["pgmux_transaction_seconds_bucket{database=app,le=0.002048,user=app}"] == 0
    assert found["pgmux_transaction_seconds_bucket{database=app,le=+Inf,user=app}"] == 6
    assert found["pgmux_connections{}"] == 3
    assert sum(found[f"pgmux_worker_up{{worker={number}}}"] for number in range(3)) == 3


def test_counters_do_not_go_back_when_a_worker_dies(make_pgmux: MakePgmux, page: Page) -> None:
    pgmux = make(make_pgmux, page, workers=2)
    lobbies = Lobbies(pgmux)
    for client in lobbies.a_client_on_each_worker().values():
        client.query("SELECT 1")
    counted = "pgmux_transactions_total{database=app,user=app}"
    wait_until(lambda: page.scrape()[counted] == 2, what="both transactions")
    victim = pgmux.kill_worker(lobbies.pid_of(1))
    wait_until(lambda: lobbies.pid_of(1) not in (0, victim), what="a successor")
    found = page.scrape()
    assert found[counted] == 2
    assert found["pgmux_worker_restarts_total{worker=1}"] == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_it_is_scraped_while_a_worker_is_stopped(make_pgmux: MakePgmux, page: Page, victim: int) -> None:
    pgmux = make(make_pgmux, page, workers=2)
    with stopped(Lobbies(pgmux).pid_of(victim)):
        for _ in range(6):
            assert page.get("/healthz") == (200, "ok\n")
            assert page.scrape()["pgmux_worker_up{worker=0}"] == 1
        silent = f"pgmux_worker_heartbeat_age_seconds{{worker={victim}}}"
        wait_until(lambda: page.scrape()[silent] > 1, what="an old heartbeat")


def test_it_is_scraped_while_postgresql_is_down_and_not_ready(
    make_pgmux: MakePgmux, page: Page, postgres: Postgres
) -> None:
    pgmux = make(make_pgmux, page, workers=2, server_login_retry="100ms")
    with connect(pgmux) as client:
        client.query("SELECT 1")
        assert page.get("/readyz") == (200, "ok\n")
        postgres.stop("immediate")
        assert client.query("SELECT 1").errors
        assert client.query("SELECT 1").errors
        assert page.get("/healthz")[0] == 200
        status, reason = page.get("/readyz")
        assert status == 503
        assert "PostgreSQL cannot be used for app/app: 08001" in reason
        assert page.scrape()["pgmux_postgresql_up{database=app,user=app}"] == 0
        postgres.start()
        wait_until(lambda: not client.query("SELECT 1").errors, what="PostgreSQL again")
        wait_until(lambda: page.get("/readyz")[0] == 200, what="readiness")


def test_a_pause_is_no_reason_not_to_be_ready(make_pgmux: MakePgmux, page: Page) -> None:
    pgmux = make(make_pgmux, page, workers=2)
    pgmux.ctl("pause")
    assert page.get("/readyz")[0] == 200
    assert page.scrape()["pgmux_paused{}"] == 1


def test_it_is_scraped_while_pgmux_waits_for_its_end(make_pgmux: MakePgmux, page: Page) -> None:
    pgmux = make(make_pgmux, page, workers=2)
    with connect(pgmux) as client:
        client.query("BEGIN")
        pgmux.ctl("shutdown", "wait_for_servers")
        wait_until(lambda: page.get("/readyz")[0] == 503, what="the end of readiness")
        assert "shuts down" in page.get("/readyz")[1]
        assert page.get("/healthz")[0] == 200
        assert page.scrape()["pgmux_backends{database=app,state=leased,user=app}"] == 1
        client.query("COMMIT")
        assert pgmux.wait_until_stopped() == 0


def test_other_paths_and_methods_are_told_what_there_is(make_pgmux: MakePgmux, page: Page) -> None:
    make(make_pgmux, page, workers=1)
    assert page.get("/")[0] == 404
    assert "/metrics" in page.get("/")[1]
    assert page.get("/metrics", "POST")[0] == 405
    assert page.get("/metrics", "HEAD") == (200, "")
    assert page.get("/metrics", accept="*/*")[1].startswith("# HELP pgmux_info")


def test_who_says_nothing_keeps_nobody_else_waiting(make_pgmux: MakePgmux, page: Page) -> None:
    make(make_pgmux, page, workers=1)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", page.port)))
            silent.sendall(b"GET /met")
        assert page.get("/metrics")[0] == 200


def test_without_it_nothing_listens_and_nothing_is_imported_for_it(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1)
    (worker,) = pgmux.worker_pids()
    with open(f"/proc/{worker}/maps", encoding="ascii") as maps:
        assert "prometheus" not in maps.read()  # it is plain Python: a weak witness, so look at sockets too
    with open("/proc/net/tcp", encoding="ascii") as table:
        listening = [line for line in table if line.split()[3] == "0A"]
    assert any(f":{pgmux.port:04X} " in line for line in listening)


def test_a_taken_port_is_an_error_at_start_that_names_the_option(make_pgmux: MakePgmux, page: Page) -> None:
    with socket.create_server(("127.0.0.1", page.port)):
        pgmux = make(make_pgmux, page, workers=1, is_started=False)
        pgmux.launch()
        assert pgmux.wait_until_stopped() == 1
        assert pgmux.log_contains("or change metrics_listen")


def test_scraping_all_the_time_disturbs_no_client(make_pgmux: MakePgmux, page: Page) -> None:
    pgmux = make(make_pgmux, page, workers=2, default_pool_size=4)

    def member(number: int) -> Iterator[None]:
        with connect(pgmux) as client:
            turn = 0
            while True:
                turn += 1
                assert client.query(f"SELECT '{number} {turn}'").value == f"{number} {turn}".encode()
                yield

    with Crowd(8, member) as crowd:
        last = 0.0
        for _ in range(30):
            found = page.scrape()["pgmux_queries_total{database=app,user=app}"]
            assert found >= last
            last = found
        crowd.wait_for_rounds(2)
