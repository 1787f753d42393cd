"""What a backend is asked when a transaction has ended: what is left of its session there."""

from pgmux.relay.retrying import Retrying

class Asking(Retrying):
    """The inquiries of a worker's backends."""

    own_settings: frozenset[str]  # names (a.b) that functions set
