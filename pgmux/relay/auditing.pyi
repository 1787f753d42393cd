"""What no text announces: found by looking at backends that were let go, and announced from then on."""

from pgmux.relay.asking import Asking

class Auditing(Asking):
    """Audits of a worker's backends, and what is known of functions."""

    audit_interval_us: int  # between two audits of this worker; 0 = none

    def learnt(self, pool: int, lore: int, took_us: int = 0) -> None:
        """What functions of a pool's database leave behind is known, as of that moment.

        `took_us`: how long PostgreSQL was busy with it, which shall not be much of its time.
        """
