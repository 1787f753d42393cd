"""The parcel: what a client's session takes along when another worker is to serve it.

Everything that pgmux keeps of a client between two transactions, and nothing else: with its socket and its
record in shared memory this is the client. Both ends are workers of one pgmux, of which one may be newer: a
field is only ever added at the end, with a default.
"""

import msgspec

from pgmux.session.studies import Study


class ParcelledStatement(msgspec.Struct, frozen=True, array_like=True):
    """A prepared statement, and what its client calls it."""

    name: bytes  # the client's
    id: bytes  # 16 bytes
    body: bytes  # of the Parse, from the text on
    sql: bytes  # the PREPARE, where the session did so in SQL
    traces: int
    study: Study | None
    told: int = 0  # digest of the columns that its client knows
    defined: int = 0  # as of which definitions it has prepared it


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """A session on its way."""

    pool: int
    tenancy: int  # of the pool's record; with another it is found again by its names
    database: bytes
    user: bytes
    connected_at_us: int  # with `secret`: which client the record must still be
    secret: bytes
    mode: int  # PoolMode
    is_unix: bool
    settings: bytes  # packed, as SessionSettings.raw
    startup: bytes  # the same
    unsure: bytes  # names, each followed by a zero byte
    backslashes: bool
    statements: list[ParcelledStatement]
    unnamed: bytes  # the unnamed statement: a Parse's body from the text on; empty = none
    unnamed_traces: int
    unnamed_study: Study | None
    unnamed_told: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Parcel)


def pack_parcel(parcel: Parcel) -> bytes:
    """The parcel as bytes. Raises UnicodeEncodeError where a name in it is no text."""
    return _ENCODER.encode(parcel)


def open_parcel(data: bytes) -> Parcel:
    """The inverse. Raises msgspec.ValidationError."""
    return _DECODER.decode(data)
