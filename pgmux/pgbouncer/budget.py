"""How many backends PgBouncer could have opened: what pgmux's max_backends has to be, which PgBouncer lacks.

PgBouncer limits each pool, perhaps each database, and nothing altogether. pgmux has one table of backends
for all, sized at start.
"""

from collections.abc import Iterable
from typing import NamedTuple

MOST = 1000  # beyond it the sum says more about a list of users than about a server


class Demand(NamedTuple):
    """What one database may need."""

    pool_size: int
    reserve: int
    limit: int  # max_db_connections; 0 = none
    pools: int  # one for a forced user, else one for each user that is known


class Budget(NamedTuple):
    """What all databases together may need."""

    backends: int
    pools: int
    is_cut: bool  # the sum was larger than MOST


def add_up(demands: Iterable[Demand]) -> Budget:
    """The sum over all databases."""
    backends = pools = 0
    for demand in demands:
        pools += demand.pools
        wanted = (demand.pool_size + demand.reserve) * demand.pools
        backends += min(wanted, demand.limit) if demand.limit else wanted
    return Budget(max(1, min(backends, MOST)), pools, backends > MOST)
