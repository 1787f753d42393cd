"""One connection's TLS: ciphertext in, plaintext out, and the other way round."""

from pgmux.relay.tls_context import TlsContext

class Tls:
    """The state of one connection."""

    def __init__(self, context: TlsContext, host: str = "") -> None:
        """`host`: what we connect to, a name or an address; it is told to the server (SNI), and checked."""

    @property
    def context(self) -> TlsContext: ...
    @property
    def is_secured(self) -> bool: ...
    @property
    def has_ended(self) -> bool: ...
    @property
    def trouble(self) -> str:
        """Why the handshake or the connection failed; "" when it did not."""

    @property
    def protocol(self) -> str:
        """The protocol agreed on by ALPN, "" for none."""

    @property
    def is_resumed(self) -> bool:
        """Whether a ticket of an earlier session spared the handshake's expensive half."""

    @property
    def code(self) -> int:
        """Version and cipher suite by their numbers, for shared memory; not before the handshake is done."""

    def describe(self) -> str:
        """Version and cipher, as "TLSv1.3/TLS_AES_256_GCM_SHA384"."""

    def peer_end_point(self) -> bytes:
        """The hash of the peer's certificate to which SCRAM binds itself (RFC 5929); b"" for none."""

    def identify_peer(self) -> tuple[bool, str, str]:
        """(whether the peer showed a certificate that our authorities vouch for, its common name, its
        distinguished name as RFC 4514 writes it); the names are "" where there is none.
        """

    def begin(self) -> bytes:
        """What is to be sent first by the side that connects."""

    def unseal(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """(the plaintext in what came, what is to be sent because of it)."""

    def seal_bytes(self, plaintext: bytes) -> bytes:
        """What is to be sent for it. Raises TlsError when nothing can be sent any more."""

    def close(self) -> bytes:
        """What is to be sent last: close_notify."""
