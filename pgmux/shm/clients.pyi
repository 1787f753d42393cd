"""Client records: one fixed record a client, written by the worker that holds it alone."""

from collections.abc import Iterable
from typing import Any, TypedDict

from pgmux.shm.segment import Segment

class _ClientRow(TypedDict):
    client: int
    number: int
    worker: int | None  # None: it is still to come from another segment
    pool: int
    phase: int
    listener: int
    tls: int  # 0 = not encrypted
    slot: int | None
    since_us: int
    connected_at_us: int
    transactions: int
    statements: int
    process: int  # 0 = not known
    address: bytes
    port: int
    application_name: bytes
    user: bytes

class Clients:
    """The client records of one segment, as seen by one process."""

    def __init__(self, segment: Segment) -> None: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def limit(self) -> int: ...
    def try_claim(self, worker: int) -> int | None:
        """A record for a client of the worker, or None when all are taken, the spare ones too."""

    def give_back(self, record: int) -> None:
        """The client is gone: its record is free for another."""

    def introduce(self, record: int, address: bytes, port: int) -> None:
        """Write down where the client of a claimed record comes from."""

    def admit(self, record: int, secret: bytes, pool: int, application_name: bytes) -> None:
        """Fill in the rest of a claimed record when its client has logged in. `secret`: its cancel key.

        That has 4 to 32 bytes; none is for a client that never cancels. Raises ValueError for another length.
        """

    def name_user(self, record: int, user: bytes) -> None:
        """Write down who the client of a claimed record has logged in as: before it is admitted."""

    def number_of(self, record: int) -> int:
        """The number of the client that has a record now: 1 and more, the same for no other client."""

    def find_number(self, number: int) -> tuple[int, int] | None:
        """(record, worker) of the client with that number, or None when it has gone."""

    def find(self, record: int, secret: bytes) -> int | None:
        """The worker that holds the client a cancel key names, or None when the key is not good."""

    def hand_over(self, record: int, giver: int, heir: int) -> bool:
        """A client is about to be sent to another worker. Whether it was the giver's."""

    def take_back(self, record: int, giver: int, heir: int) -> bool:
        """It could not be sent. Whether it is the giver's again."""

    def receive(self, record: int, giver: int, heir: int, connected_at_us: int, secret: bytes) -> bool:
        """A client has come from another worker. Whether it is the heir's now; if not, its socket is to be closed."""

    def disown(self, record: int, giver: int, heir: int) -> None:
        """What has come from another worker cannot be served: the record is free for another, if it still is that."""

    def unused_of(self, records: Iterable[int]) -> list[int]:
        """Those of the records that nobody has any more."""

    def roll(self, told: dict[int, tuple[int, int, int]]) -> list[dict[str, Any]]:
        """What the records of clients that have not gone over tell, for `note_away`, as dicts: those of whom another
        (serial, since_us, phase) than this has been `told`, by record."""

    def set_aside(self, record: int) -> bool:
        """A record's client is in the other segment, and may come. Whether the record was nobody's."""

    def note_away(self, pool: int, row: Any) -> None:
        """Write down what `roll` has told of a client that is still to come. Not if it has come, or will not."""

    def is_away(self, record: int) -> bool:
        """Whether a record's client is still to come from the other segment."""

    def find_away(self, number: int) -> int | None:
        """The record of the client with that number, if it is still to come from the other segment; else None."""

    def send_over(self, record: int, worker: int) -> bool:
        """A client is about to be sent to a worker of the other segment. Whether it was the worker's."""

    def has_gone_over(self, record: int, worker: int) -> None:
        """It was sent."""

    def call_back(self, record: int, worker: int) -> None:
        """It could not be sent: it is the worker's as before."""

    def free_away(self, record: int) -> bool:
        """A client will not come from the other segment. Whether its record was still set aside."""

    def card(self, record: int) -> dict[str, Any]:
        """What a client's record tells, to be written into another segment's by `settle`."""

    def settle(self, record: int, worker: int, secret: bytes, connected_at_us: int, card: Any) -> bool:
        """A client has come from the other segment. Whether its record was set aside; it is the worker's now."""

    def secret(self, record: int) -> bytes:
        """The cancel key of a client; empty for one that never cancels."""

    def expel(self, worker: int, keeps_coming: bool = False) -> int:
        """Free every record of a dead worker, and of those on their way from or to it. Gives how many there were."""

    def read(self, record: int) -> _ClientRow | None:
        """A record as a dict, or None when it is unused. A client that is still to come has no worker."""

    def next_used(self, record: int) -> int | None:
        """The first record in use from this one on, or None."""

    @property
    def mark(self) -> int:
        """Records from here on were never used."""

    def busy(self) -> list[_ClientRow]:
        """Every record whose client has a backend or waits for one, as dicts."""

    def snapshot(self) -> list[_ClientRow]:
        """Every record in use, as dicts."""
