"""What can be seen of a certificate or a private key without OpenSSL: what it is, and until when it is good.

Whether key and certificate belong together, and whether OpenSSL takes them, shows when TLS is set up.
"""

import base64
import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)  # RFC 7468
_CERTIFICATES: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"})
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18  # ASN.1 types of a date (RFC 5280 section 4.1.2.5)


class Validity(NamedTuple):
    """From when until when a certificate is good."""

    begins: datetime
    ends: datetime


def find_certificate(path: str) -> Validity:
    """Give the validity of the first certificate in a file.

    Raises ValueError, with a message for the user, for a file without one; OSError when it cannot be read.
    """
    for kind, body in _blocks(path):
        if kind in _CERTIFICATES:
            return _read_validity(body)
    raise ValueError("holds no certificate in PEM")


def check_private_key(path: str) -> None:
    """Raise ValueError, with a message for the user, unless a file holds a private key without a passphrase.

    Raises OSError when it cannot be read.
    """
    for kind, body in _blocks(path):
        if kind.endswith(b"PRIVATE KEY"):
            if kind.startswith(b"ENCRYPTED") or b"ENCRYPTED" in body[:100]:
                raise ValueError("holds a private key with a passphrase, which nobody could enter")
            return
    raise ValueError("holds no private key in PEM")


def _blocks(path: str) -> list[tuple[bytes, bytes]]:
    """The blocks of a PEM file as (label, what is between the lines)."""
    with open(path, "rb") as file:
        return [(match[1], match[2]) for match in _PEM.finditer(file.read())]


def _read_validity(body: bytes) -> Validity:
    """The validity in a certificate: the fifth part of its first part; the fourth if no version is told."""
    try:
        der = base64.b64decode(body, validate=False)
        parts = _parts(_parts(_parts(der)[0][1])[0][1])
        at = 4 if parts[0][0] == 0xA0 else 3
        begins, ends = _parts(parts[at][1])[:2]
        return Validity(_read_time(*begins), _read_time(*ends))
    except (ValueError, IndexError):
        raise ValueError("holds a certificate that cannot be read") from None


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """The ASN.1 values that stand side by side in `der`, as (tag, contents). ITU-T X.690, section 8.1."""
    parts = []
    at = 0
    while at < len(der):
        tag, size = der[at], der[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(der[at : at + count], "big")
            at += count
        parts.append((tag, der[at : at + size]))
        at += size
    return parts


def _read_time(tag: int, text: bytes) -> datetime:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError(f"not a date: {tag}")
    digits = text.decode("ascii").removesuffix("Z")
    if tag == _UTC_TIME:  # two digits of the year: 50 is 1950, 49 is 2049
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
