"""Who waits in the lobbies of all workers at this instant.

The wait queue's own count includes those who have left it and have not been passed over yet; the client
records tell only who waits.
"""

from __future__ import annotations

from pgmux.relay.endpoint import ClientPhase
from tests.integration.inside import Inside
from tests.servers import wait_until


class Lobbies(Inside):
    """One running pgmux from inside, and its waiting clients."""

    def parked(self) -> int:
        """How many clients wait for a backend, in all pools."""
        return sum(record["phase"] == ClientPhase.PARKED for record in self._clients.snapshot())

    def wait_for_parked(self, count: int) -> None:
        """Waits until exactly so many wait."""
        wait_until(lambda: self.parked() == count, what=f"{count} waiting clients, not {self.parked()}")

    def is_pool_paused(self, pool: int = 0) -> bool:
        """Whether clients of a pool wait because the operator wants it."""
        return bool(self._pools.is_pool_paused(pool))

    def is_paused(self) -> bool:
        """Whether clients wait because the operator wants it."""
        return bool(self._pools.is_paused)
