"""The columns of a result, told from others by a digest of what PostgreSQL itself compares."""

def digest(body: bytes) -> int:
    """Of a RowDescription's body, 32 bits; 0 when it is none. For tests."""
