"""Prepared statements: what a client calls by a name of its own, backends call by what it means."""

from typing import Final

from pgmux.session.studies import Study

PREFIX: Final[bytes]

class Statement:
    """One prepared statement."""

    high: int
    low: int
    name: bytes
    body: bytes
    sql: bytes
    traces: int
    study: Study | None
    told: int
    defined: int

class Library:
    """The statements that clients of one worker have names for."""

    def __init__(self, key: bytes) -> None: ...
    def prepared(
        self, definition: bytes, meaning: bytes, defined: int, traces: int, study: Study | None
    ) -> Statement:
        """The statement that PREPARE prepares. `definition`: what follows its name."""

    def adopt(
        self,
        digest: bytes,
        body: bytes,
        sql: bytes,
        traces: int,
        study: Study | None,
        told: int = 0,
        defined: int = 0,
    ) -> Statement:
        """A statement that another worker's client has had prepared, by its id of 16 bytes."""

    def parse(
        self, body: bytes, meaning: bytes, defined: int = 0, traces: int = 0, study: Study | None = None
    ) -> Statement:
        """The statement that a Parse prepares. `body`: the message from its text on."""
