"""pgmux as its shared segment shows it: which of its clients is behind which backend.

Read without a lock and without a word to pgmux. A slot names its client and the client its slot: only where
both agree, and the lease is the same before and after PostgreSQL was asked, is a client said to be behind a
backend.
"""

from typing import NamedTuple

from pgmux.doctor.facts import Client, Pooler, PoolState
from pgmux.relay.endpoint import ClientPhase
from pgmux.shm.clients import Clients
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment

MICROSECONDS = 1_000_000


class Hold(NamedTuple):
    """One of pgmux's backends, at one instant."""

    lease_count: int  # of its socket so far: the same number is the same lease
    client: Client | None  # None = nobody has it


Key = tuple[int, str]  # PostgreSQL's pid and user: a pid alone may be another server's


class PoolerReading:
    """One look into the segment of a running pgmux."""

    def __init__(self, path: str, now_us: int) -> None:
        """`now_us`: CLOCK_MONOTONIC. Raises OSError or SegmentError when the segment cannot be read."""
        segment = Segment.attach(path)
        self._pools, self._clients = Pools(segment), Clients(segment)
        self._now_us = now_us
        self.holds = self._read_holds()
        self.state = self._read_state(segment)

    def _read_holds(self) -> dict[Key, Hold]:
        found = {}
        for slot in range(self._pools.segment.slot_count):
            row = self._pools.describe_slot(slot)
            if row["phase"] in (Phase.EMPTY, Phase.OPENING) or row["pool"] is None:
                continue
            pool = self._pools.read(row["pool"])
            if pool is not None:
                client = self._client_of(slot, row["client"]) if row["phase"] is Phase.LEASED else None
                found[row["backend_pid"], _text(pool["user"])] = Hold(row["lease_count"], client)
        return found

    def _client_of(self, slot: int, record: int) -> Client | None:
        client = self._clients.read(record)
        if client is None or client["slot"] != slot:
            return None
        address = _address(client["address"], client["port"])
        return Client(address, _text(client["application_name"]), is_through_pgmux=True)

    def _read_state(self, segment: Segment) -> Pooler:
        clients = self._clients.snapshot()
        waits: dict[int, int] = {}
        for client in clients:
            if client["phase"] == ClientPhase.PARKED:
                waits[client["pool"]] = max(waits.get(client["pool"], 0), self._now_us - client["since_us"])
        pools = []
        for number in range(segment.pool_count):
            pool = self._pools.read(number)
            if pool is None:
                continue
            pools.append(
                PoolState(
                    _text(pool["database"]),
                    _text(pool["user"]),
                    pool["pool_size"],
                    pool["backends"],
                    pool["waiting"],
                    waits.get(number, 0) / MICROSECONDS,
                    _text(self._pools.tidings.trouble(number)[0]),
                )
            )
        return Pooler(segment.worker_count, len(clients), tuple(pools))


def _address(address: bytes, port: int) -> str:
    text = _text(address)
    return "local" if text in ("", "unix") else f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
