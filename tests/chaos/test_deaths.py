"""Workers are killed one after the other under load: nothing is lost, and how long it takes to get over it is told.

`make deaths` kills 200; PGMUX_DEATHS chooses. Times are printed and never judged: docs/operations.md has them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial

import pytest

from pgmux.shm.leases import Phase
from tests.chaos.ledger import Ledger, Teller
from tests.chaos.stopwatch import NEWCOMERS, Stopwatch, Told
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.census import Census
from tests.integration.crowd import Crowd, approach
from tests.integration.inside import Inside
from tests.integration.test_death import assert_every_worker_serves, serves_with_all_its_backends
from tests.servers import wait_until

DEATHS = int(os.environ.get("PGMUX_DEATHS", "12"))
WORKERS = int(os.environ.get("PGMUX_WORKERS", "4"))
SEED = int(os.environ.get("PGMUX_CHAOS_SEED", "0")) or random.randrange(10**6)
TELLERS, POOL_SIZE = 16, 6


@pytest.mark.slow
@pytest.mark.timeout(DEATHS * 3 + 120)
def test_workers_that_are_killed_under_load_lose_nothing(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    print(f"seed {SEED}: PGMUX_CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    postgres = make_postgres(settings={"synchronous_commit": True})
    ledger = Ledger(postgres)
    pgmux = make_pgmux(
        postgres=postgres, workers=WORKERS, default_pool_size=POOL_SIZE, deferred_begin=True, log_level="info"
    )
    tellers = [Teller(ledger, number, SEED, partial(approach, pgmux)) for number in range(TELLERS)]
    told: list[Told] = []
    with Stopwatch(pgmux) as stopwatch, Census(postgres) as census:
        with Crowd(TELLERS, lambda number: tellers[number].live()) as crowd:
            crowd.wait_for_rounds(5)
            while len(told) < DEATHS:
                crowd.last(chance.uniform(0, 0.25))
                told.append(stopwatch.kill(chance.randrange(WORKERS)))
            wait_until(lambda: len(pgmux.worker_pids()) == WORKERS, 20, "all workers")
            crowd.wait_for_rounds(20)
        print(f"{len(ledger.acknowledged)} transfers acknowledged; {describe(told)}")
        serves_with_all_its_backends(pgmux, POOL_SIZE)
        assert_every_worker_serves(pgmux)
        inside = Inside(pgmux)
        wait_until(lambda: set(inside.phases()) == {Phase.FREE}, what="every backend to be free")
        wait_until(lambda: inside.clients() == 0, what="the end of all clients")
    ledger.audit()
    assert census.most <= POOL_SIZE
    assert len(pgmux.log_file.lines("died \\(SIGKILL\\)")) == DEATHS
    assert not pgmux.log_file.lines("is not ours any more")  # nobody was handed what another had


def describe(told: list[Told]) -> str:
    """The figures of many deaths, in milliseconds."""
    served = spread(told, lambda each: each.served_s)
    recovered = spread([each for each in told if each.leased], lambda each: each.recovered_s)
    usual = spread(told, lambda each: each.usual_s)
    return (
        f"{len(told)} deaths: {NEWCOMERS} newcomers served {served} (when nobody dies: {usual}); "
        f"backends usable again {recovered}"
    )


def spread(told: list[Told], figure: Callable[[Told], float]) -> str:
    ordered = sorted(1000 * figure(each) for each in told)
    if not ordered:
        return "(none)"
    middle, high = ordered[len(ordered) // 2], ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return f"p50 {middle:.0f} ms, p99 {high:.0f} ms, longest {ordered[-1]:.0f} ms"
