"""The side of SCRAM that checks; see scram.py for the other, and for what both are about."""

from pgmux.protocol.scram import ScramKeys, ScramVerifier

class ScramServer:
    """The side that checks: `challenge` answers client-first, `verify` answers client-final."""

    def __init__(self, verifier: ScramVerifier, nonce: bytes, end_point: bytes = b"") -> None:
        """`nonce`: fresh for every exchange, printable and without commas; `make_nonce` gives one."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What is on offer, the preferred one first."""

    @property
    def keys(self) -> ScramKeys | None:
        """What the client has proved; None before its proof was right."""

    def challenge(self, client_first: bytes, mechanism: str = ...) -> bytes:
        """Give server-first; `mechanism` is the client's choice. Raises ClientProtocolError."""

    def verify(self, client_final: bytes) -> bytes | None:
        """Give server-final; None when the proof is wrong. Raises ClientProtocolError."""

def forget_stock() -> None:
    """Draw nonces anew: what was drawn ahead is another process's, or is known."""
