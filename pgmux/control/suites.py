"""What a connection is under, as people and PgBouncer write it; in shared memory it is a number."""

from functools import cache
from typing import Final

_VERSIONS: Final = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}


@cache
def name_suite(code: int) -> str:
    """As "TLSv1.3/TLS_AES_256_GCM_SHA384"; "" for 0, which is no TLS.

    `code`: version << 16 | cipher suite, by their numbers in RFC 8446, sections 4.1.2 and B.4.
    """
    if not code:
        return ""
    version, suite = code >> 16, code & 0xFFFF
    return f"{_VERSIONS.get(version, hex(version))}/{_suites().get(suite, hex(suite))}"


@cache
def _suites() -> dict[int, str]:
    """OpenSSL's names of all that it knows."""
    import ssl  # only here: most never ask, and it takes a megabyte

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {int(cipher["id"]) & 0xFFFF: str(cipher["name"]) for cipher in context.get_ciphers()}
