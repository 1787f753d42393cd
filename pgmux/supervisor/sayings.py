"""Sayings: what the operator has said in one segment, repeated in another.

While there are two of them (regent.py), commands are given in the successor's. Its supervisor tells the regent all
that stands there, whenever that is another thing than before, and the regent makes it true in its own. What is told is
a state and no event: whatever was missed or came late, the next has all of it.

Whoever gives a command waits until the regent has answered to a state that was read after it was given
(Board.is_heeded). What SHUTDOWN and the signals ask is told to both sides in other ways: see main.py.
"""

import msgspec

from pgmux.shm.pools import Pools
from pgmux.shm.workers import Errand


class Saying(msgspec.Struct, array_like=True, frozen=True):
    """What was said of one database. Moments as the board has them, which is of use for telling them apart alone."""

    database: bytes
    is_paused: bool = False
    is_disabled: bool = False
    killed_at_us: int = 0
    reconnect_at_us: int = 0


class Sayings(msgspec.Struct, array_like=True, frozen=True):
    """All that is in force."""

    is_paused: bool = False
    killed_at_us: int = 0
    databases: tuple[Saying, ...] = ()
    configuration: int = 0
    reloads: int = 0
    changes: bytes = b""  # what SET has changed since the last RELOAD


def collect(pools: Pools) -> Sayings:
    """What has been said in a segment."""
    board = pools.board
    return Sayings(
        is_paused=pools.is_paused,
        killed_at_us=board.killed_all_at,
        databases=tuple(
            Saying(
                row["name"],
                row["is_paused"],
                row["is_disabled"],
                row["killed_at_us"],
                row["reconnect_at_us"],
            )
            for row in board.rows()
        ),
        configuration=board.configuration,
        reloads=board.reloads,
        changes=board.settings(),
    )


def lasting(said: Sayings) -> Sayings:
    """What of it holds for who comes later: pauses, and what is disabled. A KILL means those who were there."""
    databases = tuple(Saying(each.database, each.is_paused, each.is_disabled) for each in said.databases)
    return Sayings(said.is_paused, databases=databases)


def repeat(said: Sayings, before: Sayings, pools: Pools) -> None:
    """Say in a segment what has been said elsewhere since `before`; but for the configuration. Raises BoardFull."""
    if said.is_paused != before.is_paused:
        (pools.pause if said.is_paused else pools.resume)()
    if said.killed_at_us != before.killed_at_us:
        pools.board.kill_all()
    known = {each.database: each for each in before.databases}
    for each in said.databases:
        was = known.get(each.database, Saying(each.database))
        if each != was:
            _repeat_of_database(each, was, pools)
    pools.workers.send_all_on_errand(Errand.KILL_CLIENTS | Errand.OPEN_BACKENDS)


def _repeat_of_database(said: Saying, before: Saying, pools: Pools) -> None:
    board = pools.board
    database = board.register(said.database)
    if said.is_paused != before.is_paused:
        (board.pause if said.is_paused else board.resume)(database)
    if said.is_disabled != before.is_disabled:
        (board.disable if said.is_disabled else board.enable)(database)
    if said.killed_at_us != before.killed_at_us:
        board.kill(database)
    if said.reconnect_at_us != before.reconnect_at_us:
        pools.renewal.reconnect(database)


def pack(said: Sayings) -> bytes:
    """As bytes."""
    return msgspec.msgpack.encode(said)


def unpack(data: bytes) -> Sayings:
    """The inverse. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Sayings)
