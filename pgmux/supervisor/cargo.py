"""What a regent tells the successor of its pgmux, whose code is another version's: the words of that.

Encoded by msgspec as arrays: a field is only ever added at the end, with a default, and a field that is not known
is passed over. Whoever changes the meaning of one gives succession.FORMAT another number.
"""

from enum import IntEnum

import msgspec

from pgmux.supervisor.sayings import Sayings


class PoolRow(msgspec.Struct, array_like=True):
    """A pool, and what its clients are greeted with."""

    database: bytes
    user: bytes
    welcome: bytes


class SlotRow(msgspec.Struct, array_like=True):
    """A slot that is in use: it counts, and will come when it is free."""

    slot: int
    pool: int  # place in Census.pools
    private: int = 0
    expires_s: int = 0


class PoolName(msgspec.Struct, array_like=True, frozen=True):
    """Whose backend is wanted."""

    database: bytes
    user: bytes


class ClientRow(msgspec.Struct, array_like=True):
    """A client, as Clients.roll has it: what can be shown of it until it comes."""

    record: int
    serial: int
    pool: PoolName | int  # int: the console's, or none yet
    phase: int
    slot: int
    since_us: int
    connected_at_us: int
    transactions: int
    statements: int
    tls: int
    process: int
    port: int
    listener: int
    address: bytes
    application_name: bytes
    user: bytes

    @property
    def moment(self) -> tuple[int, int, int]:
        """As long as this is the same, so is the rest."""
        return self.serial, self.since_us, self.phase


class Census(msgspec.Struct, array_like=True):
    """All that is in use. What it does not name is the successor's at once."""

    pools: list[PoolRow]
    slots: list[SlotRow]
    clients: list[ClientRow]
    plans: int  # as Crossing.history
    definitions: int
    said: Sayings


class State(IntEnum):
    """What comes with a slot."""

    EMPTY = 0
    IDLE = 1  # a backend for whoever wants it
    LOST = 2  # one whose client was lost: it is to be cancelled and ended


class Cargo(msgspec.Struct, array_like=True):
    """A slot that is the successor's from now on; but for the state, as Crossing.describe has it."""

    state: State
    database: bytes = b""
    user: bytes = b""
    pid: int = 0
    key: bytes = b""
    settings: bytes | None = None
    statements: list[bytes] = []
    good_as_of: int = 0  # of Census.plans, its lower half: whether the statements are
    is_under_tls: bool = False
    opened_at_us: int = 0
    expires_s: int = 0
    lease_count: int = 0
    tls: int = 0
    address: bytes = b""
    port: int = 0
    local_address: bytes = b""
    local_port: int = 0
    plans: int = 0
    definitions: int = 0


def pack(words: Census | Cargo | PoolName | list[ClientRow]) -> bytes:
    """As bytes."""
    return msgspec.msgpack.encode(words)


def open_census(data: bytes) -> Census:
    """The inverse. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Census)


def open_name(data: bytes) -> PoolName:
    """The inverse. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=PoolName)


def open_roll(data: bytes) -> list[ClientRow]:
    """The inverse. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=list[ClientRow])


def open_cargo(data: bytes) -> Cargo:
    """The inverse. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Cargo)
