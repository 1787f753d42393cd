"""Certificates for tests, signed by an authority that lives as long as the session. Made by trustme."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, in two PEM files."""

    cert_file: str
    key_file: str


class Authority:
    """Signs certificates; whoever trusts `ca_file` trusts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._ca = trustme.CA()
        self.ca_file = str(folder / "authority.crt")
        self._ca.cert_pem.write_to_path(self.ca_file)

    def certify(
        self,
        *names: str,
        common_name: str | None = None,
        not_after: datetime | None = None,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> Certificate:
        """A certificate for host names or addresses, or for a user by `common_name`."""
        made = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            common_name=common_name,
            not_after=not_after,
            key_type=key_type,
        )
        number = next(self._numbers)
        certificate = Certificate(
            str(self._folder / f"{number}.crt"),
            str(self._folder / f"{number}.key"),
        )
        Path(certificate.cert_file).write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key_file = Path(certificate.key_file)
        key_file.touch(0o600)
        key_file.write_bytes(made.private_key_pem.bytes())
        return certificate

    def trusting(self, client: Certificate | None = None, *, direct: bool = False) -> ssl.SSLContext:
        """A client's context that trusts this authority, with a certificate of its own to show, if any."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if client is not None:
            context.load_cert_chain(client.cert_file, client.key_file)
        if direct:
            context.set_alpn_protocols(["postgresql"])
        return context
