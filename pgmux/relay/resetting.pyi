"""RESET leads to what the session had at its start: the client's start-up parameters, not pgmux's own log-in."""

from pgmux.relay.recalling import Recalling

class Resetting(Recalling):
    """RESET, SET … TO DEFAULT and DISCARD ALL of clients that have logged in with settings."""
