"""Fencing: a dead worker's leases are ended, so that what it had can serve others."""

from pgmux.shm.pools import Pools

def fence(pools: Pools, dead: int, successor: int) -> list[int]:
    """End all that a dead worker held. By the supervisor, before it forks a successor. Gives the slots fenced."""
