"""One server examined: asked, watched for some seconds, measured, and joined with pgmux's clients."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pgmux.doctor import questions
from pgmux.doctor.advice import Sample, advise
from pgmux.doctor.alarms import find_alarms
from pgmux.doctor.connection import Connection, Row, ServerError
from pgmux.doctor.facts import Backend, Client, Holder, Report, Server
from pgmux.doctor.memory import cores_of, is_process_here, measure
from pgmux.doctor.pooler import Hold, Key, PoolerReading
from pgmux.doctor.target import Target
from pgmux.shm.segment import SegmentError

SAMPLES_A_SECOND = 10

Tell = Callable[[str], None]


class Examination:
    """`Examination(target, segment).run()` gives a Report. Raises ServerError."""

    def __init__(self, target: Target, segment: str, watch_s: float, tell: Tell) -> None:
        """`segment`: the path of pgmux's shared segment; `tell` is told what is being done."""
        self._target = target
        self._segment = segment
        self._watch_s = watch_s
        self._tell = tell
        self._missing = ""  # why the segment cannot be read

    def run(self) -> Report:
        """All about the server."""
        self._tell(f"connecting to {self._target}")
        with Connection(self._target) as connection:
            server, number = self._ask_about_server(connection)
            self._tell(f"watching for {self._watch_s:.0f} s")
            samples = self._watch(connection)
            before = self._read_pooler()
            activity = connection.query(questions.ACTIVITY)
            after = self._read_pooler()
            holders = _other_holders(connection)
            average = _average(connection) if number >= questions.AVERAGE_SINCE else None
        holds = _agreed(before, after) if before and after else {}
        backends = [_make_backend(row, holds) for row in activity]
        if server.is_on_this_machine:
            backends = [self._weigh(backend, at, len(backends)) for at, backend in enumerate(backends, 1)]
        holders += [_as_holder(backend) for backend in backends if backend.snapshot_age is not None]
        report = Report(
            server=server,
            backends=tuple(backends),
            holders=tuple(sorted(holders, key=lambda holder: -holder.snapshot_age)),
            advice=advise(server, backends, samples, self._watch_s, average),
            pooler=after.state if after else None,
            pooler_missing=self._missing,
            alarms=(),
        )
        return msgspec.structs.replace(report, alarms=find_alarms(report))

    def _ask_about_server(self, connection: Connection) -> tuple[Server, int]:
        [row] = connection.query(questions.SERVER)
        is_here = connection.is_local and is_process_here(connection.pid, float(row["born"] or 0))
        server = Server(
            address=str(self._target),
            version=(row["version"] or "").split(" ")[0],
            max_connections=int(row["max_connections"] or 0),
            reserved=int(row["reserved"] or 0),
            idle_in_transaction_timeout_s=float(row["idle_in_transaction_timeout_s"] or 0),
            is_on_this_machine=is_here,
            cores=cores_of(connection.pid) if is_here else None,
            can_see_all=row["can_see_all"] == "t",
        )
        return server, int(row["number"] or 0)

    def _watch(self, connection: Connection) -> list[list[Sample]]:
        """How many backends were busy, at instants spread over the time of watching; at least one."""
        samples = []
        begun = time.monotonic()
        while True:
            rows = connection.query(questions.BUSY)
            samples.append([_make_sample(row) for row in rows])
            due = begun + len(samples) / SAMPLES_A_SECOND
            if due > begun + self._watch_s:
                return samples
            time.sleep(max(0.0, due - time.monotonic()))

    def _read_pooler(self) -> PoolerReading | None:
        try:
            return PoolerReading(self._segment, time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        except FileNotFoundError:
            self._missing = f"no pgmux runs here: there is no {self._segment}"
        except PermissionError:
            self._missing = f"{self._segment} may not be read: run this as root or as pgmux's own account"
        except (OSError, SegmentError) as error:
            self._missing = f"{self._segment} cannot be read: {error}"
        return None

    def _weigh(self, backend: Backend, at: int, of: int) -> Backend:
        self._tell(f"measuring memory, {at} of {of} processes")
        memory = measure(backend.pid)
        if memory is None:
            return backend
        return msgspec.structs.replace(backend, pss=memory.pss, private=memory.private)


def _agreed(before: PoolerReading, after: PoolerReading) -> Mapping[Key, Hold | None]:
    """pgmux's backends; with their client where the lease is the same in both readings, else None."""
    return {
        key: hold if before.holds.get(key) == hold else None
        for key, hold in {**before.holds, **after.holds}.items()
    }


def _make_sample(row: Row) -> Sample:
    counts = (int(row["backends"] or 0), int(row["active"] or 0), int(row["held"] or 0))
    return Sample(row["datname"] or "", row["usename"] or "", *counts)


def _make_backend(row: Row, holds: Mapping[Key, Hold | None]) -> Backend:
    key = (int(row["pid"] or 0), row["usename"] or "")
    hold = holds.get(key)
    if key in holds:
        direct = Client("", row["application_name"] or "", is_through_pgmux=True)
    else:
        direct = Client(_spell(row["address"], row["port"]), row["application_name"] or "")
    return Backend(
        pid=key[0],
        database=row["datname"] or "",
        user=key[1],
        state=row["state"] or "hidden",
        client=hold.client if hold is not None and hold.client is not None else direct,
        state_s=float(row["state_s"] or 0),
        transaction_s=None if row["transaction_s"] is None else float(row["transaction_s"]),
        snapshot_age=None if row["snapshot_age"] is None else int(row["snapshot_age"]),
        waits_for=row["waits_for"] or "",
        blocked_by=tuple(int(pid) for pid in (row["blocked_by"] or "").split()),
        query=(row["query"] or "").strip(),
        is_pgmuxs=key in holds,
    )


def _spell(address: str | None, port: str | None) -> str:
    if not address:
        return "local"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _as_holder(backend: Backend) -> Holder:
    assert backend.snapshot_age is not None
    return Holder(
        kind="backend",
        name=f"pid {backend.pid}",
        snapshot_age=backend.snapshot_age,
        held_s=backend.transaction_s,
        client=backend.client,
        state=backend.state,
        query=backend.query,
    )


def _other_holders(connection: Connection) -> list[Holder]:
    """Holders of snapshots that are no client backends; of what this user may not see, none."""
    found = []
    kinds = {
        "prepared transaction": questions.PREPARED,
        "replication slot": questions.SLOTS,
        "standby": questions.STANDBYS,
    }
    for kind, question in kinds.items():
        for row in _ask_quietly(connection, question):
            held = None if row["held_s"] is None else float(row["held_s"])
            found.append(
                Holder(kind, row["name"] or "", int(row["snapshot_age"] or 0), held, None, row["what"] or "")
            )
    return found


def _average(connection: Connection) -> float | None:
    rows = _ask_quietly(connection, questions.AVERAGE)
    return float(rows[0]["busy"]) if rows and rows[0]["busy"] is not None else None


def _ask_quietly(connection: Connection, question: str) -> Sequence[Row]:
    """The rows, or none where this user may not ask."""
    try:
        return connection.query(question)
    except ServerError as error:
        if error.fields.get("sqlstate") == "42501":  # insufficient_privilege
            return []
        raise
