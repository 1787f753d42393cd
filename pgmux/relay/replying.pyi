"""What a backend says, and to whom."""

from typing import Final

from pgmux.relay.parting import Parting

FAKES: Final[dict[bytes, bytes]]

class Replying(Parting):
    """From a backend to its client."""
