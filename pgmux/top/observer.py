"""Looks into the shared segment of a running pgmux, read-only, and makes the lines of the view from it.

No lock, no question to any worker: it works while workers are stuck and PostgreSQL is down, and costs pgmux
nothing. A slot and its client are read one after the other, so a line may tell of two instants, some
microseconds apart; a client is named beside a backend only where both say so.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from pgmux.control.pool_figures import backends_of, explain_waits
from pgmux.errors import PgmuxError
from pgmux.session.inquiry import name_pins
from pgmux.shm.clients import Clients
from pgmux.shm.counters import CounterTable
from pgmux.shm.leases import Phase
from pgmux.shm.pools import Pools
from pgmux.shm.segment import Segment
from pgmux.shm.survey import Standing, Survey
from pgmux.top.lines import BackendLine, ClientLine, Observation, Overview, PoolLine, WorkerLine
from pgmux.top.window import Traffic, Window

if TYPE_CHECKING:
    from pgmux.shm.clients import _ClientRow
    from pgmux.shm.survey import _PoolSurvey

SILENT_AFTER_SECONDS = 3.0
_US = 1_000_000


class NotRunningError(PgmuxError):
    """There is no segment to look into."""


class Observer:
    """The segment at `path`, however often pgmux is restarted."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = (0, 0)  # of the file that is mapped
        self._processes: dict[int, psutil.Process] = {}

    def look(self) -> Observation:
        """Everything as it is now. Raises NotRunningError, or SegmentError for another version's segment."""
        self._attach()
        self._now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        rows, _, connected, _ = self._survey.take()
        pools = {row["pool"]: row for row in rows}
        self._window.add(self._now_us / _US, {number: self._counters.total(number) for number in pools})
        clients = self._clients.busy()
        reasons = explain_waits(rows, self._pools.is_pool_paused, self._segment.slot_count)
        workers = [self._worker_line(number) for number in range(self._segment.worker_count)]
        backends = list(self._backend_lines(pools))
        lines = [self._client_line(client, pools) for client in clients]
        return Observation(
            overview=self._overview(rows, connected, lines, workers),
            pools=[self._pool_line(row, word) for row, (word, _) in zip(rows, reasons, strict=True)],
            workers=workers,
            clients=lines,
            backends=backends,
        )

    def _attach(self) -> None:
        """Map the file, and map it anew when there is another one."""
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                return
            self._segment = Segment.attach(self.path)
        except FileNotFoundError:
            self._identity = (0, 0)
            raise NotRunningError(f"no pgmux runs here: there is no {self.path}") from None
        except PermissionError:
            message = f"{self.path} may not be read: run pgmux top as root or as pgmux's own account"
            raise NotRunningError(message) from None
        except OSError as error:
            raise NotRunningError(f"{self.path} cannot be read: {error.strerror}") from None
        self._identity = (found.st_dev, found.st_ino)
        self._pools, self._clients = Pools(self._segment), Clients(self._segment)
        self._counters, self._survey, self._window = (
            CounterTable(self._segment),
            Survey(self._segment),
            Window(),
        )

    # --- lines

    def _pool_line(self, row: "_PoolSurvey", reason: str) -> PoolLine:
        return PoolLine(
            key=row["pool"],
            database=_text(row["database"]),
            user=_text(row["user"]),
            clients=row["idle"] + row["served"] + row["waiting"],
            active=row["served"],
            waiting=row["waiting"],
            longest_wait=row["longest_wait_us"] / _US,
            backends=backends_of(row),
            idle=row["free"],
            size=row["pool_size"],
            traffic=self._window.traffic(row["pool"]),
            why=_text(row["trouble"]) or (reason if row["waiting"] else ""),
        )

    def _worker_line(self, number: int) -> WorkerLine:
        row = self._pools.workers.read(number)
        cpu, rss = self._use_of(row["pid"])
        return WorkerLine(
            key=number,
            pid=row["pid"],
            clients=row["clients"],
            cpu=cpu,
            rss=rss,
            restarts=row["deaths"],
            drains=row["drains"],
            age=self._since(row["started_at_us"]),
            silence=self._since(row["heartbeat_us"]),
        )

    def _use_of(self, pid: int) -> tuple[float | None, int | None]:
        """A process's share of one core since the last look, in percent, and its resident memory."""
        if not pid:
            return None, None
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            known = self._processes.get(pid)
            if known is None:
                self._processes[pid] = known = psutil.Process(pid)
                known.cpu_percent()  # begins the count
                return None, known.memory_info().rss
            return known.cpu_percent(), known.memory_info().rss
        self._processes.pop(pid, None)
        return None, None

    def _client_line(self, client: "_ClientRow", pools: dict[int, "_PoolSurvey"]) -> ClientLine:
        """A client that has a backend or waits for one; idle ones are too many to be listed."""
        state = "active" if client["phase"] == Standing.SERVED else "waiting"
        is_here = client["worker"] is not None  # else another segment has its slot
        slot = client["slot"] if state == "active" and is_here else None
        return ClientLine(
            key=client["client"],
            state=state,
            since=self._since(client["since_us"]),
            address=_address(client),
            application=_text(client["application_name"]),
            pool=_name(pools.get(client["pool"])),
            backend_pid=None if slot is None else self._pools.identity(slot)[0],
            pins="" if slot is None else name_pins(self._pools.leases.pins(slot)),
            worker=client["worker"],
            transactions=client["transactions"],
            connected=self._since(client["connected_at_us"]),
            number=client["number"],
        )

    def _backend_lines(self, pools: dict[int, "_PoolSurvey"]) -> Iterator[BackendLine]:
        for slot in range(self._segment.slot_count):
            row = self._pools.describe_slot(slot)
            if row["phase"] is Phase.EMPTY or row["pool"] is None:
                continue
            is_leased = row["phase"] is Phase.LEASED
            client = self._clients.read(row["client"]) if is_leased else None
            has_client = client is not None and client["slot"] == slot
            began = row["leased_at_us"] if is_leased else row["released_at_us"] or row["opened_at_us"]
            yield BackendLine(
                key=slot,
                pid=row["backend_pid"],
                phase=row["phase"].name.lower(),
                since=self._since(began),
                pool=_name(pools.get(row["pool"])),
                client=_describe(client) if client is not None and has_client else "",
                worker=row["owner"] if is_leased else None,
                leases=row["lease_count"],
                age=self._since(row["opened_at_us"]),
            )

    def _overview(
        self,
        rows: list["_PoolSurvey"],
        connected: int,
        clients: list[ClientLine],
        workers: list[WorkerLine],
    ) -> Overview:
        running = [worker for worker in workers if worker.pid]
        silence = min((worker.silence for worker in workers), default=0.0)
        traffic = [self._window.traffic(row["pool"]) for row in rows] or [Traffic()]
        cpus = [worker.cpu for worker in running if worker.cpu is not None]
        sizes = [worker.rss for worker in running if worker.rss is not None]
        return Overview(
            path=self.path,
            is_moving=silence < SILENT_AFTER_SECONDS,
            is_paused=self._pools.is_paused,
            silence=silence,
            workers=len(running),
            workers_wanted=len(workers),
            clients=connected,
            clients_limit=self._segment.client_limit,
            waiting=sum(row["waiting"] for row in rows),
            pinned=sum(bool(client.pins) for client in clients),
            longest=max((client.since for client in clients if client.state == "active"), default=0.0),
            backends=sum(map(backends_of, rows)),
            backends_limit=self._segment.slot_count,
            transactions=sum(each.transactions for each in traffic),
            queries=sum(each.queries for each in traffic),
            cpu=sum(cpus) if cpus else None,
            rss=sum(sizes) if sizes else None,
        )

    def _since(self, moment_us: int) -> float:
        """Seconds since a moment of CLOCK_MONOTONIC; 0 for none, and for one that is just being written."""
        return max(0, self._now_us - moment_us) / _US if moment_us else 0.0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _name(pool: "_PoolSurvey | None") -> str:
    return "" if pool is None else f"{_text(pool['database'])}/{_text(pool['user'])}"


def _address(client: "_ClientRow") -> str:
    host = _text(client["address"])
    if host in ("", "unix"):
        return "local"
    return f"[{host}]:{client['port']}" if ":" in host else f"{host}:{client['port']}"


def _describe(client: "_ClientRow") -> str:
    application = _text(client["application_name"])
    return f"{_address(client)} {application}".rstrip()
