"""Notes: what hangs on requests that were sent, until it is known what became of them."""

from pgmux.relay.describing import Describing

class Noting(Describing):
    """What requests stood for, and what became of it."""
