"""What is alarming, and what is not yet."""

from __future__ import annotations

import pytest

from pgmux.doctor.alarms import CHECKS, find_alarms
from pgmux.doctor.facts import Report
from tests.doctor.reports import backend, holder, pool, report

CALM = [
    report(),
    report(backend(), pools=(pool(waiting=3, longest_wait_s=0.5),)),
    report(backend(state="idle in transaction", state_s=59.0), holders=(holder(age=999_999, held_s=599.0),)),
    report(*(backend(pid) for pid in range(50))),
    report(*(backend(pid, is_pgmuxs=True) for pid in range(80)), pools=(pool(),)),  # its own pool is no waste
    report(backend(1, "active", blocked_by=(2,)), backend(2, "active")),
    report(holders=(holder("replication slot", age=100, held_s=None),)),
]
ALARMING = [
    ("idle_in_transaction", report(backend(state="idle in transaction", state_s=61.0))),
    ("idle_in_transaction", report(backend(state="idle in transaction (aborted)", state_s=61.0))),
    ("blocked_by_idle", report(backend(1, "active", blocked_by=(2,)), backend(2, "idle in transaction"))),
    ("old_snapshot", report(holders=(holder(held_s=601.0),))),
    ("old_snapshot", report(holders=(holder(age=1_000_001),))),
    ("old_snapshot", report(holders=(holder("replication slot", age=2_000_000, held_s=None),))),
    ("connections_nearly_full", report(*(backend(pid, "active") for pid in range(83)))),
    ("mostly_idle", report(*(backend(pid) for pid in range(51)))),
    ("pool_trouble", report(pools=(pool(trouble="28P01 password authentication failed"),))),
    ("long_wait", report(pools=(pool(waiting=4, longest_wait_s=5.1),))),
]


@pytest.mark.parametrize("found", CALM)
def test_a_calm_server_alarms_nobody(found: Report) -> None:
    assert find_alarms(found) == ()


@pytest.mark.parametrize(("name", "found"), ALARMING)
def test_an_alarm_is_named_and_says_what_to_do(name: str, found: Report) -> None:
    [alarm] = find_alarms(found)
    assert alarm.name == name
    assert alarm.text
    assert alarm.remedy


def test_every_check_has_found_something_here() -> None:
    assert {name for name, _ in ALARMING} == {check.name for check in CHECKS}


def test_an_alarm_names_the_client_and_not_the_pooler() -> None:
    [alarm] = find_alarms(report(backend(state="idle in transaction", state_s=300.0, is_pgmuxs=True)))
    assert '"shop" at 10.0.0.7:4312 through pgmux' in alarm.text
    assert "5 min" in alarm.text
