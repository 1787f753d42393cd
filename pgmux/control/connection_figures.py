"""Connections as the segment tells them: those of clients, and those to PostgreSQL."""

from dataclasses import dataclass

from pgmux.control.clock import Clock
from pgmux.shm.leases import Phase, Private
from pgmux.shm.survey import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFigures:
    """What both kinds have."""

    database: str
    user: str
    address: str
    port: int
    local_address: str
    local_port: int
    tls: str
    process: int  # at its other end: PostgreSQL's, or who came to the Unix socket; 0 = not known
    private: Private  # what for, where client and backend belong together for good
    statements: int  # prepared
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFigures(ConnectionFigures):
    """One client that has logged in."""

    number: int
    worker: int | None  # None: it is still to come from another segment
    standing: Standing
    application_name: str
    connected_us: int
    since_us: int  # when its standing began
    slot: int | None
    transactions: int

    @property
    def wait_us(self) -> int:
        """How long it has waited for a backend; 0 when it does not."""
        return self.clock.since(self.since_us) if self.standing is Standing.WAITING else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFigures(ConnectionFigures):
    """One connection to PostgreSQL."""

    slot: int
    phase: Phase
    worker: int | None  # that owns the slot
    generation: int
    client: ClientFigures | None
    opened_us: int
    leased_us: int
    released_us: int
    leases: int
    cancels: int
    pins: int  # bits of session.inquiry.Pin: why its client keeps it
    is_outdated: bool
