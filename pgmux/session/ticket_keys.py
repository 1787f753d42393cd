"""The keys of session tickets: the same in all workers at any moment, and twice a day new ones.

A client that comes back shows a ticket, and need not shake hands in full, whichever worker it
meets. What opens a ticket also opens what was said under it by TLS 1.2, so keys must not lie
about: each is derived from a link of a chain, of which the next link is a hash. All processes
of one pgmux inherit the chain and climb it by the same clock; who holds a link can compute no
earlier one. A ticket sealed with an earlier key is not accepted: one more handshake in full.
"""

import hmac
from typing import Final

PERIOD_SECONDS: Final = 12 * 3600.0
KEY_BYTES: Final = 80  # OpenSSL's: a name 16, for HMAC 32, for AES 32

_DIGEST: Final = "sha512"


class TicketKeys:
    """One process's place on the chain. `key` is the present one."""

    __slots__ = ("_began", "_link", "_steps", "key")

    def __init__(self, seed: bytes, now: float) -> None:
        """`seed`: 32 or more random bytes. `now`: of a clock that all processes share, seconds."""
        self._link = seed
        self._began = now
        self._steps = 0
        self.key = self._derive()

    def __repr__(self) -> str:
        return f"<TicketKeys step {self._steps}>"

    def advance(self, now: float) -> bool:
        """Climb to where one must be by now. Whether the key has changed."""
        due = int((now - self._began) / PERIOD_SECONDS)
        if due <= self._steps:
            return False
        while self._steps < due:
            self._link = hmac.digest(self._link, b"next", _DIGEST)
            self._steps += 1
        self.key = self._derive()
        return True

    def _derive(self) -> bytes:
        halves = (hmac.digest(self._link, purpose, _DIGEST) for purpose in (b"key 1", b"key 2"))
        return b"".join(halves)[:KEY_BYTES]
