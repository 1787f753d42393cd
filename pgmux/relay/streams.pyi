"""Reading and writing sockets: one buffer for all that is read, and what was not taken is kept."""

from pgmux.relay.leasing import Leasing
from pgmux.relay.volley import Volley

class Streams(Leasing):
    """The bytes of this worker's sockets."""

    @property
    def volley(self) -> Volley: ...
