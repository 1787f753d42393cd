"""What a session keeps is there in its next transaction: as with PostgreSQL, to the message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fix_pgmux import MakePgmux
from tests.hidden.conversations import LARGE, PROTOCOL, SQL
from tests.integration import conversations as general
from tests.integration.conversations import TABLE, Turn, hold
from tests.integration.crowd import connect
from tests.servers import Pgmux, Postgres, Proxy
from tests.wire import Message, Wire
from tests.wire.frontend import query

ALL = general.CONVERSATIONS | PROTOCOL | SQL
ROAMING: dict[str, Any] = {
    "workers": 2,
    "roam": True,
    "default_pool_size": 3,
    "min_pool_size": 3,
}
MODES: dict[str, dict[str, Any]] = {
    "session": {"pool_mode": "session"},
    "session, BEGIN put off": {"pool_mode": "session", "deferred_begin": True},
    "transaction": {},
    "transaction, BEGIN put off": {"deferred_begin": True},
    "transaction, always another backend": ROAMING,
    "transaction, always another backend, BEGIN put off": ROAMING | {"deferred_begin": True},
    "transaction, three statements a backend": ROAMING | {"max_prepared_statements": 3},
}


def in_words(said: list[Message]) -> list[str]:
    """What was said, without the place in PostgreSQL's source that gave an error: it may be another."""
    return [
        str({key: value for key, value in message.fields.items() if key not in "FLR"})
        if message.type == b"E"
        else str(message)
        for message in said
    ]


def differences(talks: dict[str, list[Turn]], direct: Postgres, pooled: Pgmux, times: int = 2) -> list[str]:
    """The conversations, each with clients of its own, in which pgmux said something else than PostgreSQL."""
    found = []
    for title, turns in talks.items():
        with connect(direct) as one, connect(pooled) as other:
            expected = in_words(hold(one, turns))
            for _ in range(times):
                said = in_words(hold(other, turns))
                if said != expected:
                    found.append(f"{title}: {_first_difference(expected, said)}")
                    break
    return found


def _first_difference(expected: list[str], said: list[str]) -> str:
    for number, (one, other) in enumerate(zip(expected, said, strict=False)):
        if one != other:
            return f"message {number}: {one[:200]} became {other[:200]}"
    return f"{len(expected)} messages became {len(said)}"


@pytest.mark.parametrize("mode", MODES)
def test_a_session_is_the_same(make_pgmux: MakePgmux, postgres: Postgres, mode: str) -> None:
    postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(**MODES[mode])
    assert differences(ALL, postgres, pgmux) == []


def test_long_texts_and_many_parameters(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    pgmux = make_pgmux(**ROAMING, max_prepared_statements=3)
    assert differences(LARGE, postgres, pgmux) == []


def test_with_every_version(make_pgmux: MakePgmux, any_postgres: Postgres) -> None:
    any_postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(postgres=any_postgres, **ROAMING)
    assert differences(PROTOCOL | SQL, any_postgres, pgmux, times=1) == []


def test_two_clients_take_turns_on_one_backend(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    """Both have the same names, and each its own meaning of them."""
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with connect(postgres) as direct, connect(pgmux) as one, connect(pgmux) as other:
        for title, turns in (PROTOCOL | SQL).items():
            said: dict[Wire, list[Message]] = {direct: [], one: [], other: []}
            is_open = False
            for turn in turns:
                said[direct] += hold(direct, [turn])
                for wire in (one, other):
                    is_open = is_open or (wire is one and said[direct][-1].body != b"I")
            if is_open:
                continue  # a transaction over several turns holds the only backend
            for turn in turns:
                for wire in (one, other):
                    said[wire] += hold(wire, [turn])
            assert in_words(said[one]) == in_words(said[direct]), title
            assert in_words(said[other]) == in_words(said[direct]), title


@pytest.mark.parametrize("piece_bytes", [1, 13])
def test_however_the_clients_bytes_are_split(
    make_pgmux: MakePgmux, postgres: Postgres, piece_bytes: int
) -> None:
    pgmux = make_pgmux(workers=1)
    with Proxy(pgmux.host, pgmux.port) as proxy:
        proxy.to_server.piece_gap_s = proxy.to_client.piece_gap_s = 0.0
        proxy.split(piece_bytes)
        for title, turns in (PROTOCOL | SQL).items():
            with connect(postgres) as direct, Wire(proxy.host, proxy.port) as pooled:
                pooled.startup()
                assert in_words(hold(pooled, turns)) == in_words(hold(direct, turns)), title


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_however_they_are_split_and_joined(roaming: Pgmux, postgres: Postgres, data: st.DataObject) -> None:
    title = data.draw(st.sampled_from(sorted(PROTOCOL)))
    turns = PROTOCOL[title]
    with connect(postgres) as direct, connect(roaming) as pooled:
        expected = in_words(hold(direct, turns))
        for sent, awaited in turns:
            cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                pooled.send(sent[start:end])
            for position in range(len(awaited)):
                for message in in_words(list(pooled.read_until(awaited[position : position + 1]))):
                    assert message == expected.pop(0), title
        assert not expected


@pytest.fixture
def roaming(make_pgmux: MakePgmux) -> Pgmux:
    return make_pgmux(**ROAMING)


# Statement mode


def is_one_by_one(turns: list[Turn]) -> bool:
    """Whether a conversation has no transaction of several statements, and keeps no name in one."""
    sent = b"".join(sent for sent, _ in turns).upper()
    return not any(word in sent for word in (b"BEGIN", b"SAVEPOINT", b"ROLLBACK"))


def test_statement_mode_is_the_same_without_transactions(make_pgmux: MakePgmux, postgres: Postgres) -> None:
    postgres.sql(TABLE, "app", "app")
    pgmux = make_pgmux(pool_mode="statement", **ROAMING)
    talks = {title: turns for title, turns in ALL.items() if is_one_by_one(turns)}
    assert len(talks) > 40
    assert differences(talks, postgres, pgmux) == []


@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION", "SELECT 1; BEGIN", "BEGIN; SELECT 1"])
@pytest.mark.parametrize("is_put_off", [True, False])
def test_statement_mode_refuses_a_transaction_and_goes_on(
    make_pgmux: MakePgmux, postgres: Postgres, begin: str, is_put_off: bool
) -> None:
    pgmux = make_pgmux(pool_mode="statement", deferred_begin=is_put_off)
    with connect(pgmux) as wire:
        for _ in range(2):
            replies = wire.ask(query(begin))
            assert [error["C"] for error in replies.of(b"E")] == ["0A000"]
            assert replies[-1].body == b"I"
            assert wire.query("SELECT 1").value == b"1"
