"""Names of prepared statements on their way."""

from pgmux.relay.streams import Streams

class Naming(Streams):
    """Parse, Bind, Describe and Close of clients whose backends change."""
