"""The usher: tells clients that wait for a backend how they stand, and in the end that it was too long."""

import time

from pgmux.config import Config
from pgmux.config.durations import format_duration
from pgmux.control.figures import Figures
from pgmux.control.pool_figures import PoolFigures
from pgmux.protocol.messages import build_notice_response
from pgmux.relay.endpoint import Client
from pgmux.relay.relay import Relay
from pgmux.session.refusals import Refusal
from pgmux.worker.journal import Journal
from pgmux.worker.reception import Reception


class Usher:
    """One worker's usher."""

    def __init__(self, relay: Relay, reception: Reception, figures: Figures, journal: Journal) -> None:
        self._relay = relay
        self._reception = reception
        self._figures = figures
        self._journal = journal
        self._last_look = time.monotonic()

    def look(self, config: Config) -> None:
        """Tell whose wait has become long since the last look. Several times a second."""
        now = time.monotonic()
        window_us, self._last_look = int((now - self._last_look) * 1_000_000), now
        limit_us = int(config.pgmux.query_wait_notify * 1_000_000)
        found = self._relay.long_waiting(limit_us, window_us) if limit_us else []
        if not found:
            return
        pools = {pool.number: pool for pool in self._figures.survey().pools}
        for client, waited_us, ahead in found:
            pool = self._relay.pool_of(client)
            if pool in pools:
                self._relay.say(client, _build_notice(pools[pool], waited_us, ahead, config))

    def turn_down(self, client: Client, config: Config) -> None:
        """Tell a client that it has waited for too long. Its session goes on."""
        waited_us, ahead = self._relay.waiting_place(client)
        limit = config.pgmux.query_wait_timeout
        detail = f"It waited {waited_us / 1_000_000:.1f}s, at last behind {ahead} other clients of its pool."
        error = self._reception.trouble_of(client) or Refusal.WAITED_TOO_LONG.build(
            detail, severity="ERROR", timeout=f"{limit:g}s"
        )
        self._journal.turned_down(self._reception.passenger(client.record), error, waited_us)
        self._relay.turn_down(client, error)


def _build_notice(pool: PoolFigures, waited_us: int, ahead: int, config: Config) -> bytes:
    others = "no other client is" if ahead == 0 else "1 client is" if ahead == 1 else f"{ahead} clients are"
    limit = config.pgmux.query_wait_timeout
    hint = f"It is given up after query_wait_timeout ({format_duration(limit)})." if limit else None
    return build_notice_response(
        "NOTICE",
        "00000",
        f"waiting for a backend since {waited_us / 1_000_000:.1f}s: "
        f"{others} ahead in the queue of {pool.database}/{pool.user}",
        pool.detail,
        hint,
    )
