"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept."""

from pgmux.relay.leasing import Leasing

class Streams(Leasing):
    """The bytes of this worker's sockets."""
