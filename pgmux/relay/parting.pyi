"""How a client and its backend part before their time: who leaves, who is sent off, which backend is given up."""

from typing import Final

from pgmux.relay.carrying import Carrying

LINGER_US: Final[int]
ORPHAN_US: Final[int]

class Parting(Carrying):
    """Ends, good and bad."""
