"""Notifications reach every client that listens, whichever worker it has, in order, and nobody else."""

from __future__ import annotations

import resource
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from loadtest.idle import raise_open_files
from pgmux.errors import PgmuxError
from tests.integration.census import Census
from tests.integration.crowd import Crowd
from tests.listening.conftest import MakeSwitchboard
from tests.listening.switchboard import LONGEST, Switchboard, notification, notifications, notify
from tests.servers import Postgres, wait_until
from tests.wire import Wire, frontend

ALL = 4000  # notifications of a flood
DESCRIPTORS = 12_000  # of ten thousand clients, and of the test itself


def test_a_notification_reaches_idle_clients_of_all_workers_with_the_pid_of_who_sent_it(
    make_switchboard: MakeSwitchboard, any_postgres: Postgres
) -> None:
    board = make_switchboard(workers=4, postgres=any_postgres)
    clients = board.a_client_on_each_worker().values()
    for client in clients:
        board.subscribe(client, "news")
    with any_postgres.connect() as notifier:
        notifier.execute("NOTIFY news, 'hello'")
        told = [client.read_message() for client in clients]
        assert {message["pid"] for message in told} == {notifier.info.backend_pid}
    assert [notification(message) for message in told] == 4 * [("news", "hello")]


def test_all_that_listen_cost_one_backend_of_each_database(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=4, default_pool_size=1)
    with Census(postgres) as census:
        for database in ("app", "postgres"):
            board.a_subscriber_on_each_worker(database=database)
        census.wait_for(4)
    assert {ear["place"].split(b"/")[-1] for ear in board.ears()} == {b"app", b"postgres"}
    assert board.channels() == 2 * 5
    assert census.most == 4  # a pool's backend and an ear each


def test_two_names_of_one_database_share_an_ear(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    way = {"host": str(postgres.socket_dir), "port": postgres.port, "dbname": "app"}
    board = make_switchboard(databases={"one": way, "other": way})
    ways = [(name, user) for name in ("one", "other") for user in ("app", "postgres")]
    clients = [board.connect(database=name, user=user) for name, user in ways]
    for client in clients:
        board.subscribe(client, "news")
    with postgres.connect() as notifier:
        notifier.execute("NOTIFY news")
    assert [notifications(client, 1) for client in clients] == 4 * [[("news", "")]]
    assert len(board.ears()) == 1


def test_who_listens_in_another_database_or_to_another_channel_hears_nothing(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard()
    client, elsewhere, other = board.connect(), board.connect(database="postgres"), board.connect()
    board.subscribe(client, "news")
    board.subscribe(elsewhere, "news", "end")
    board.subscribe(other, "New", "NEWS", "new", "end")
    notify(postgres, "news", "hello")
    assert notifications(client, 1) == [("news", "hello")]
    notify(postgres, "end")
    assert notifications(other, 1) == [("end", "")]
    notify(postgres, "end", dbname="postgres")
    assert notifications(elsewhere, 1) == [("end", "")]


def test_names_and_payloads_are_as_postgresql_has_them(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard()
    names = ['"', "a;b", "'", "LISTEN", "Größe", " ", "n" * 63, "\\"]
    client = board.connect()
    board.subscribe(client, *names)
    for name in names:
        notify(postgres, name, LONGEST)
        assert notifications(client, 1) == [(name, LONGEST)]


def test_all_hear_a_flood_in_the_order_in_which_it_was_committed(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """Four sessions notify at once on several channels; clients ask meanwhile, and get their answers too."""
    board = make_switchboard(workers=4, default_pool_size=2)
    channels = [f"channel {number}" for number in range(5)]
    listeners = [*board.a_client_on_each_worker().values(), *board.a_client_on_each_worker().values()]
    for client in listeners:
        board.subscribe(client, *channels, "end")

    def member(number: int) -> Iterator[None]:
        with postgres.connect() as notifier:
            for turn in range(ALL // 4):
                notifier.execute(
                    "SELECT pg_notify(%s, %s)", (channels[turn % 5], f"{number} {turn} {'x' * (turn % 300)}")
                )
                yield

    with Crowd(4, member) as crowd:
        for turn in range(50):
            for client in listeners[:4]:
                client.send(frontend.query(f"SELECT {turn}"))
        wait_until(lambda: not crowd.living(), 60, "the end of the flood")
    notify(postgres, "end")
    heard = [until_the_end(client) for client in listeners]
    assert len(heard[0]) == ALL
    assert all(each == heard[0] for each in heard)
    for number in range(4):
        turns = [int(payload.split()[1]) for _, payload in heard[0] if payload.startswith(f"{number} ")]
        assert turns == list(range(ALL // 4))


def test_a_flood_of_the_longest_payloads_loses_nothing(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """It is more than any mailbox or socket takes, and for a while no client reads."""
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker().values()
    for client in clients:
        board.subscribe(client, "news")
    with postgres.connect() as notifier, notifier.pipeline():
        for turn in range(500):
            notifier.execute("SELECT pg_notify('news', %s)", (f"{turn:04}{LONGEST[4:]}",))
    for client in clients:
        payloads = [payload for _, payload in notifications(client, 500)]
        assert [int(payload[:4]) for payload in payloads] == list(range(500))
        assert {len(payload) for payload in payloads} == {len(LONGEST)}


def test_a_worker_that_stands_still_for_a_while_misses_nothing(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """Its mailbox is full meanwhile: PostgreSQL keeps what comes for it."""
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    for client in clients.values():
        board.subscribe(client, "news")
    other = 1 - board.holder()
    with Stopped(board, other), postgres.connect() as notifier, notifier.pipeline():
        for turn in range(3000):
            notifier.execute("SELECT pg_notify('news', %s)", (f"{turn} {'x' * 900}",))
    for client in clients.values():
        assert [int(payload.split()[0]) for _, payload in notifications(client, 3000)] == list(range(3000))


def test_one_client_may_listen_to_thousands_of_channels(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    names = [f"{number:04} {'n' * 58}" for number in range(3000)]
    one, other = board.a_client_on_each_worker().values()
    board.subscribe(one, *names[:2000])
    board.subscribe(other, *names[1000:])
    assert board.channels() == 3000
    for at, hearing in ((0, [one]), (1500, [one, other]), (2999, [other])):
        notify(postgres, names[at], "x")
        for client in hearing:
            assert notifications(client, 1) == [(names[at], "x")]
    board.subscribe(one, names[0])
    wait_until(lambda: board.channels() == 2001, what="PostgreSQL to forget a thousand channels")


# What a client hears, and when


def test_a_client_in_a_transaction_hears_at_its_end(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    one, other = board.a_client_on_each_worker().values()
    for client in (one, other):
        board.subscribe(client, "news")
    one.query("BEGIN")
    for payload in ("1", "2"):
        notify(postgres, "news", payload)
    assert notifications(other, 2) == [("news", "1"), ("news", "2")]
    assert one.query("SELECT 1").types == b"TDCZ"
    assert one.query("COMMIT").types == b"CZ"
    assert notifications(one, 2) == [("news", "1"), ("news", "2")]
    assert one.query("SELECT 1").types == b"TDCZ"


def test_a_client_that_waits_for_a_backend_hears_at_once(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2, default_pool_size=1)
    with board.connect() as holder:
        client = board.connect()
        board.subscribe(client, "news")
        holder.query("BEGIN")
        client.send(frontend.query("SELECT 1"))
        board.wait_for_waiting(1)
        notify(postgres, "news", "hello")
        assert notifications(client, 1) == [("news", "hello")]
        holder.query("COMMIT")
    assert client.read_until(b"Z").types == b"TDCZ"


def test_what_was_committed_before_a_client_listens_is_not_for_it(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    """Others listen to the channel already, and what they hear is on its way."""
    board = make_switchboard(workers=2)
    busy = [*board.a_client_on_each_worker().values()]
    for client in busy:
        board.subscribe(client, "news", "end")
    with postgres.connect() as notifier:
        for turn in range(100):
            with board.connect() as client:
                notifier.execute(f"NOTIFY news, 'before {turn}'")
                board.subscribe(client, "news")
                notifier.execute(f"NOTIFY news, 'after {turn}'")
                assert notifications(client, 1) == [("news", f"after {turn}")]
    notify(postgres, "end")
    for client in busy:
        assert len(until_the_end(client)) == 200


def test_who_catches_up_has_heard_all_that_was_committed(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker().values()
    for client in clients:
        board.subscribe(client, "news")
    with postgres.connect() as notifier:
        for turn in range(100):
            notifier.execute(f"NOTIFY news, '{turn}'")
            for client in clients:
                board.catch_up(client).wait()
                assert not client.is_silent(0)
                assert notifications(client, 1) == [("news", str(turn))]
    with board.connect() as stranger:
        board.catch_up(stranger).wait()


def test_a_channel_that_a_client_has_left_is_not_heard_even_of_what_was_kept_for_it(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1)
    client, other = board.connect(), board.connect()
    board.subscribe(client, "a", "b")
    board.subscribe(other, "a", "b")
    client.query("BEGIN")
    for channel in "abab":
        notify(postgres, channel)
    assert len(notifications(other, 4)) == 4
    board.subscribe(client, "b")
    assert client.query("COMMIT").types == b"CZ"
    assert notifications(client, 2) == [("b", ""), ("b", "")]
    notify(postgres, "a")
    notify(postgres, "b", "later")
    assert notifications(client, 1) == [("b", "later")]


def test_a_client_that_left_all_channels_hears_nothing(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1)
    client, other = board.connect(), board.connect()
    board.subscribe(client, "a", "b")
    board.subscribe(other, "b")
    board.subscribe(client)
    wait_until(lambda: board.channels() == 1, what="PostgreSQL to be told")
    wait_until(lambda: board.listening() == 1, what="one client that listens")
    notify(postgres, "b")
    assert notifications(other, 1) == [("b", "")]
    assert client.query("SELECT 1").types == b"TDCZ"


def test_of_clients_that_go_nothing_is_left(make_switchboard: MakeSwitchboard, postgres: Postgres) -> None:
    board = make_switchboard(workers=2, server_idle_timeout="500ms")
    for turn in range(3):
        clients = [board.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            board.subscribe(client, "news", f"my own {number}")
        wait_until(lambda: board.listening() == 10, what="ten clients that listen")
        for client in clients[:5]:
            client.close()
        for client in clients[5:]:
            client.terminate()
        wait_until(lambda: (board.listening(), board.channels()) == (0, 0), what="the end of all channels")
        if turn % 2:
            wait_until(
                lambda: not postgres.backends(application="pgmux listening"), what="the end of the ear"
            )
            assert [ear["worker"] for ear in board.ears()] == [None]


def test_a_client_that_reads_nothing_is_sent_off_with_the_reason_and_harms_nobody(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1)
    deaf, client = board.connect(), board.connect()
    board.subscribe(deaf, "news")
    board.subscribe(client, "news")
    with postgres.connect() as notifier:
        turn = 0
        while board.counts("notifications_dropped") == [0]:
            notifier.execute("SELECT pg_notify('news', %s)", (f"{turn:05}{LONGEST[5:]}",))
            assert notification(client.read_message())[1][:5] == f"{turn:05}"
            turn += 1
    *heard, farewell = deaf.read_to_the_end()
    assert (farewell.fields["S"], farewell.fields["C"]) == ("FATAL", "54000")
    assert "4 MB" in farewell.fields["M"]
    assert [int(notification(each)[1][:5]) for each in heard] == list(range(len(heard)))
    assert board.counts("notifications")[0] == turn + len(heard)
    assert board.log_contains("takes no notifications")


def test_a_client_whose_transaction_lasts_too_long_may_finish_it(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=1)
    client = board.connect()
    board.subscribe(client, "news")
    client.query("BEGIN; CREATE TABLE finished (n int)")
    with postgres.connect() as notifier:
        while board.counts("notifications_dropped") == [0]:
            with notifier.pipeline():
                for _ in range(100):
                    notifier.execute("SELECT pg_notify('news', clock_timestamp() || %s)", (LONGEST[100:],))
        assert client.query("COMMIT").types == b"CZ"
        assert client.read_to_the_end().sqlstate == "54000"
        notifier.execute("DROP TABLE finished")


def test_cancel_requests_pass_a_flood(make_switchboard: MakeSwitchboard, postgres: Postgres) -> None:
    board = make_switchboard(workers=2)
    clients = board.a_client_on_each_worker()
    for client in clients.values():
        board.subscribe(client, "news")
    long = "SELECT pg_sleep(60)"
    question = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = '{long}'"

    sent, heard = Counter[int](), Counter[int](dict.fromkeys(clients, 0))

    def member(number: int) -> Iterator[None]:
        """Two that notify, and the two who hear it, who must not fall behind by what is kept for them."""
        if number in clients:
            while notifications(clients[number], 1):
                heard[number] += 1
                yield
        with postgres.connect() as notifier:
            try:
                while True:
                    wait_until(lambda: sent.total() < min(heard.values()) + 200, what="who hears to keep up")
                    notifier.execute("SELECT pg_notify('news', %s)", (LONGEST,))
                    sent[number] += 1
                    yield
            finally:  # who hears may be waiting for one more
                notifier.execute("SELECT pg_notify('news', %s)", (LONGEST,))

    with Crowd(4, member) as crowd:
        crowd.wait_for_rounds(50)
        with board.connect_to(1 - board.holder()) as client:
            for _ in range(5):
                client.send(frontend.query(long))
                wait_until(lambda: postgres.sql(question), what="the query to run")
                client.cancel()
                assert client.read_until(b"Z").sqlstate == "57014"
                crowd.wait_for_rounds(20)


@pytest.fixture
def descriptors_for_ten_thousand() -> Iterator[None]:
    """A login shell's limit is 1,024 open files, as a rule."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        raise_open_files(DESCRIPTORS)
    except PgmuxError as error:
        pytest.skip(str(error))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("descriptors_for_ten_thousand")
def test_ten_thousand_clients_that_listen_cost_one_backend(
    make_switchboard: MakeSwitchboard, postgres: Postgres
) -> None:
    board = make_switchboard(workers=2, max_client_conn=10_100, default_pool_size=2)
    clients = [board.connect_quietly() for _ in range(10_000)]
    requests = [board.ask(client, "all", f"some {at % 100}") for at, client in enumerate(clients)]
    for request in requests:
        request.wait(60)
    assert postgres.backends(application="pgmux listening") == 1
    assert postgres.backends() <= 3
    wait_until(lambda: board.listening() == 10_000, timeout=60, what="ten thousand clients that listen")
    assert board.channels() == 101
    notify(postgres, "all", "hello")
    notify(postgres, "some 7", "you")
    for at, client in enumerate(clients):
        assert notifications(client, 1) == [("all", "hello")]
        if at % 100 == 7:
            assert notifications(client, 1) == [("some 7", "you")]
    for client in clients:
        client.close()


def until_the_end(client: Wire) -> list[tuple[str, str]]:
    """All notifications until that on the channel "end"; answers to queries are left out."""
    heard: list[tuple[str, str]] = []
    while True:
        message = client.read_message()
        if message.type == b"A":
            if message["channel"] == "end":
                return heard
            heard.append(notification(message))


class Stopped:
    """A worker that does not move while a with statement lasts; less than what pgmux allows it."""

    def __init__(self, board: Switchboard, worker: int) -> None:
        self._board = board
        self._pid = board.pid_of(worker)

    def __enter__(self) -> None:
        self._board.pgmux.kill_worker(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self._board.pgmux.kill_worker(self._pid, signal.SIGCONT)
