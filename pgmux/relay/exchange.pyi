"""The bytes between a client and the backend it has leased, both ways."""

from typing import Final

from pgmux.relay.carrying import Carrying

LINGER_US: Final[int]
ORPHAN_US: Final[int]
KINDS: Final[dict[bytes, int]]
FAKES: Final[dict[bytes, bytes]]

class Exchange(Carrying):
    """Requests one way, replies the other. Relay feeds it with events."""
