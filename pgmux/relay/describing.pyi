"""The columns that clients were told of their statements, and those that a backend would give."""

from pgmux.relay.preparing import Preparing

class Describing(Preparing):
    """Who knows which columns, and whether it is so still."""
