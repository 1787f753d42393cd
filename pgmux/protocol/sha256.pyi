"""SHA-256 and its HMAC (FIPS 180-4, RFC 2104), without an object for each."""

def sha256(data: bytes) -> bytes: ...
def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """The HMAC under a key of 32 bytes. Raises ValueError for a key of another length."""
