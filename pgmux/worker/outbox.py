"""An outbox: what the others' mailboxes had no room for, in order, until they have.

For those who must not wait themselves. Who may wait for room keeps no outbox.
"""

from collections import defaultdict, deque
from collections.abc import Iterable

import gevent

from pgmux.worker.mailbox import Mailbox, Message

_FULL_SECONDS = 0.001  # how long to leave a full mailbox alone


class Outbox:
    """Messages of one worker to all."""

    def __init__(self, mailboxes: list[Mailbox]) -> None:
        self._mailboxes = mailboxes
        self._unsent: defaultdict[int, deque[Message]] = defaultdict(deque)  # by receiver
        self.is_waiting = False  # for room

    def post(self, receiver: int, messages: Iterable[Message]) -> None:
        """Send messages to a worker, or keep them until it has room for them. Never switches."""
        unsent = self._unsent[receiver]
        for message in messages:
            if unsent or not self._mailboxes[receiver].send(message):
                unsent.append(message)
        if unsent and not self.is_waiting:
            self.is_waiting = True
            gevent.spawn(self._send_the_rest)

    def _send_the_rest(self) -> None:
        while any(self._unsent.values()):
            gevent.sleep(_FULL_SECONDS)
            for receiver, unsent in self._unsent.items():
                while unsent and self._mailboxes[receiver].send(unsent[0]):
                    unsent.popleft()
        self.is_waiting = False
