"""TLS handshakes of clients, in the middle of their log-ins."""

from pgmux.config.notations import TlsMode
from pgmux.relay.exchange import Exchange
from pgmux.relay.tls_context import TlsContext

class Handshakes(Exchange):
    """One worker's handshakes."""

    tls_mode: TlsMode
    tls: TlsContext | None
