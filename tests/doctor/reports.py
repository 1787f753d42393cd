"""Reports made up for tests: a calm server, and what is changed about it."""

from __future__ import annotations

from pgmux.doctor.facts import Advice, Backend, Client, Holder, Pooler, PoolState, Report, Server

SERVER = Server(
    address="db1 port 5432",
    version="17.2",
    max_connections=100,
    reserved=3,
    idle_in_transaction_timeout_s=0.0,
    is_on_this_machine=True,
    cores=4,
    can_see_all=True,
)
ADVICE = Advice(
    busy_at_most=2,
    busy_on_average=0.5,
    samples=20,
    watched_s=2.0,
    max_backends=4,
    why="that is how it is",
    saved_backends=0,
    saved_bytes=0,
)


def backend(
    pid: int = 100,
    state: str = "idle",
    state_s: float = 1.0,
    *,
    application: str = "shop",
    blocked_by: tuple[int, ...] = (),
    snapshot_age: int | None = None,
    is_pgmuxs: bool = False,
    private: int | None = 1_000_000,
) -> Backend:
    return Backend(
        pid=pid,
        database="app",
        user="alice",
        state=state,
        client=Client("10.0.0.7:4312", application, is_pgmuxs),
        state_s=state_s,
        transaction_s=state_s if "transaction" in state or state == "active" else None,
        snapshot_age=snapshot_age,
        blocked_by=blocked_by,
        query="SELECT 1",
        is_pgmuxs=is_pgmuxs,
        pss=None if private is None else 2 * private,
        private=private,
    )


def holder(kind: str = "backend", age: int = 5, held_s: float | None = 1.0) -> Holder:
    return Holder(kind, "pid 100", age, held_s, Client("10.0.0.7:4312", "shop", True), "active", "SELECT 1")


def pool(waiting: int = 0, longest_wait_s: float = 0.0, trouble: str = "") -> PoolState:
    return PoolState("app", "alice", 20, 3, waiting, longest_wait_s, trouble)


def report(
    *backends: Backend,
    holders: tuple[Holder, ...] = (),
    pools: tuple[PoolState, ...] | None = None,
    server: Server = SERVER,
    advice: Advice = ADVICE,
) -> Report:
    pooler = None if pools is None else Pooler(2, 7, pools)
    missing = "" if pools is not None else "no pgmux runs here"
    return Report(server, backends, holders, advice, pooler, missing, alarms=())
