"""A successor's harbour, with a regent that the test plays."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.config import read_config
from pgmux.shm.leases import Phase
from pgmux.supervisor import harbour as harbour_module
from pgmux.supervisor import sayings
from pgmux.supervisor.cargo import Cargo, Census, PoolName, PoolRow, SlotRow, State, pack
from pgmux.supervisor.harbour import Harbour, Regency
from pgmux.supervisor.sayings import Saying, Sayings
from pgmux.supervisor.vault import Vault
from pgmux.worker.mailbox import Kind, Mailbox, Message
from tests.shm.world import World

CONFIG = """
[pgmux]
listen = ["127.0.0.1:6432"]
auth_type = "trust"
[databases.app]
host = "localhost"
"""


class Rig:
    """A harbour with two workers that never come to life, and a regent that is a process which sleeps."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, workers=2)
        self.pools = self.world.pools
        self.board = self.pools.board
        self.pid = os.posix_spawnp("sleep", ["sleep", "300"], os.environ)
        self._mailboxes = [Mailbox() for _ in range(7)]
        self.inbox, self.outbox, *self.landings = self._mailboxes[:4]
        mailboxes = self._mailboxes[4:]
        self.vault = Vault(self.pools, mailboxes, {})
        regency = Regency(self.pid, [], inbox=self.inbox, outbox=self.outbox)
        config = read_config(CONFIG, {})
        self.harbour = Harbour(regency, config, self.pools, self.vault, mailboxes, self.landings)

    def tell(
        self, kind: Kind, target: int = 0, number: int = 0, note: int = 0, body: bytes = b"", fd: int = -1
    ) -> None:
        """The regent says something, and the harbour hears it."""
        self.inbox.send(Message(kind, target, number, note, fd, body))
        self.harbour.collect()

    def take_census(self, said: Sayings = Sayings(), slots: list[SlotRow] | None = None) -> None:  # noqa: B008
        """The regent sends its census, and the harbour opens."""
        pools = [PoolRow(b"app", b"app", b"")]
        self.inbox.send(Message(Kind.CENSUS, 0, body=pack(Census(pools, slots or [], [], 0, 0, said))))
        self.harbour.open()

    def heard(self) -> list[Message]:
        """What the regent has been told, but for READY."""
        return [message for message in self.outbox.collect() if message.kind is not Kind.READY]

    def kill_regent(self) -> None:
        """It is dead, and nobody has reaped it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        """The end."""
        if self.harbour._regent:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for mailbox in self._mailboxes:
            mailbox.close()
        self.world.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A harbour."""
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_what_the_operator_says_is_told_once_and_is_in_force_when_it_was_heeded(rig: Rig) -> None:
    rig.take_census()
    assert not rig.board.is_heeded(now_us())
    rig.harbour.tick(is_nobody_left=False)
    rig.harbour.tick(is_nobody_left=False)
    assert rig.heard() == []
    rig.pools.pause()
    rig.board.kill(rig.board.register(b"app"))
    said_at = now_us()
    for _ in range(3):
        rig.harbour.tick(is_nobody_left=False)
    (told,) = rig.heard()
    assert told.kind is Kind.SAID
    said = sayings.unpack(told.body)
    assert said.is_paused
    assert said.databases[0].killed_at_us > 0
    assert not rig.board.is_heeded(said_at)
    rig.tell(Kind.HEEDED, number=told.number)
    rig.harbour.tick(is_nobody_left=False)
    assert rig.board.is_heeded(said_at)
    assert not rig.board.is_heeded(now_us() + 1_000_000)


def test_an_answer_to_what_was_said_before_is_none_to_what_was_said_since(rig: Rig) -> None:
    rig.take_census()
    rig.pools.pause()
    rig.harbour.tick(is_nobody_left=False)
    (first,) = rig.heard()
    rig.pools.resume()
    said_at = now_us()
    rig.harbour.tick(is_nobody_left=False)
    rig.tell(Kind.HEEDED, number=first.number)
    rig.harbour.tick(is_nobody_left=False)
    assert not rig.board.is_heeded(said_at)
    (second,) = rig.heard()
    rig.tell(Kind.HEEDED, number=second.number, note=1)
    rig.harbour.tick(is_nobody_left=False)
    assert rig.board.is_heeded(said_at)
    assert rig.board.is_defied


def test_a_pause_from_before_holds_and_a_kill_from_before_hits_nobody(rig: Rig) -> None:
    before = Sayings(True, 77, (Saying(b"app", True, True, 77, 77), Saying(b"other")))
    rig.take_census(sayings.lasting(before))
    assert rig.pools.is_paused
    row = rig.board.read(rig.board.register(b"app"))
    assert row is not None
    assert (row["is_paused"], row["is_disabled"], row["killed_at_us"]) == (True, True, 0)


def test_nothing_is_ceded_while_the_operator_has_it_paused(rig: Rig) -> None:
    rig.take_census()
    rig.pools.pause()
    rig.tell(Kind.WANT, body=pack(PoolName(b"app", b"app")))
    rig.harbour.tick(is_nobody_left=False)
    assert [each.kind for each in rig.heard()] == [Kind.SAID]
    rig.pools.resume()
    rig.harbour.tick(is_nobody_left=False)
    assert [each.kind for each in rig.heard()] == [Kind.SAID, Kind.CEDE]


def test_who_wants_a_backend_when_no_pool_is_left_waits(rig: Rig) -> None:
    rig.take_census()
    for number in range(rig.world.segment.pool_count - 1):
        pool = rig.world.pool(1, f"other{number}")
        rig.pools.tenancies.try_join(pool, rig.pools.tenancies.names(pool)[0], 0)  # type: ignore[index]
    rig.pools.tenancies.try_join(0, rig.pools.tenancies.names(0)[0], 0)  # type: ignore[index]
    rig.tell(Kind.WANT, body=pack(PoolName(b"new", b"app")))
    rig.harbour.tick(is_nobody_left=False)
    assert Kind.CEDE not in [each.kind for each in rig.heard()]


def test_a_regent_that_is_dead_is_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harbour_module, "_CENSUS_WITHIN_SECONDS", float("inf"))
    rig.kill_regent()
    rig.harbour.open()
    rig.harbour.tick(is_nobody_left=False)
    assert rig.harbour.is_closed
    assert not rig.board.has_predecessors


def test_a_census_that_comes_too_late_is_no_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harbour_module, "_CENSUS_WITHIN_SECONDS", 0.0)
    rig.harbour.open()  # which kills the regent
    census = Census([], [], [], 0, 0, Sayings())
    rig.inbox.send(Message(Kind.CENSUS, 0, body=pack(census)))
    os.waitid(os.P_PID, rig.pid, os.WEXITED | os.WNOWAIT)
    rig.harbour.reap()
    assert rig.harbour.orders == []
    rig.harbour.tick(is_nobody_left=False)
    assert rig.harbour.is_closed


@pytest.mark.parametrize("is_counted", [True, False], ids=["after the census", "before it"])
def test_what_backends_do_is_ended_when_all_of_before_are_dead(rig: Rig, is_counted: bool) -> None:
    ours, theirs = socket.socketpair()
    deed = Cargo(State.LOST, b"app", b"app", 7, b"key!", address=b"127.0.0.1", local_address=b"127.0.0.1")
    with ours, theirs:
        rig.inbox.send(Message(Kind.DEED, 3, fd=ours.fileno(), body=pack(deed)))
        if is_counted:
            rig.take_census(slots=[SlotRow(3, 0), SlotRow(4, 0)])
        rig.kill_regent()
        if not is_counted:
            rig.harbour.open()
        rig.harbour.reap()
        assert rig.world.phase(3) == Phase.OPENING
        rig.harbour.tick(is_nobody_left=False)
    assert (rig.world.phase(3), rig.world.phase(4)) == (Phase.CLOSING, Phase.EMPTY)
    assert rig.pools.identity(3) == (7, b"key!")
    assert [*rig.vault.sockets] == [3]
    rig.vault.close()


def test_a_deed_is_good_until_its_slot_has_come(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    deed = Cargo(State.LOST, b"app", b"app", 7, b"key!", address=b"127.0.0.1", local_address=b"127.0.0.1")
    with theirs:
        with ours:
            rig.take_census(slots=[SlotRow(3, 0)])
            rig.tell(Kind.DEED, 3, body=pack(deed), fd=ours.fileno())
        rig.tell(Kind.CARGO, 3, body=pack(Cargo(State.EMPTY)))
        assert theirs.recv(1) == b""  # no copy of it is held
    rig.kill_regent()
    rig.harbour.reap()
    rig.harbour.tick(is_nobody_left=False)
    assert rig.world.phase(3) == Phase.EMPTY


def test_a_regent_that_is_not_heard_any_more_is_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.take_census()
    rig.harbour.tick(is_nobody_left=False)
    assert os.waitid(os.P_PID, rig.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
    monkeypatch.setattr(harbour_module, "_WEDGED_AFTER_SECONDS", -1.0)
    rig.harbour.tick(is_nobody_left=False)
    os.waitid(os.P_PID, rig.pid, os.WEXITED | os.WNOWAIT)
    rig.harbour.reap()
    rig.harbour.tick(is_nobody_left=False)
    assert rig.harbour.is_closed


def test_a_deed_of_what_was_closed_before_the_census_is_dropped(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    deed = Cargo(State.LOST, b"app", b"app", 7, b"key!", address=b"127.0.0.1", local_address=b"127.0.0.1")
    with theirs:
        with ours:
            rig.inbox.send(Message(Kind.DEED, 3, fd=ours.fileno(), body=pack(deed)))
        rig.take_census(slots=[SlotRow(4, 0)])
        assert theirs.recv(1) == b""
    assert rig.world.phase(3) == Phase.EMPTY


def test_who_lies_in_a_landing_is_waited_for_unless_nobody_is_left_to_take_it_up(rig: Rig) -> None:
    rig.take_census()
    rig.landings[0].send(Message(Kind.CLIENT, 3))
    rig.kill_regent()
    rig.harbour.reap()
    rig.harbour.tick(is_nobody_left=False)
    assert not rig.harbour.is_closed
    rig.harbour.tick(is_nobody_left=True)
    assert rig.harbour.is_closed


def now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
