"""A session's state, carried from backend to backend: how a lease begins, and how it ends."""

from pgmux.relay.catching_up import CatchingUp

class Carrying(CatchingUp):
    """What a session must find again on whatever backend its next transaction has."""

    reset_query: bytes  # server_reset_query; empty = none
    defers_begin: bool
