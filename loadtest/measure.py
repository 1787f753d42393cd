"""One run of one arm in one scenario, and the record it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from loadtest.arms import Arm
from loadtest.callgrind import instructions_per_transaction
from loadtest.cpu import CpuReading, MachineTime, read_cpu, read_machine, strangers_share
from loadtest.idle import IdleClients
from loadtest.load import Generator, Load, Player, Report
from loadtest.memory import Memory, forget_peaks, peak_growth, read_memory
from loadtest.nullpg import Backend
from pgmux.errors import PgmuxError

_WORKER_SERVED = 0.1  # of what an equal share of the work would have been
_FIRST_CLIENTS = 16  # come and go before memory is read: what is loaded at the first use is not a client's


class LoadRun(msgspec.Struct, frozen=True, kw_only=True):
    """One load against one arm. Times are microseconds, processor times microseconds per transaction."""

    scenario: str
    arm: str
    round: int
    clients: int
    transactions: int
    tps: float
    p50_us: float | None  # None when no transaction fell into the sample
    p99_us: float | None
    p999_us: float | None
    connect_us: float | None
    fewest: int | None  # transactions of the client that was served least; None: pgbench does not tell
    most: int | None
    errors: int
    first_error: str
    user_us: float | None  # of all the arm's processes; None for direct
    system_us: float | None
    total_us: float | None
    backend_us: float
    player_us: float  # crowd's or pgbench's
    memory: int | None  # of all the arm's processes and its segment, bytes, each page once; None for direct
    peak_growth: int | None  # of their resident memory during the run, bytes
    bytes_per_second: float | None  # of rows or COPY, where that is what is moved
    strangers_share: float  # of the machine, 0 to 1: used by what has nothing to do with this run
    processes: int
    workers_that_served: int  # processes but the first with a real part of the work
    peak_backends: int | None = None  # of this arm alone, only in the scenario "backends"


class MemoryRun(msgspec.Struct, frozen=True, kw_only=True):
    """One arm with idle clients. Everything in bytes."""

    scenario: str
    arm: str
    round: int
    clients: int
    empty: int  # no client
    held: int  # with all clients
    busy_once: int  # with all clients, after each has asked one query
    per_client: float
    per_client_busy_once: float
    private: int  # of all processes, with no client
    private_by_process: list[int]  # with no client, the first process first
    segment_empty: int
    segment_held: int


class CountRun(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one arm: seconds of processor time to start, or instructions for a transaction."""

    scenario: str
    arm: str
    round: int
    value: float
    unit: str


class Bench:
    """What runs share: who plays the clients, the backend, how long."""

    def __init__(
        self, players: Mapping[Player, Generator], backend: Backend, seconds: float, idle_clients: int
    ) -> None:
        self._players = players
        self._backend = backend
        self._seconds = seconds
        self._idle_clients = idle_clients

    def warm_up(self, arm: Arm, load: Load) -> None:
        """A second of the load that is not recorded: backends are opened, code is paged in."""
        with self._players[load.player].ready(load, arm.address, 1) as run:
            run()

    def run_load(self, arm: Arm, scenario: str, load: Load, round_number: int) -> LoadRun:
        """One measured run. Raises PgmuxError if the arm or the backend did not survive it."""
        with self._players[load.player].ready(load, arm.address, self._seconds) as run:
            at_rest = None if arm.pid is None else forget_peaks(arm.pid)
            before = self._read_all(arm)
            report = run()
            after = self._read_all(arm)
            memory = None if arm.pid is None else read_memory(arm.pid, arm.segment).total
            growth = None if at_rest is None or arm.pid is None else peak_growth(arm.pid, at_rest)
        arm.check()
        self._backend.check()
        measured = _load_run(arm, scenario, load, round_number, report, before, after)
        return msgspec.structs.replace(measured, memory=memory, peak_growth=growth)

    def run_backends(self, arm: Arm, scenario: str, load: Load, round_number: int) -> LoadRun:
        """The same for an arm that is alone with the backend, and how many backends it had at most."""
        self._backend.take_peak()
        run = self.run_load(arm, scenario, load, round_number)
        return msgspec.structs.replace(run, peak_backends=self._backend.take_peak())

    def run_idle(self, arm: Arm, scenario: str, round_number: int) -> MemoryRun:
        """The arm's memory without clients, with them, and after each has asked once."""
        if arm.pid is None:
            raise PgmuxError(f"{arm.name} has no memory to measure")
        with IdleClients(arm.address, _FIRST_CLIENTS) as first:
            first.query("SELECT 1")
        empty = read_memory(arm.pid, arm.segment)
        with IdleClients(arm.address, self._idle_clients) as clients:
            held = read_memory(arm.pid, arm.segment)
            clients.query("SELECT 1")
            busy_once = read_memory(arm.pid, arm.segment)
        arm.check()
        return _memory_run(arm, scenario, round_number, self._idle_clients, (empty, held, busy_once))

    def run_start(self, arm: Arm, scenario: str, round_number: int) -> CountRun:
        """What an arm has used that has just answered its first query."""
        if arm.pid is None:
            raise PgmuxError(f"{arm.name} does not start")
        used = read_cpu(arm.pid).total.total_s
        return CountRun(scenario=scenario, arm=arm.name, round=round_number, value=used, unit="s")

    def run_instructions(self, scenario: str, arm: str, load: Load, pool_size: int, folder: Path) -> CountRun:
        """The relay's instructions for a transaction; once is enough, they repeat."""
        value = instructions_per_transaction(self._backend.address, pool_size, load.clients, folder)
        return CountRun(scenario=scenario, arm=arm, round=1, value=value, unit="instructions")

    def _read_all(self, arm: Arm) -> tuple[CpuReading | None, CpuReading, MachineTime]:
        ours = None if arm.pid is None else read_cpu(arm.pid)
        return ours, read_cpu(self._backend.pid), read_machine()


def _load_run(
    arm: Arm,
    scenario: str,
    load: Load,
    round_number: int,
    report: Report,
    before: tuple[CpuReading | None, CpuReading, MachineTime],
    after: tuple[CpuReading | None, CpuReading, MachineTime],
) -> LoadRun:
    pooler_before, backend_before, machine_before = before
    pooler_after, backend_after, machine_after = after
    per_transaction = 1e6 / report.transactions
    pooler = pooler_after.since(pooler_before) if pooler_before and pooler_after else None
    backend = backend_after.since(backend_before)
    workers = pooler_after.workers_since(pooler_before) if pooler_before and pooler_after else []
    ours_s = report.cpu_s + backend.total_s + (pooler.total_s if pooler else 0)
    equal_share_s = sum(workers) / len(workers) if workers else 0
    return LoadRun(
        scenario=scenario,
        arm=arm.name,
        round=round_number,
        clients=load.clients,
        transactions=report.transactions,
        tps=report.tps,
        p50_us=report.p50_us,
        p99_us=report.p99_us,
        p999_us=report.p999_us,
        connect_us=report.connect_us,
        fewest=report.fewest,
        most=report.most,
        errors=report.errors,
        first_error=report.first_error,
        user_us=pooler.user_s * per_transaction if pooler else None,
        system_us=pooler.system_s * per_transaction if pooler else None,
        total_us=pooler.total_s * per_transaction if pooler else None,
        backend_us=backend.total_s * per_transaction,
        player_us=report.cpu_s * per_transaction,
        memory=None,
        peak_growth=None,
        bytes_per_second=report.tps * load.bytes_each_time or None,
        strangers_share=strangers_share(machine_before, machine_after, ours_s),
        processes=len(pooler_after.by_pid) if pooler_after else 0,
        workers_that_served=sum(used > _WORKER_SERVED * equal_share_s for used in workers),
    )


def _memory_run(
    arm: Arm, scenario: str, round_number: int, clients: int, readings: tuple[Memory, Memory, Memory]
) -> MemoryRun:
    empty, held, busy_once = readings
    return MemoryRun(
        scenario=scenario,
        arm=arm.name,
        round=round_number,
        clients=clients,
        empty=empty.total,
        held=held.total,
        busy_once=busy_once.total,
        per_client=(held.total - empty.total) / clients,
        per_client_busy_once=(busy_once.total - empty.total) / clients,
        private=empty.private,
        private_by_process=[process.private for process in empty.processes],
        segment_empty=empty.segment,
        segment_held=held.segment,
    )
