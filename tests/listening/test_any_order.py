"""What workers say to each other about LISTEN, read in any order between them: nothing is missed unawares.

Several workers' Listening in the test's own process, with real mailboxes and shared memory, against a
PostgreSQL of a few lines. Nothing runs by itself: one small step after the other is taken, in an order that
chance decides, and now and then a worker dies, or a listening backend.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest

from pgmux.config import Config, Database
from pgmux.protocol.messages import build_message, channel_of
from pgmux.session.keyring import Keyring
from pgmux.shm.counters import CounterTable
from pgmux.shm.workers import Errand
from pgmux.worker import demand, listening
from pgmux.worker.connecting import Connector
from pgmux.worker.demand import Batch, Demand, Question
from pgmux.worker.listening import Listening
from pgmux.worker.mailbox import Kind, Mailbox, Message
from tests.shm.world import World

WORKERS = 3
CHANNELS = [b"a", b"b", b"c"]
STEPS = 1500
WARNING = b"N"


class Postgres:
    """Notifications in the order of their commits, and sessions that listen."""

    def __init__(self) -> None:
        self.committed = 0
        self.sessions: list[Session] = []

    def notify(self, channel: bytes) -> None:
        self.committed += 1
        for session in self.sessions:
            if channel in session.listens:
                body = bytes(4) + channel + b"\0" + str(self.committed).encode() + b"\0"
                session.said.append(build_message(b"A", body))


class Session:
    """One listening backend: what it listens to, what it was told and has not done, what it has said."""

    def __init__(self) -> None:
        self.listens: set[bytes] = set()
        self.told: list[Batch] = []
        self.said: list[bytes] = []

    def work(self) -> None:
        """Does one batch."""
        batch = self.told.pop(0)
        self.listens |= set(batch.listens)
        self.listens -= set(batch.unlistens)
        self.said.append(b"Z")


class StepwiseEar:
    """An Ear that does one thing at a time, when it is told to. Its other names are the real one's."""

    postgres: Postgres

    def __init__(
        self, number: int, epoch: int, place: str, table: Any, mailboxes: list[Mailbox], *_: Any, **__: Any
    ) -> None:
        self.number, self.epoch = number, epoch
        self.is_busy = False
        self.demand = Demand()
        self._mailboxes = mailboxes
        self._batch: Batch | None = None
        self._has_missed = False
        self._open()

    def listen(self, worker: int, number: int, channels: tuple[bytes, ...]) -> None:
        self.demand.listen(Question(worker, number, channels))

    def unlisten(self, worker: int, channels: tuple[bytes, ...]) -> None:
        self.demand.unlisten(worker, channels)

    def forget(self, worker: int) -> None:
        self.demand.forget(worker)

    def is_unwanted_for(self, seconds: float) -> bool:
        return not self.demand.wanting

    def close(self) -> None:
        self.postgres.sessions.remove(self.session)

    def lose(self) -> None:
        """The backend is gone, with all that it had said."""
        self.close()
        self._has_missed = self._has_missed or bool(self.demand.listened)
        if self._batch is not None:
            self.demand.fail(self._batch)
        self._open()

    def step(self, chance: random.Random) -> bool:
        """Whether there was something to do."""
        doable: list[Callable[[], None]] = []
        if self._batch is None and (batch := self.demand.compose()) is not None:
            self._batch = batch
            self.session.told.append(batch)
            return True
        if self.session.told:
            doable.append(self.session.work)
        if self.session.said:
            doable.append(self._hear)
        if doable:
            chance.choice(doable)()
        return bool(doable)

    def _open(self) -> None:
        self._batch = None
        self.demand.begin_again()
        self.session = Session()
        self.postgres.sessions.append(self.session)

    def _hear(self) -> None:
        message = self.session.said.pop(0)
        if message != b"Z":
            for worker in self.demand.wanting.get(channel_of(message), ()):
                self._send(worker, Message(Kind.NOTIFY, self.number, body=message))
            return
        batch, self._batch = self._batch, None
        assert batch is not None
        if self._has_missed and self.demand.is_met:
            self._has_missed = False
            for worker in self.demand.wanted:
                self._send(worker, Message(Kind.MISSED, self.number))
        for question in self.demand.settle(batch):
            self._send(question.worker, Message(Kind.LISTENING, self.number, question.number))

    def _send(self, worker: int, message: Message) -> None:
        assert self._mailboxes[worker].send(message)


class Client:
    """A client that listens, as its relay and its test see it."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.channels: frozenset[bytes] = frozenset()
        self.is_waiting = False
        self.since: dict[bytes, int] = {}  # what was committed by then is not for it
        self.owed: defaultdict[bytes, list[int]] = defaultdict(list)  # what it has not heard and must
        self.missed: defaultdict[bytes, set[int]] = defaultdict(set)  # to be followed by a warning
        self.warned_at = 0  # what was committed by then may be missed

    def ask(self, channels: frozenset[bytes]) -> None:
        for channel in channels - self.channels:
            self.since[channel] = self._postgres.committed
        for channel in self.channels - channels:
            self.owed.pop(channel, None)
            self.missed.pop(channel, None)
        self.channels = channels
        self.is_waiting = True

    def commit(self, channel: bytes, number: int) -> None:
        """Something was committed: it is owed if the client was told that it listens."""
        if channel in self.channels and not self.is_waiting:
            self.owed[channel].append(number)

    def hear(self, message: bytes) -> None:
        if message[:1] == WARNING:
            self.missed.clear()
            self.warned_at = self._postgres.committed
            return
        channel, number = channel_of(message), int(message.split(b"\0")[-2])
        assert channel in self.channels, "it does not listen to that"
        assert number > self.since[channel], "it was committed before the LISTEN, or heard already"
        self.since[channel] = number
        owed = self.owed[channel]
        self.missed[channel] |= {each for each in owed if self.warned_at < each < number}
        self.owed[channel] = [each for each in owed if each > number]


class Worker:
    """One worker's Listening, and its clients."""

    def __init__(self, number: int, world: World, mailboxes: list[Mailbox], postgres: Postgres) -> None:
        self.number = number
        self.postgres = postgres
        self.mailbox = mailboxes[number]
        self.clients: dict[int, Client] = {}
        config = Config(databases={"*": Database()})
        connector = Connector(config, Keyring({}), None)
        self.listening = Listening(
            number, config, connector, world.pools, CounterTable(world.segment), mailboxes
        )
        self.listening.relay = self  # type: ignore[assignment]
        self.listening.tenants = self  # type: ignore[assignment]
        self._config = config

    # what Listening wants of its relay and tenants

    def notify(self, record: int, message: bytes) -> None:
        if record in self.clients:
            self.clients[record].hear(message)

    def drop_notifications(self, record: int, channels: Container[bytes]) -> None:
        pass

    def settings(self, pool: int) -> Any:
        return self._config.pool_settings("app", "app")

    def server(self, pool: int) -> str:
        return "here"

    # one step each

    def subscribe(self, record: int, channels: frozenset[bytes]) -> None:
        client = self.clients.setdefault(record, Client(self.postgres))
        if client.is_waiting:
            return  # as with the real relay, which withholds its ReadyForQuery
        client.ask(channels)
        self.listening.subscribe(record, 0, channels, lambda: setattr(client, "is_waiting", False))

    def leave(self, record: int) -> None:
        if self.clients.pop(record, None):
            self.listening.forget(record)

    def read(self) -> bool:
        """Takes in one message of the mailbox. Whether there was one."""
        message = next(iter(self.mailbox.collect()), None)
        if message is not None:
            self.listening._heed(message)
        return message is not None

    def run_errands(self, world: World) -> bool:
        errands = world.workers.take_errands(self.number)
        if errands & Errand.LOOK_AT_EARS:
            self.listening.look()
        return bool(errands)

    def ears(self) -> list[StepwiseEar]:
        return list(self.listening._held.values())  # type: ignore[arg-type]


class Together:
    """All workers, one PostgreSQL, and chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(folder, workers=WORKERS)
        self.world.pool(1)
        self.postgres = StepwiseEar.postgres = Postgres()
        self.mailboxes = [Mailbox() for _ in range(WORKERS)]
        for number in range(WORKERS):
            self.world.workers.enlist(number, 1000 + number)
        self.workers = [self._make(number) for number in range(WORKERS)]

    def close(self) -> None:
        self.world.close()
        for mailbox in self.mailboxes:
            mailbox.close()

    def clients(self) -> list[Client]:
        return [client for worker in self.workers for client in worker.clients.values()]

    def step(self) -> None:
        worker = self.chance.choice(self.workers)
        record = self.chance.randrange(3)
        verb = self.chance.choices(
            ["subscribe", "leave", "notify", "read", "errands", "ear", "tick", "lose", "die"],
            [6, 1, 20, 30, 10, 30, 2, 0.7, 0.7],
        )[0]
        if verb == "subscribe":
            worker.subscribe(record, frozenset(self.chance.sample(CHANNELS, self.chance.randrange(4))))
        elif verb == "leave":
            worker.leave(record)
        elif verb == "notify":
            self.notify(self.chance.choice(CHANNELS))
        elif verb == "read":
            worker.read()
        elif verb == "errands":
            worker.run_errands(self.world)
        elif verb == "tick":
            worker.listening.tick()
        elif verb == "die":
            self.kill(worker)
        elif ears := worker.ears():
            if verb == "ear":
                ears[0].step(self.chance)
            else:
                ears[0].lose()

    def notify(self, channel: bytes) -> None:
        self.postgres.notify(channel)
        for client in self.clients():
            client.commit(channel, self.postgres.committed)

    def kill(self, worker: Worker) -> None:
        """A worker dies, the supervisor does what it must, and a successor is born."""
        for ear in worker.ears():
            ear.close()
        self.world.workers.dismiss(worker.number)
        self.listening_table().fence(worker.number)
        self.world.workers.send_all_on_errand(Errand.LOOK_AT_EARS)
        self.world.workers.enlist(worker.number, 2000)
        self.workers[worker.number] = self._make(worker.number)

    def listening_table(self) -> Any:
        return self.workers[0].listening._table

    def come_to_rest(self) -> None:
        """Everything that can be done without anything new is done."""
        is_busy = True
        while is_busy:
            is_busy = False
            for worker in self.workers:
                is_busy |= worker.read() or worker.run_errands(self.world)
                for ear in worker.ears():
                    is_busy |= ear.step(self.chance)

    def _make(self, number: int) -> Worker:
        return Worker(number, self.world, self.mailboxes, self.postgres)


@pytest.mark.parametrize("seed", range(150))
def test_in_any_order_nothing_is_missed_unawares_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(listening, "Ear", StepwiseEar)
    monkeypatch.setattr(demand, "CHANNELS_A_BATCH", 1 + seed % 3)
    together = Together(tmp_path, seed)
    for _ in range(STEPS):
        together.step()
    together.come_to_rest()
    assert not any(client.is_waiting for client in together.clients()), "somebody still waits"
    for channel in CHANNELS:
        together.notify(channel)
    together.come_to_rest()
    for client in together.clients():
        assert not any(client.owed.values()), f"not heard: {dict(client.owed)}"
        assert not any(client.missed.values()), f"missed without a warning: {dict(client.missed)}"
    wanted = frozenset().union(*(client.channels for client in together.clients()))
    assert frozenset().union(*(session.listens for session in together.postgres.sessions)) == wanted
    for worker in together.workers:
        for record in list(worker.clients):
            worker.leave(record)
    together.come_to_rest()
    for worker in together.workers:
        worker.listening.tick()
    assert together.postgres.sessions == []
    together.close()
