"""Workers killed, backends killed, PostgreSQL away: nobody's channels are forgotten, and nothing is missed
unawares.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest

from tests.integration.census import Census
from tests.integration.crowd import Crowd
from tests.listening.conftest import MakeSwitchboard
from tests.listening.switchboard import LONGEST, Switchboard, notifications, notify
from tests.servers import Postgres, wait_until
from tests.wire import Message, Wire, WireClosedError

LOST = (WireClosedError, ConnectionResetError, BrokenPipeError)


def test_when_the_holder_is_killed_the_others_clients_hear_on_and_are_warned(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=4)
    clients = board.a_subscriber_on_each_worker()
    victim = board.holder()
    clients.pop(victim).close()
    with Census(postgres) as census:
        board.pgmux.kill_worker(board.pid_of(victim))
        for client in clients.values():
            assert is_warned(client)
        census.wait_for(2)  # a pool's backend and the ear
    assert board.channels() == 4
    notify(postgres, "news", "hello")
    for number, client in clients.items():
        notify(postgres, f"only {number}", "you")
        assert notifications(client, 2) == [("news", "hello"), (f"only {number}", "you")]


def test_when_the_only_worker_is_killed_its_successor_serves_as_before(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1)
    for turn in range(3):
        client = board.connect()
        board.subscribe(client, "news")
        notify(postgres, "news", str(turn))
        assert notifications(client, 1) == [("news", str(turn))]
        pid = board.pgmux.kill_worker(board.pid_of(0))
        with pytest.raises(WireClosedError):
            client.read_message()
        wait_until(lambda pid=pid: board.pid_of(0) not in (0, pid), what="a successor")  # type: ignore[misc]


def test_a_worker_that_dies_leaves_no_channels_behind_and_keeps_nobody_waiting(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """It stands still first, in a flood: the ear waits for room in its mailbox."""
    board = make_switchboard(workers=2)
    clients = board.a_subscriber_on_each_worker()
    holder = board.holder()
    doomed = 1 - holder
    pid = board.pgmux.kill_worker(board.pid_of(doomed), signal.SIGSTOP)
    with postgres.connect() as notifier, notifier.pipeline():
        for turn in range(300):
            notifier.execute("SELECT pg_notify('news', %s)", (f"{turn:03}{LONGEST[3:]}",))
    board.pgmux.kill_worker(pid)
    assert [int(payload[:3]) for _, payload in notifications(clients[holder], 300)] == list(range(300))
    wait_until(lambda: board.channels() == 2, what="PostgreSQL to forget what only the dead wanted")
    assert board.holder() == holder


def test_when_its_backend_is_killed_another_listens_to_everything_and_clients_are_warned(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    for number, client in clients.items():
        board.subscribe(client, "news", *(f"{number} {count}" for count in range(1500)))
    (ear,) = postgres.backend_pids(application="pgmux listening")
    with Census(postgres) as census:
        postgres.kill_backend(ear)
        for client in clients.values():
            assert is_warned(client)
        census.wait_for(2)
    assert board.channels() == 3001
    notify(postgres, "news", "hello")
    for number, client in clients.items():
        notify(postgres, f"{number} 1499", "you")
        assert notifications(client, 2) == [("news", "hello"), (f"{number} 1499", "you")]
    assert sum(board.counts("ears_lost")) == 1
    assert [ear["losses"] for ear in board.ears()] == [1]
    board.pgmux.wait_for_log(r"WARNING worker .*listens in app at .* is gone \(57P01: terminating connection")
    board.pgmux.wait_for_log(r"WARNING worker .*listening again in app at .*, to 3001 channels")


def test_a_backend_that_answers_no_more_is_replaced(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """As when its host is gone: nothing tells the end of the connection."""
    board = make_switchboard(workers=1, environ={"PGMUX_TEST_PROBE_SECONDS": "0.3"})
    client = board.connect()
    board.subscribe(client, "news")
    (silent,) = postgres.backend_pids(application="pgmux listening")
    os.kill(silent, signal.SIGSTOP)
    try:
        assert is_warned(client)
        board.pgmux.wait_for_log(r"is gone \(no answer within 0\.3s\)")
        notify(postgres, "news", "hello")
        assert notifications(client, 1) == [("news", "hello")]
    finally:
        os.kill(silent, signal.SIGCONT)


def test_a_backend_that_has_nothing_to_say_for_long_is_not_taken_for_dead(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1, environ={"PGMUX_TEST_PROBE_SECONDS": "0.1"})
    client = board.connect()
    board.subscribe(client, "news")
    assert client.is_silent(1.5)
    assert board.counts("ears_lost") == [0]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_when_postgresql_restarts_everything_is_listened_to_again(
    make_switchboard: MakeSwitchboard, postgres: Postgres, mode: str
) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    for client in clients.values():
        board.subscribe(client, "news")
    postgres.stop(mode)  # type: ignore[arg-type]
    board.pgmux.wait_for_log("cannot listen in app at .*: 08001: No such file or directory")
    waiting = board.ask(clients[0], "news", "more")
    assert not waiting.is_done()
    postgres.start()
    for client in clients.values():
        assert is_warned(client)
    waiting.wait()
    notify(postgres, "news")
    notify(postgres, "more")
    assert notifications(clients[0], 2) == [("news", ""), ("more", "")]
    assert notifications(clients[1], 1) == [("news", "")]
    assert len(board.pgmux.log_file.lines("cannot listen in app at .*: .*No such file")) == 1


def test_who_wants_to_listen_while_postgresql_is_away_waits_and_is_not_warned(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    postgres.stop()
    requests = [board.ask(client, "news") for client in clients.values()]
    board.pgmux.wait_for_log("cannot listen in app at .*: .*No such file or directory")
    assert not any(request.is_done() for request in requests)
    postgres.start()
    for request in requests:
        request.wait()
    notify(postgres, "news", "hello")
    for client in clients.values():
        assert notifications(client, 1) == [("news", "hello")]


def test_a_client_that_waits_to_listen_is_served_by_whoever_takes_over(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """The holder dies before it has reached PostgreSQL."""
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    postgres.stop()
    requests = {number: board.ask(client, "news") for number, client in clients.items()}
    (ear,) = wait_until(board.ears, what="an ear")
    victim = ear["worker"]
    board.pgmux.kill_worker(board.pid_of(victim))
    wait_until(lambda: board.ears()[0]["worker"] == 1 - victim, what="another holder")
    postgres.start()
    requests[1 - victim].wait()
    notify(postgres, "news", "hello")
    assert notifications(clients[1 - victim], 1) == [("news", "hello")]


def test_a_user_who_is_not_let_in_any_more_keeps_no_other_from_listening(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    postgres.sql("CREATE ROLE passing LOGIN")
    first, second = board.connect(user="passing"), board.connect()
    first.close()
    second.query("SELECT 1")
    first = board.connect(user="passing")
    for pid in postgres.backend_pids(user="passing"):
        postgres.kill_backend(pid)
    postgres.sql("ALTER ROLE passing NOLOGIN")
    requests = [board.ask(client, "news") for client in (first, second)]
    for request in requests:
        request.wait()
    notify(postgres, "news", "hello")
    for client in (first, second):
        assert notifications(client, 1) == [("news", "hello")]
    first.close()
    postgres.sql("DROP ROLE passing")


def test_a_name_that_postgresql_refuses_keeps_no_other_client_waiting(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    odd = board.ask(clients[0], "news", b"\xff")
    board.pgmux.wait_for_log("cannot listen to all channels in .*: 22021: invalid byte sequence")
    for number in range(3):
        board.subscribe(clients[1], "news", str(number))
    notify(postgres, "2", "hello")
    assert notifications(clients[1], 1) == [("2", "hello")]
    assert not odd.is_done()
    board.ask(clients[0], "news").wait()
    notify(postgres, "news", "hello")
    for client in clients.values():
        assert notifications(client, 1) == [("news", "hello")]


def test_limits_of_its_role_do_not_end_the_ear(make_switchboard: MakeSwitchboard, postgres: Postgres) -> None:
    postgres.sql("CREATE ROLE hasty LOGIN")
    for name in ("idle_session_timeout", "statement_timeout"):
        postgres.sql(f"ALTER ROLE hasty SET {name} = '200ms'")
    board = make_switchboard(workers=1)
    client = board.connect(user="hasty")
    board.subscribe(client, "news")
    assert client.is_silent(0.6)
    notify(postgres, "news", "hello")
    assert notifications(client, 1) == [("news", "hello")]
    assert sum(board.counts("ears_lost", board.ears()[0]["ear"])) == 0
    client.close()
    board.pgmux.stop()
    postgres.sql("DROP ROLE hasty")


def test_a_reload_that_moves_a_database_takes_its_listeners_along(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    way = {"host": str(postgres.socket_dir), "port": postgres.port, "dbname": "app"}
    databases = {"app": way, "other": {**way, "dbname": "postgres"}}
    board = make_switchboard(workers=2, databases=databases)
    clients = board.a_client_on_each_worker()
    for client in clients.values():
        board.subscribe(client, "news")
    way["dbname"] = "postgres"
    board.pgmux.write_configuration()
    board.pgmux.signal(signal.SIGHUP)
    for client in clients.values():
        assert is_warned(client)
    notify(postgres, "news", "here no more")
    notify(postgres, "news", "here", dbname="postgres")
    for client in clients.values():
        assert notifications(client, 1) == [("news", "here")]


@pytest.mark.timeout(180)
def test_whatever_dies_at_any_instant_what_is_missed_is_missed_with_a_warning(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """Workers and listening backends are killed in a flood. Each client hears an ascending row of numbers;
    after a gap, a warning follows sooner or later."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    board = make_switchboard(workers=4)

    def notifier(number: int) -> Iterator[None]:
        yield from counts_up(postgres, number)

    def listener(number: int) -> Iterator[None]:
        while True:
            try:
                yield from hears(board, 2)
            except LOST:
                yield

    with Crowd(2, notifier), Crowd(12, listener) as crowd:
        crowd.wait_for_rounds(20)
        for _ in range(12):
            crowd.last(chance.uniform(0, 0.4))
            if chance.random() < 0.5:
                victim = board.pgmux.kill_worker(chance.choice(wait_until(board.pgmux.worker_pids)))
                wait_until(lambda victim=victim: victim not in board.pgmux.worker_pids(), what="its end")  # type: ignore[misc]
            else:
                postgres.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'pgmux listening'"
                )
        wait_until(lambda: len(board.pgmux.worker_pids()) == 4, 20, "four workers")
        crowd.wait_for_rounds(20)
    wait_until(lambda: board.listening() == 0, what="the end of all listening")
    assert len(postgres.backend_pids(application="pgmux listening")) <= 1


def counts_up(postgres: Postgres, number: int) -> Iterator[None]:
    """Notifies of one number after the other, on a channel of its own."""
    with postgres.connect() as notifier:
        turn = 0
        while True:
            notifier.execute("SELECT pg_notify(%s, %s)", (f"channel {number}", str(turn)))
            turn += 1
            yield


def hears(board: Switchboard, channels: int) -> Iterator[None]:
    """A client's life: from its LISTEN on it hears every number once, in order, or is warned."""
    with board.connect_quietly() as client:
        try:
            board.subscribe(client, *(f"channel {number}" for number in range(channels)))
        except (AssertionError, OSError) as error:
            raise WireClosedError(f"its worker is gone, {error}") from None
        last: dict[str, int] = {}
        is_to_be_warned, left = False, chance_of_leaving()
        while left > 0 or is_to_be_warned:
            left -= 1
            message = client.read_message()
            if message.type == b"N":
                is_to_be_warned = False
                continue
            channel, number = message["channel"], int(message["payload"])
            before = last.get(channel, number - 1)
            assert number > before, f"{channel}: {number} after {before}"
            is_to_be_warned = is_to_be_warned or number != before + 1
            last[channel] = number
            yield


def chance_of_leaving() -> int:
    """After how many messages a client goes and another comes."""
    return random.randrange(50, 1000)


def is_warned(client: Wire) -> bool:
    """Whether the next that a client hears is that it may have missed something."""
    message: Message = client.read_message()
    fields = message.fields
    return (message.type, fields["S"], fields["C"]) == (b"N", "WARNING", "01000") and "missed" in fields["M"]
