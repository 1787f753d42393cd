"""A certificate for the poolers of a measurement, signed by an authority that is forgotten at once."""

from __future__ import annotations

from pathlib import Path

import trustme


def write_certificate(folder: Path) -> None:
    """Writes server.crt and server.key; whoever may enter the folder can read both."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "server.crt"))
    (folder / "server.key").chmod(0o644)
