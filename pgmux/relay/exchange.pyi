"""The bytes between a client and the backend it has leased: what the client asks. Answers are replying.pyx."""

from typing import Final

from pgmux.relay.replying import Replying

KINDS: Final[dict[bytes, int]]

class Exchange(Replying):
    """Requests one way, replies the other. Relay feeds it with events."""
