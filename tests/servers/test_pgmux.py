"""The Pgmux object itself, tried on a stand-in made of PgBouncers and on programs that end badly."""

from __future__ import annotations

import os
import signal
import sys
import tomllib
from pathlib import Path

import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fix_pgmux import MakePgmux
from tests.servers import Pgmux, Postgres, stand_in, wait_until

STAND_IN = (sys.executable, stand_in.__file__)
NEEDS_PGBOUNCER = pytest.mark.skipif(not Path(stand_in.PGBOUNCER).exists(), reason="no PgBouncer installed")


def test_keywords_become_a_configuration() -> None:
    pgmux = Pgmux(
        databases={"app": {"host": "/tmp", "port": 5432}},
        users={"alice": {"pool_size": 5}},
        passwords={'quo"ted': "secret"},
        workers=3,
        query_wait_timeout="250ms",
        admin_users=["root"],
    )
    config = tomllib.loads(pgmux.config_path.read_text())
    assert config["databases"] == {"app": {"host": "/tmp", "port": 5432}}
    assert config["users"] == {"alice": {"pool_size": 5}}
    settings = config["pgmux"]
    assert (settings["workers"], settings["query_wait_timeout"]) == (3, "250ms")
    assert settings["admin_users"] == ["root"]
    assert settings["listen"] == [f"127.0.0.1:{pgmux.port}"]
    assert Path(settings["auth_file"]).read_text() == '"quo""ted" "secret"\n'
    pgmux.write_configuration(workers=4)
    assert tomllib.loads(pgmux.config_path.read_text())["pgmux"]["workers"] == 4
    pgmux.remove()
    assert not pgmux.folder.exists()


def test_addresses_are_those_that_drivers_want() -> None:
    pgmux = Pgmux()
    told = conninfo_to_dict(pgmux.connect_dsn("d", "a b", "p'w"))
    assert (told["dbname"], told["user"], told["password"], told["port"]) == (
        "d",
        "a b",
        "p'w",
        str(pgmux.port),
    )
    assert pgmux.connect_url("d", "a@b", "p/w") == f"postgresql://a%40b:p%2Fw@127.0.0.1:{pgmux.port}/d"
    pgmux.remove()


@NEEDS_PGBOUNCER
def test_it_starts_serves_and_stops(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(command=STAND_IN, workers=2, default_pool_size=4)
    workers = pgmux.worker_pids()
    assert len(workers) == 2
    assert pgmux.all_pids() == [pgmux.supervisor_pid, *workers]
    with pgmux.connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)
    with pgmux.wire() as wire:
        wire.startup()
        assert wire.query("SELECT 1").value == b"1"
    assert 0 < pgmux.uss_bytes() < pgmux.rss_bytes()
    assert pgmux.log_contains("^ready$")
    assert pgmux.stop() == 0
    assert not pgmux.is_running()
    assert not [pid for pid in workers if psutil.pid_exists(pid)]


@NEEDS_PGBOUNCER
def test_a_worker_that_was_killed_is_no_longer_there(postgres: Postgres) -> None:
    pgmux = Pgmux(postgres, command=STAND_IN)
    pgmux.start()
    victim = pgmux.kill_worker()
    wait_until(lambda: victim not in pgmux.worker_pids(), what="the end of the worker")
    assert len(pgmux.worker_pids()) == 1
    assert pgmux.stop() == signal.SIGKILL  # as the stand-in tells it
    pgmux.close()


def program(text: str) -> tuple[str, ...]:
    """A command that ignores `run -c FILE` and does this instead."""
    return (sys.executable, "-c", text)


SERVES_NOBODY = "import signal; print('started', flush=True); signal.pause()"


def test_a_pgmux_that_ends_at_once_is_told_with_its_log() -> None:
    pgmux = Pgmux(command=program("raise SystemExit('no, thank you')"))
    with pytest.raises(AssertionError, match=r"(?s)pgmux ended with exit status 1\n.*no, thank you"):
        pgmux.__enter__()
    assert not pgmux.folder.exists()


def test_a_pgmux_that_never_gets_ready_is_told_and_killed() -> None:
    pgmux = Pgmux(command=program(SERVES_NOBODY), workers=0)
    pgmux.launch()
    pgmux.wait_for_log("started")
    pid = pgmux.supervisor_pid
    with pytest.raises(AssertionError, match=r"(?s)in vain for: pgmux to be ready.*started"):
        pgmux.wait_until_ready(timeout=0.1)
    pgmux.kill()
    assert not psutil.pid_exists(pid)
    pgmux.remove()


def closing(text: str, number: int = signal.SIGINT) -> str:
    """What close() complains of after a program that said "started" got a signal."""
    pgmux = Pgmux(command=program(text))
    pgmux.launch()
    pgmux.wait_for_log("started")
    if number != signal.SIGINT:
        pgmux.stop(number)
    with pytest.raises(AssertionError) as complaint:
        pgmux.close()
    assert not pgmux.folder.exists()
    return str(complaint.value)


def test_a_traceback_in_the_log_is_a_failure() -> None:
    program = "import sys, signal; signal.signal(2, lambda *_: sys.exit(0)); print('Traceback'); "
    assert "pgmux logged a traceback" in closing(program + SERVES_NOBODY)


def test_an_exit_status_other_than_0_is_a_failure() -> None:
    program = "import sys, signal; signal.signal(2, lambda *_: sys.exit(3)); "
    assert "pgmux ended with exit status 3" in closing(program + SERVES_NOBODY)


def test_a_crash_is_a_failure() -> None:
    assert "a process of pgmux crashed" in closing(SERVES_NOBODY, signal.SIGSEGV)


def test_a_process_left_behind_is_a_failure_and_is_killed() -> None:
    text = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
child = os.fork()
if child == 0:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    print("started", child, flush=True)
while True:
    signal.pause()
"""
    pgmux = Pgmux(command=program(text))
    pgmux.launch()
    child = int(pgmux.wait_for_log("started").split()[1])
    with pytest.raises(AssertionError, match="outlived pgmux"):
        pgmux.close()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_pgmux_that_does_not_stop_is_a_failure_and_is_killed() -> None:
    pgmux = Pgmux(command=program("import signal; signal.signal(2, signal.SIG_IGN); " + SERVES_NOBODY))
    pgmux.launch()
    pgmux.wait_for_log("started")
    pid = pgmux.supervisor_pid
    with pytest.raises(AssertionError, match=r"did not stop within 0\.2 s"):
        pgmux.stop(timeout=0.2)
    pgmux.kill()
    assert not psutil.pid_exists(pid)
    pgmux.remove()


def test_its_environment_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGMUX_WORKERS", "99")
    text = "import os; print('started', os.environ.get('PGMUX_WORKERS'), os.environ['PGMUX_LISTEN'])"
    pgmux = Pgmux(command=program(text), environ={"PGMUX_LISTEN": ":1"})
    pgmux.launch()
    assert pgmux.wait_for_log("started") == "started None :1"
    assert pgmux.wait_until_stopped() == 0
    pgmux.close()


def test_signals_reach_the_supervisor() -> None:
    text = "import signal; signal.signal(1, lambda *_: print('reload', flush=True)); "
    pgmux = Pgmux(command=program(text + "print('started', flush=True)\nwhile True: signal.pause()"))
    pgmux.launch()
    pgmux.wait_for_log("started")
    pgmux.signal(signal.SIGHUP)
    pgmux.wait_for_log("reload")
    pgmux.kill()
    assert pgmux.exit_status == -signal.SIGKILL
    pgmux.remove()
    assert not os.path.exists(pgmux.folder)
