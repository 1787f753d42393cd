"""Everything at once: whatever dies, nothing acknowledged is lost, and nobody gets another's answer.

The seed is printed. `make chaos` runs it for minutes; PGMUX_CHAOS_SECONDS and PGMUX_CHAOS_SEED choose.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial

import pytest

from pgmux.shm.leases import Phase
from tests.chaos.ledger import Ledger, Teller
from tests.chaos.trouble import Troublemaker
from tests.fix_pgmux import MakePgmux
from tests.fix_postgres import MakePostgres
from tests.integration.census import Census
from tests.integration.crowd import Crowd, approach
from tests.integration.inside import Inside
from tests.integration.routes import by_tcp
from tests.integration.test_death import assert_every_worker_serves, serves_with_all_its_backends
from tests.servers import Proxy, wait_until

SECONDS = float(os.environ.get("PGMUX_CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("PGMUX_CHAOS_SEED", "0")) or random.randrange(10**6)
TELLERS, POOL_SIZE, WORKERS = 24, 4, 3


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
def test_whatever_dies_no_acknowledged_transfer_is_lost(
    make_pgmux: MakePgmux, make_postgres: MakePostgres
) -> None:
    print(f"seed {SEED}: PGMUX_CHAOS_SEED={SEED}")
    postgres = make_postgres(settings={"synchronous_commit": True})
    ledger = Ledger(postgres)
    with Proxy(postgres.host, postgres.port) as behind:
        pgmux = make_pgmux(
            postgres=postgres, databases={"app": by_tcp(behind)}, workers=WORKERS, default_pool_size=POOL_SIZE,
            server_login_retry="50ms", query_wait_timeout="20s", deferred_begin=True, log_level="info",
        )  # fmt: skip
        with Proxy(pgmux.host, pgmux.port) as before:
            doors = (pgmux, pgmux, before)
            tellers = [
                Teller(ledger, number, SEED, partial(approach, doors[number % 3]))
                for number in range(TELLERS)
            ]
            with Census(postgres, may_restart=True) as census:
                troublemaker = Troublemaker(pgmux, postgres, census, before, behind, SEED)
                with Crowd(TELLERS, lambda number: tellers[number].live()) as crowd:
                    troublemaker.rest = crowd.last
                    end = time.monotonic() + SECONDS
                    while time.monotonic() < end:
                        troublemaker.make_some()
                        crowd.last(troublemaker.pause_s())
                    troublemaker.make_peace()
                    wait_until(lambda: len(pgmux.worker_pids()) == WORKERS, 20, "all workers")
                    crowd.wait_for_rounds(20)
                print(f"{troublemaker.made}\n{len(ledger.acknowledged)} transfers, told: {ledger.excused}")
                serves_with_all_its_backends(pgmux, POOL_SIZE)
            ledger.audit()
            assert_every_worker_serves(pgmux)
            inside = Inside(pgmux)
            wait_until(lambda: set(inside.phases()) == {Phase.FREE}, what="every backend to be free")
            wait_until(lambda: inside.clients() == 0, what="the end of all clients")
    assert census.most <= POOL_SIZE
    assert ledger.acknowledged
