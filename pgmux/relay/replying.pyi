"""What a backend says, and to whom: framed, matched with what was asked, passed on, swallowed, or made by us."""

from typing import Final

from pgmux.relay.parting import Parting

FAKES: Final[dict[bytes, bytes]]

class Replying(Parting):
    """From a backend to its client."""
