"""The bailiff: sends off those of a worker's clients that the operator has killed.

KILL leaves its moment on the board, and an errand in every worker; KILL_CLIENT is a message to the worker
that holds the client. Both name clients in a way that nobody who comes later answers to: by when they
connected, and by their number.
"""

from pgmux.relay.relay import Relay
from pgmux.session.refusals import Refusal
from pgmux.shm.pools import Pools
from pgmux.worker.consoles import Consoles


class Bailiff:
    """One worker's bailiff."""

    def __init__(self, pools: Pools) -> None:
        self.relay: Relay
        self.consoles: Consoles
        self._pools = pools

    def send_off_killed(self) -> None:
        """KILL was said: who was there at that moment must go."""
        board, last_words = self._pools.board, Refusal.KILLED.build()
        killed_at = {}
        for client in self.relay.every_client():
            pool = self.relay.pool_of(client)
            row = self.relay.records.read(client.record)
            if pool is None or row is None:
                continue
            if pool not in killed_at:
                killed_at[pool] = board.killed_at(self._pools.database_record(pool))
            if row["connected_at_us"] <= killed_at[pool]:
                self.relay.send_off(client, last_words)

    def send_off(self, record: int, number: int) -> None:
        """KILL_CLIENT was said, of a client of ours, if it still is."""
        if self.relay.records.number_of(record) != number:
            return
        client = self.relay.client(record)
        if client is not None:
            self.relay.send_off(client, Refusal.KILLED.build())
        else:
            self.consoles.kill(record, Refusal.KILLED)
