"""What may be written about TLS: versions of the protocol, and PgBouncer's names for lists of ciphers."""

from typing import Final

VERSIONS: Final = ("tlsv1.2", "tlsv1.3")  # oldest first; older ones are deprecated (RFC 8996)

_EXPECTED: Final = '"secure" (TLS 1.2 and 1.3), "tlsv1.2" or "tlsv1.3"'
_TOO_OLD: Final = frozenset({"tlsv1", "tlsv1.0", "tlsv1.1", "all", "legacy"})
_CIPHER_LISTS: Final = {  # in OpenSSL's syntax, see ciphers(1); "" = OpenSSL's own, which the system may set
    "default": "",
    "secure": "TLSv1.2+AEAD+ECDHE",
    "normal": "HIGH:!aNULL",
    "fast": "HIGH:!aNULL",
    "compat": "HIGH:!aNULL",
    "legacy": "HIGH:!aNULL",
    "all": "ALL:!aNULL:!eNULL",
    "insecure": "ALL:!aNULL:!eNULL",
}


def parse_protocols(value: object) -> tuple[str, ...]:
    """Give the versions, oldest first, that a text such as "secure" or "tlsv1.2,tlsv1.3", or a list, names.

    Raises ValueError, with a message for the user.
    """
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"expected {_EXPECTED}; got {value!r}")
    chosen: set[str] = set()
    for word in (word.strip().lower() for word in words):
        if word in _TOO_OLD:
            raise ValueError(f'"{word}" has TLS 1.0 or 1.1, which pgmux does not speak; use {_EXPECTED}')
        if word != "secure" and word not in VERSIONS:
            raise ValueError(f'expected {_EXPECTED}; got "{word}"')
        chosen.update(VERSIONS if word == "secure" else (word,))
    return tuple(version for version in VERSIONS if version in chosen)


def show_protocols(versions: tuple[str, ...]) -> object:
    """Give the text that stands for the versions."""
    return "secure" if versions == VERSIONS else ",".join(versions)


def expand_ciphers(value: str) -> str:
    """Give the list in OpenSSL's syntax that a text means, "" for OpenSSL's own."""
    return _CIPHER_LISTS.get(value, value)
