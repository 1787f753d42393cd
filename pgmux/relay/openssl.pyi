"""The functions of OpenSSL that pgmux calls, found in the library that Python's own `ssl` module uses."""

from pgmux.errors import PgmuxError

class NoOpenSslError(PgmuxError):
    """There is no OpenSSL that could be used; the text says what to install."""
