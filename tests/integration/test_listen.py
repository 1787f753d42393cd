"""LISTEN and NOTIFY in transaction mode, by drivers that know nothing of pgmux."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.integration.census import Census
from tests.integration.crowd import connect
from tests.integration.inside import Inside
from tests.servers import Postgres

LONGEST = "x" * 7999  # PostgreSQL allows less than 8,000

Connection = psycopg.Connection[tuple[Any, ...]]


def test_clients_of_any_worker_hear_what_clients_of_any_worker_notify(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=4, default_pool_size=2)
    inside = Inside(pgmux)
    with ExitStack() as stack:
        notifier, *listeners = [stack.enter_context(pgmux.connect()) for _ in range(13)]
        workers = {inside.worker_of(listener) for listener in listeners}
        census = stack.enter_context(Census(postgres))
        for listener in listeners:
            listener.execute("LISTEN news")
        for turn in range(20):
            notifier.execute("SELECT pg_notify('news', %s)", (f"{turn} {LONGEST[10:]}",))
        heard = [payloads(listener, 20) for listener in listeners]
    assert heard == [[f"{turn} {LONGEST[10:]}" for turn in range(20)]] * 12
    assert len(workers) > 1
    assert census.most <= 3  # the pool's two and the one that listens


@pytest.mark.parametrize(
    "notify", ["NOTIFY {}, 'x'", "SELECT pg_notify('{}', 'x')", "BEGIN; NOTIFY {}; COMMIT"]
)
def test_who_listens_hears_itself_before_its_transaction_is_over(
    make_pgmux: MakePgmux, postgres: Postgres, notify: str
) -> None:
    pgmux = make_pgmux(workers=2)
    with connect(postgres) as direct, connect(pgmux) as pooled:
        direct.query("LISTEN direct")
        pooled.query("LISTEN pooled")
        for _ in range(20):
            expected = direct.query(notify.format("direct")).types
            assert b"A" in expected
            assert pooled.query(notify.format("pooled")).types == expected


def test_listen_counts_from_commit_and_not_after_rollback(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2)
    with pgmux.connect(autocommit=False) as listener, pgmux.connect() as notifier:
        listener.execute("LISTEN undone")
        listener.rollback()
        listener.execute("LISTEN done")
        notifier.execute("NOTIFY done, 'too early'")
        listener.commit()
        for channel in ("undone", "done"):
            notifier.execute(f"NOTIFY {channel}, 'in time'")
        assert [(each.channel, each.payload) for each in hear(listener, 1)] == [("done", "in time")]
        listener.execute("UNLISTEN *")
        notifier.execute("NOTIFY done, 'still'")
        listener.rollback()
        assert payloads(listener, 1) == ["still"]
        listener.execute("UNLISTEN done")
        listener.commit()
        notifier.execute("NOTIFY done, 'too late'")
        assert payloads(listener, 1) == []


def test_a_client_hears_itself_once_whatever_backend_it_had_before(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=2)
    with pgmux.connect() as client, pgmux.connect() as other:
        client.execute("LISTEN news")
        for held in (False, True):
            if held:
                other.execute("BEGIN")  # on the backend that the client had
            notifying = client.execute("SELECT pg_backend_pid(), pg_notify('news', 'me')").fetchone()
            assert notifying is not None
            assert [(each.payload, each.pid) for each in hear(client, 2)] == [("me", notifying[0])]


def test_what_is_notified_in_a_transaction_comes_at_its_commit(
    make_pgmux: MakePgmux, postgres: Postgres
) -> None:
    pgmux = make_pgmux(workers=2)
    with pgmux.connect() as listener, pgmux.connect(autocommit=False) as notifier:
        listener.execute("LISTEN news")
        for end in (notifier.rollback, notifier.commit):
            notifier.execute("SELECT pg_notify('news', %s)", (end.__name__,))
            end()
        assert payloads(listener, 2) == ["commit"]


def test_asyncpg_s_listeners_are_called(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(workers=2)

    async def listen() -> list[tuple[str, str]]:
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        listener = await asyncpg.connect(pgmux.connect_url(), statement_cache_size=0)
        notifier = await asyncpg.connect(pgmux.connect_url(), statement_cache_size=0)
        try:
            await listener.add_listener(
                "news", lambda _connection, _pid, channel, payload: heard.put_nowait((channel, payload))
            )
            await notifier.execute("NOTIFY news, 'hello'")
            return [await asyncio.wait_for(heard.get(), 2)]
        finally:
            await listener.close()
            await notifier.close()

    assert asyncio.run(listen()) == [("news", "hello")]


def hear(connection: Connection, number: int) -> list[psycopg.Notify]:
    """So many notifications, fewer if no more come for a while."""
    return list(connection.notifies(timeout=1, stop_after=number))


def payloads(connection: Connection, number: int) -> list[str]:
    """The same, what they say alone."""
    return [each.payload for each in hear(connection, number)]
