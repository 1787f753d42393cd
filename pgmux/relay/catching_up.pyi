"""How a backend is brought to the settings of its next client."""

from pgmux.relay.resetting import Resetting

class CatchingUp(Resetting):
    """Settings that go in front of a client's first request: in Queries of their own, or in its transaction."""
