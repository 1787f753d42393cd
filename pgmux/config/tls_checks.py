"""What must hold between the options of TLS, and between them and the files they name.

What can only be seen by OpenSSL, such as a key that does not belong to its certificate, shows
when TLS is set up: `pgmux check` and a reload do that too, before anything changes.
"""

import os
import stat
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pgmux.config.certificates import check_private_key, find_certificate
from pgmux.config.configuration import Config
from pgmux.config.findings import Findings
from pgmux.config.settings import Settings

_SOON: Final = timedelta(days=14)  # a certificate that ends within this is warned of
_DEMANDING: Final = ("require", "verify-ca", "verify-full")

_Side = Literal["client", "server"]


def check_tls(config: Config, findings: Findings) -> None:
    """Note in `findings` whatever does not fit together."""
    settings = config.pgmux
    _check_clients(settings, findings)
    _check_server(settings, findings)
    for side in ("client", "server"):
        _check_pair(settings, side, findings)
        _check_files(settings, side, findings)


def _check_clients(settings: Settings, findings: Findings) -> None:
    mode = settings.client_tls_sslmode
    if mode == "disable":
        for key in ("client_tls_key_file", "client_tls_cert_file", "client_tls_ca_file"):
            if getattr(settings, key):
                message = 'has no effect, because client_tls_sslmode = "disable"'
                findings.warn(("pgmux", key), message, 'set client_tls_sslmode = "prefer", or "require"')
        return
    for key, what in (("client_tls_key_file", "private key"), ("client_tls_cert_file", "certificate")):
        if not getattr(settings, key):
            hint = f'set {key} = "/etc/pgmux/…"'
            findings.refuse(("pgmux", key), f'client_tls_sslmode = "{mode}" needs a {what} of pgmux', hint)
    if mode.startswith("verify") and not settings.client_tls_ca_file:
        message = f'client_tls_sslmode = "{mode}" needs the authorities that sign clients\' certificates'
        findings.refuse(("pgmux", "client_tls_ca_file"), message, "set client_tls_ca_file")


def _check_server(settings: Settings, findings: Findings) -> None:
    mode = settings.server_tls_sslmode
    if mode == "verify-ca" and not settings.server_tls_ca_file:
        message = 'server_tls_sslmode = "verify-ca" needs the authority that signs PostgreSQL\'s certificate'
        hint = 'set server_tls_ca_file, or "verify-full" for the authorities that the system trusts'
        findings.refuse(("pgmux", "server_tls_ca_file"), message, hint)
    if settings.server_tls_negotiation == "direct" and mode not in _DEMANDING:
        message = f'"direct" cannot fall back to a connection without TLS, as "{mode}" would have it'
        hint = 'set server_tls_sslmode = "require" or stronger'
        findings.refuse(("pgmux", "server_tls_negotiation"), message, hint)


def _check_pair(settings: Settings, side: _Side, findings: Findings) -> None:
    key, certificate = f"{side}_tls_key_file", f"{side}_tls_cert_file"
    if getattr(settings, key) and not getattr(settings, certificate):
        findings.refuse(("pgmux", key), "a private key without its certificate", f"set {certificate}")
    if getattr(settings, certificate) and not getattr(settings, key):
        findings.refuse(("pgmux", certificate), "a certificate without its private key", f"set {key}")


def _check_files(settings: Settings, side: _Side, findings: Findings) -> None:
    for kind in ("key", "cert", "ca"):
        option = f"{side}_tls_{kind}_file"
        path = getattr(settings, option)
        if not path or findings.is_refused(("pgmux", option)):
            continue
        try:
            if kind == "key":
                check_private_key(path)
                _warn_of_readers(path, option, findings)
            elif kind == "cert":
                _warn_of_its_end(path, option, findings)
            else:
                find_certificate(path)
        except OSError as error:
            findings.refuse(("pgmux", option), f"{path} cannot be read: {error.strerror}")
        except ValueError as error:
            findings.refuse(("pgmux", option), f"{path} {error}")


def _warn_of_readers(path: str, option: str, findings: Findings) -> None:
    if os.stat(path).st_mode & stat.S_IROTH:
        message = f"every user of this machine can read the private key in {path}"
        findings.warn(("pgmux", option), message, f"chmod 640 {path}")


def _warn_of_its_end(path: str, option: str, findings: Findings) -> None:
    begins, ends = find_certificate(path)
    now = datetime.now(UTC)
    if now < begins:
        message = f"the certificate in {path} is not good before {begins:%Y-%m-%d %H:%M} UTC"
        findings.warn(("pgmux", option), message, "check the clock of this machine")
    elif now > ends:
        message = f"the certificate in {path} has expired on {ends:%Y-%m-%d %H:%M} UTC"
        findings.warn(("pgmux", option), message, "renew it, then reload")
    elif now > ends - _SOON:
        message = f"the certificate in {path} expires on {ends:%Y-%m-%d %H:%M} UTC"
        findings.warn(("pgmux", option), message, "renew it, then reload")
