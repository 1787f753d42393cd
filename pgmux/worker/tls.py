"""TLS as the configuration wants it: one context for clients, one for PostgreSQL.

Made anew at each reload, so that renewed certificates are taken up; connections that exist
keep what they were begun with.
"""

from dataclasses import dataclass

from pgmux.config import Config
from pgmux.config.addresses import is_directory
from pgmux.config.settings import Settings
from pgmux.config.tls_options import expand_ciphers
from pgmux.errors import ConfigError, PgmuxError, Problem
from pgmux.relay.openssl import NoOpenSslError
from pgmux.relay.tls_context import CLIENT_CIPHERSUITES, TLS_1_2, TLS_1_3, TlsContext
from pgmux.session.ticket_keys import TicketKeys

_VERSIONS = {"tlsv1.2": TLS_1_2, "tlsv1.3": TLS_1_3}


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """What connections are encrypted with; None where none is to be."""

    clients: TlsContext | None
    server: TlsContext | None


def open_tls(config: Config, ticket_keys: TicketKeys) -> TlsContexts:
    """Read the files of certificates and keys. Raises ConfigError, which names what cannot be used."""
    settings = config.pgmux
    clients = server = None
    whose = "TLS for clients"
    try:
        if settings.client_tls_sslmode != "disable":
            clients = _make_clients_context(settings)
            clients.set_ticket_key(ticket_keys.key)
        whose = "TLS to PostgreSQL"
        hosts = [host for database in config.databases.values() for host in database.host]
        if settings.server_tls_sslmode != "disable" and not all(map(is_directory, hosts)):
            server = _make_server_context(settings)
    except PgmuxError as error:
        problem = Problem(config.path or "pgmux.toml", None, "", f"{whose}: {error}")
        raise ConfigError([problem]) from None
    return TlsContexts(clients, server)


def server_tls_differs(before: Config, after: Config) -> bool:
    """Whether a reload changes how PostgreSQL is to be connected to, so that no old backend may stay."""
    return any(
        getattr(before.pgmux, name) != getattr(after.pgmux, name)
        for name in Settings.__struct_fields__
        if name.startswith("server_tls_")
    )


def _make_clients_context(settings: Settings) -> TlsContext:
    versions = [_VERSIONS[name] for name in settings.client_tls_protocols]
    curves = settings.client_tls_ecdhcurve
    return TlsContext(
        True,
        cert_file=settings.client_tls_cert_file,
        key_file=settings.client_tls_key_file,
        ca_file=settings.client_tls_ca_file,
        verifies=settings.client_tls_sslmode.startswith("verify"),
        oldest=versions[0],
        newest=versions[-1],
        ciphers=expand_ciphers(settings.client_tls_ciphers),
        ciphersuites=settings.client_tls13_ciphers or CLIENT_CIPHERSUITES,
        groups="" if curves == "auto" else curves,
    )


def _make_server_context(settings: Settings) -> TlsContext | None:
    mode = settings.server_tls_sslmode
    versions = [_VERSIONS[name] for name in settings.server_tls_protocols]
    try:
        return TlsContext(
            False,
            cert_file=settings.server_tls_cert_file,
            key_file=settings.server_tls_key_file,
            ca_file=settings.server_tls_ca_file if mode.startswith("verify") else "",
            verifies=mode.startswith("verify"),
            checks_names=mode == "verify-full",
            oldest=versions[0],
            newest=versions[-1],
            ciphers=expand_ciphers(settings.server_tls_ciphers),
            ciphersuites=settings.server_tls13_ciphers,
        )
    except NoOpenSslError:
        if mode in ("allow", "prefer"):
            return None  # the default must not stop a pgmux on a Python without ssl
        raise
