"""The report as a person reads it."""

from __future__ import annotations

import msgspec
import pytest

from pgmux.doctor.alarms import find_alarms
from pgmux.doctor.facts import Client, Report
from pgmux.doctor.report import render_report
from pgmux.doctor.words import duration, size
from tests.doctor.reports import SERVER, backend, holder, pool, report


def rendered(found: Report) -> str:
    return render_report(msgspec.structs.replace(found, alarms=find_alarms(found)))


def test_an_empty_server_is_a_short_report() -> None:
    said = rendered(report())
    assert said.startswith("PostgreSQL 17.2 at db1 port 5432: on this machine, 4 CPU cores\n")
    assert "pgmux's clients are not shown: no pgmux runs here" in said
    assert "Nothing is alarming." in said
    assert "0 of 97 that clients can have (max_connections 100 less 3 reserved)" in said
    assert "Nobody holds one." in said


def test_alarms_come_first_with_their_remedies() -> None:
    said = rendered(report(backend(7, "idle in transaction", state_s=61.0)))
    assert said.index("ALARMING") < said.index("BACKENDS")
    assert "pg_terminate_backend(7)" in said


def test_states_are_counted_with_their_memory() -> None:
    said = rendered(report(backend(1), backend(2), backend(3, "active"), pools=(pool(),)))
    lines = [line.split() for line in said.splitlines()]
    assert ["idle", "2", "0", "4.0", "MB", "2.0", "MB", "1.0", "s"] in lines
    assert ["all", "3", "0", "6.0", "MB", "3.0", "MB"] in lines
    assert said.index("  active") < said.index("  idle ")
    assert "pgmux here: 2 workers, 7 clients" in said


def test_idle_backends_are_grouped_by_who_has_them() -> None:
    said = rendered(report(*(backend(pid) for pid in range(3)), backend(9, application="cron")))
    assert "4 idle backends: 4% of max_connections and 4.0 MB that nobody else uses" in said
    assert "shop         10.0.0.7  app/alice" in said


def test_only_pgmuxs_own_idle_backends_are_no_waste() -> None:
    assert "No backend is idle but those of pgmux's pools." in rendered(report(backend(is_pgmuxs=True)))


def test_the_oldest_snapshots_name_the_client() -> None:
    said = rendered(report(holders=(holder(age=12_345, held_s=720.0), holder("standby", held_s=None))))
    assert "12,345" in said
    assert '"shop" at 10.0.0.7:4312 through pgmux' in said


def test_a_backend_of_pgmux_whose_client_has_changed_is_nobody_elses() -> None:
    assert str(Client("", "pgbench", is_through_pgmux=True)) == '"pgbench" through pgmux'


def test_who_waits_for_a_pool_that_is_too_small_is_not_forgotten() -> None:
    assert "But 10 clients of pgmux wait now" in rendered(report(pools=(pool(waiting=10),)))
    assert "wait now" not in rendered(report(pools=(pool(),)))


def test_a_long_table_is_cut() -> None:
    said = rendered(report(*(backend(pid, "idle in transaction") for pid in range(25))))
    assert "and 15 more" in said
    assert "idle_in_transaction_session_timeout is off" in said


def test_what_cannot_be_seen_is_said() -> None:
    server = msgspec.structs.replace(SERVER, is_on_this_machine=False, cores=None)
    said = rendered(report(backend(state="hidden", private=None), server=server))
    assert "not on this machine, so its memory cannot be measured" in said
    assert "GRANT pg_monitor" in said
    assert "?" in said


def test_no_line_ends_in_blanks() -> None:
    said = rendered(report(backend(1, "active"), holders=(holder(),), pools=(pool(),)))
    assert [line for line in said.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.21, "0.2 s"), (45, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (180_000, "2 d 2 h")],
)
def test_a_length_of_time_is_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(None, "?"), (3_100_000, "3.1 MB"), (1_234_000_000, "1.23 GB")])
def test_a_size_is_told_in_megabytes_or_more(count: int | None, words: str) -> None:
    assert size(count) == words
