"""The steward: sees to what the relay leaves in its news, which is all that it cannot do itself.

An item of the news is a word and what it is about: one thing, or a tuple of them. `_does` is the table of the
words; `tests/worker/test_steward.py` holds it against what the relay's sources say.
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from pgmux.relay.endpoint import Client
from pgmux.session.refusals import Refusal
from pgmux.worker.porter import Porter
from pgmux.worker.staff import Staff


class Steward:
    """One worker's steward."""

    def __init__(
        self,
        staff: Staff,
        porter: Porter,
        *,
        run_errands: Callable[[int], None],
        cannot_accept: Callable[[], None],
    ) -> None:
        """`run_errands(errands)`: what other processes want of the worker. `cannot_accept`: it has to stop for a
        while."""
        self._staff = staff
        self._porter = porter
        self._cannot_accept = cannot_accept
        self._log = logging.getLogger(f"worker {staff.number}")
        self._does: Mapping[str, Callable[..., object]] = {
            "errands": run_errands,
            "wanted": staff.opener.look,
            "read only": staff.opener.doubt,
            "emptied": staff.tenants.vacate,
            "fetch": porter.fetch,
            "functions": self._learn,
            "cancel": staff.canceller.cancel_counted,
            "movable": staff.moving.move,
            "newcomer": staff.moving.pass_on,
            "queue full": self._turn_down,
            "subscribe": self._subscribe,
            "notified": self._catch_up,
            "gone": self._forget,
            **self._for_the_log(),
        }

    def _for_the_log(self) -> dict[str, Callable[..., object]]:
        """What is only to be told."""
        log, journal = self._log, self._staff.journal
        return {
            "pinned": self._pinned,
            "unpinned": lambda client: None,
            "found": self._found,
            "recalls": self._recalled,
            "audit refused": journal.audit_refused,
            "waited": self._waited,
            "slow": self._was_slow,
            "turned away": lambda number: journal.turned_away(os.strerror(number)),
            "accept failed": self._accept_failed,
            "overrun": self._overran,
            "unasked": lambda slot, reply: log.error(
                "backend in slot %d sent a message of type %r, which nobody asked for", slot, reply
            ),
            "lost": lambda slot: log.warning("backend in slot %d is gone", slot),
            "handed on twice": lambda slot: log.error(
                "backend in slot %d is not ours any more: it was not used", slot
            ),
            **{
                word: lambda slot, word=word: log.error("backend in slot %d closed: %s", slot, word)
                for word in ("out of step", "stray", "slow to end")
            },
        }

    @property
    def words(self) -> frozenset[str]:
        """What the relay may say."""
        return frozenset(self._does)

    def see_to(self, word: str, what: Any) -> None:
        """Do what one item of the news asks for. Raises KeyError for a word that is not in the table."""
        if isinstance(what, tuple):
            self._does[word](*what)
        else:
            self._does[word](what)

    # --- clients

    def _turn_down(self, client: Client) -> None:
        refusal = Refusal.WAITED_TOO_LONG.build(severity="ERROR", timeout="0s")
        self._staff.relay.turn_down(client, refusal)

    def _subscribe(self, client: Client, pool: int) -> None:
        channels = client.channels or frozenset()
        self._staff.listening.subscribe(
            client.record, pool, channels, lambda: self._staff.relay.subscribed(client)
        )

    def _catch_up(self, client: Client) -> None:
        self._staff.listening.catch_up(client.record, lambda: self._staff.relay.subscribed(client))

    def _forget(self, client: Client) -> None:
        self._staff.listening.forget(client.record)

    def _learn(self, pool: int, names: tuple[bytes, ...]) -> None:
        self._porter.learn(pool, names)
        self._porter.teach(pool, names)

    # --- the log

    def _is_here(self, client: Client) -> bool:
        return self._staff.relay.client(client.record) is client

    def _pinned(self, client: Client, pins: int) -> None:
        if self._is_here(client):
            self._staff.journal.pinned(self._staff.reception.passenger(client.record), pins)

    def _found(self, client: Client, slot: int, pins: int, settings: tuple[str, ...]) -> None:
        who = self._staff.reception.passenger(client.record) if self._is_here(client) else None
        self._staff.journal.found(who, slot, pins, settings)

    def _recalled(self, pool: int) -> None:
        if (place := self._staff.pools.tenancies.names(pool)) is not None:
            self._staff.journal.recalled(*(name.decode("utf-8", "replace") for name in place[1:]))

    def _waited(self, client: Client, wait_us: int) -> None:
        if self._is_here(client):
            self._staff.journal.waited(self._staff.reception.passenger(client.record), wait_us)

    def _was_slow(self, client: Client, query_us: int) -> None:
        if self._is_here(client):
            who = self._staff.reception.passenger(client.record)
            self._staff.journal.was_slow(who, client.waited_us, query_us)

    def _accept_failed(self, number: int) -> None:
        self._log.error("cannot accept connections: %s", os.strerror(number))
        self._cannot_accept()

    def _overran(self, client: Client) -> None:
        self._log.warning(
            "client %s takes no notifications: it is sent off", ":".join(map(str, client.address()))
        )
