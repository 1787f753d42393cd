"""Names of prepared statements on their way."""

from pgmux.relay.noting import Noting

class Naming(Noting):
    """Parse, Bind, Describe and Close of clients whose backends change."""
