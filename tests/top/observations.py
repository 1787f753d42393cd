"""Observations made up for tests, and an observer that gives them."""

from __future__ import annotations

from collections.abc import Sequence

from pgmux.errors import PgmuxError
from pgmux.top.lines import BackendLine, ClientLine, Observation, Overview, PoolLine, WorkerLine
from pgmux.top.window import Traffic


def overview(*, is_moving: bool = True, is_paused: bool = False, waiting: int = 0) -> Overview:
    return Overview(
        path="/run/pgmux/pgmux.shm",
        is_moving=is_moving,
        is_paused=is_paused,
        silence=0.1 if is_moving else 12.0,
        workers=2,
        workers_wanted=2,
        clients=1_234,
        clients_limit=10_000,
        waiting=waiting,
        pinned=2,
        longest=72.0,
        backends=7,
        backends_limit=80,
        transactions=5_432.1,
        queries=9_876.0,
        cpu=37.0,
        rss=51_000_000,
    )


def pool(key: int, database: str = "app", *, tps: float = 10.0, waiting: int = 0, why: str = "") -> PoolLine:
    traffic = Traffic(tps, 2 * tps, 1_000.0, 0, 2_048, 4_096)
    return PoolLine(key, database, "alice", 9, 3, waiting, 0.5 * waiting, 4, 1, 20, traffic, why)


def worker(key: int) -> WorkerLine:
    return WorkerLine(key, 4_000 + key, 17, None, 25_000_000, 0, 0, 60.0, 0.1)


def client(key: int, *, since: float = 1.0, state: str = "active", application: str = "shop") -> ClientLine:
    return ClientLine(
        key, state, since, f"10.0.0.{key}:4312", application, "app/alice", 900 + key, "", 0, 5, 60.0, 70 + key
    )


def backend(key: int) -> BackendLine:
    return BackendLine(key, 900 + key, "leased", 1.0, "app/alice", "10.0.0.1:4312 shop", 0, 12, 60.0)


def observation(
    *,
    pools: Sequence[PoolLine] = (),
    clients: Sequence[ClientLine] = (),
    backends: Sequence[BackendLine] = (),
    about: Overview | None = None,
) -> Observation:
    return Observation(
        about or overview(), list(pools), [worker(0), worker(1)], list(clients), list(backends)
    )


class Given:
    """An observer that sees what it is given."""

    def __init__(self, seen: Observation | PgmuxError) -> None:
        self.seen = seen
        self.looks = 0

    def look(self) -> Observation:
        self.looks += 1
        if isinstance(self.seen, PgmuxError):
            raise self.seen
        return self.seen
