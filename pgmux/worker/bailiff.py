"""The bailiff: sends off those of a worker's clients that the operator has killed.

KILL leaves its moment on the board, and an errand in every worker; KILL_CLIENT is a message to the worker
that holds the client. Both name clients in a way that nobody who comes later answers to: by when they
connected, and by their number.

A client may be on its way to another worker when either comes. So whoever takes one up looks at the board,
and a message about one that was given away follows it, by the mailbox that it went by.
"""

from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.refusals import Refusal
from pgmux.shm.pools import Pools
from pgmux.worker.consoles import Consoles
from pgmux.worker.mailbox import Kind, Mailbox, Message


class Bailiff:
    """One worker's bailiff."""

    def __init__(self, worker: int, pools: Pools, mailboxes: list[Mailbox]) -> None:
        """`mailboxes`: one a worker, then the vault's."""
        self.relay: Relay
        self.consoles: Consoles
        self._worker = worker
        self._pools = pools
        self._mailboxes = mailboxes

    def send_off_killed(self) -> None:
        """KILL was said: who was there at that moment must go."""
        for client in self.relay.every_client():
            self._judge(client)

    def look_at(self, record: int) -> None:
        """A client has come from another worker, perhaps from before a KILL."""
        client = self.relay.client(record)
        if client is not None:
            self._judge(client)

    def send_off(self, record: int, number: int) -> None:
        """KILL_CLIENT was said, of a client that is ours, or was."""
        place = self.relay.records.find_number(number)
        if place is None:
            return
        client = self.relay.client(record)
        if place[1] != self._worker:
            self._mailboxes[place[1]].send(Message(Kind.KILL, record, number))
        elif client is not None:
            self.relay.send_off(client, Refusal.KILLED.build())
        else:
            self.consoles.kill(record, Refusal.KILLED)

    def _judge(self, client: Client) -> None:
        pool, row = self.relay.pool_of(client), self.relay.records.read(client.record)
        if pool is None or row is None:
            return
        if row["connected_at_us"] <= self._pools.board.killed_at(self._pools.database_record(pool)):
            self.relay.send_off(client, Refusal.KILLED.build())
