"""The timekeeper: which of a worker's clients have taken longer than they may, and what becomes of them.

Looked at once a tick. One table of the limits of a session, `LIMITS`, says for each what it is about, in
the relay's terms, and what the client is told.
"""

from typing import Final, NamedTuple

from pgmux.config import Config
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay, Stay
from pgmux.session.refusals import Refusal
from pgmux.worker.canceller import Canceller
from pgmux.worker.reception import Reception
from pgmux.worker.usher import Usher


class Limit(NamedTuple):
    """One limit of a session."""

    option: str
    stay: Stay  # what lasts
    refusal: Refusal


LIMITS: Final = (
    Limit("query_timeout", Stay.QUERY_STAY, Refusal.QUERY_TIMEOUT),
    Limit("transaction_timeout", Stay.TRANSACTION_STAY, Refusal.TRANSACTION_TIMEOUT),
    Limit("idle_transaction_timeout", Stay.IDLE_IN_TRANSACTION_STAY, Refusal.IDLE_IN_TRANSACTION),
    Limit("client_idle_timeout", Stay.IDLE_STAY, Refusal.CLIENT_IDLE),
)

_SILENCE_IN_A_CROWD_US: Final = 500_000  # who lets us wait for longer makes room for others


class Timekeeper:
    """One worker's timekeeper."""

    def __init__(self, config: Config, reception: Reception, canceller: Canceller, usher: Usher) -> None:
        self.relay: Relay
        self._reception = reception
        self._canceller = canceller
        self._usher = usher
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """After a reload."""
        self._config = config
        self._limits = [
            (limit, int(seconds * 1_000_000))
            for limit in LIMITS
            if (seconds := getattr(config.pgmux, limit.option))
        ]

    def tick(self) -> None:
        """Look at all clients that something may be wrong with."""
        late, tired = self.relay.overdue(int(self._config.pgmux.client_login_timeout * 1_000_000))
        for client in late:
            self._reception.close_for_lateness(client)
        if self.relay.is_crowded:
            for client in self.relay.silent(_SILENCE_IN_A_CROWD_US):
                self._reception.make_room(client)
        for client in tired:
            self._usher.turn_down(client, self._config)
        for limit, limit_us in self._limits:
            for client in self.relay.overstayed(limit.stay, limit_us):
                self._end(client, limit)

    def _end(self, client: Client, limit: Limit) -> None:
        seconds = getattr(self._config.pgmux, limit.option)
        last_words = limit.refusal.build(timeout=f"{seconds:g}s")
        slot = self.relay.backend_of(client)
        if limit.stay is Stay.QUERY_STAY and slot is not None:
            # PostgreSQL ends the query and not the session; its error is ours then, which says why.
            self.relay.expect_overtime(slot, last_words)
            self._canceller.cancel_backend(slot)
        else:
            self.relay.send_off(client, last_words)
