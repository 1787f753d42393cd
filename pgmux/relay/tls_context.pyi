"""What the TLS connections of one configuration have in common: certificate, authorities, ciphers."""

from pgmux.errors import PgmuxError

TICKET_KEY_BYTES: int
TLS_1_2: int
TLS_1_3: int
CLIENT_CIPHERSUITES: str

class TlsError(PgmuxError):
    """Something about TLS that the configuration asks for cannot be had; the text says what."""

class TlsContext:
    """One configuration's context, of which every connection begun under it keeps a reference."""

    def __init__(
        self,
        is_for_clients: bool,
        *,
        cert_file: str = "",
        key_file: str = "",
        ca_file: str = "",
        verifies: bool = False,
        checks_names: bool = False,
        oldest: int = ...,
        newest: int = ...,
        ciphers: str = "",
        ciphersuites: str = "",
        groups: str = "",
    ) -> None:
        """`verifies`: the peer must show a certificate that an authority in `ca_file` has signed; without a
        `ca_file`, PostgreSQL's must be signed by one that the system trusts. Texts "" = OpenSSL's defaults.

        Raises TlsError, which names the file or list that cannot be used.
        """

    @property
    def is_for_clients(self) -> bool: ...
    @property
    def checks_names(self) -> bool: ...
    @property
    def end_point(self) -> bytes: ...
    def set_ticket_key(self, key: bytes) -> None:
        """Seal session tickets with this from now on, TICKET_KEY_BYTES long, and accept no others."""
