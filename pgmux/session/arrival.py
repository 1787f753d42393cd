"""How a client came in: what its connection alone tells, before it has said who it is.

Rules for clients (`hba.py`) match on it, peer and cert read a name from it, and SCRAM binds itself to it.
Whoever accepts a connection fills it in; whoever ends its TLS handshake sets `encryption`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encryption:
    """What TLS tells about a client whose handshake is done."""

    has_certificate: bool = False  # the client showed one that our authorities signed, and holds its key
    common_name: str = ""  # CN of that certificate's subject; "" = it has none
    distinguished_name: str = ""  # the whole subject, as RFC 4514 writes it
    end_point: bytes = (
        b""  # tls-server-end-point of our own certificate (RFC 5929 section 4.1); b"" = unknown
    )


@dataclass(slots=True)
class Arrival:
    """What is known of a connection."""

    address: str = ""  # numeric, without a port; "" for the Unix socket
    port: int = 0
    is_unix: bool = False
    peer_uid: int = -1  # of the process at the Unix socket's other end (SO_PEERCRED, unix(7)); -1 = unknown
    encryption: Encryption | None = None  # None = the connection is not encrypted

    @property
    def is_encrypted(self) -> bool:
        """Whether it is encrypted by TLS."""
        return self.encryption is not None
