"""Whether a worker answers on the port: the health check of the container.

It asks for TLS and waits for the one byte that says yes or no, which costs no log-in and no backend.
PostgreSQL's manual: "Message Flow", "SSL Session Encryption".
"""

import os
import socket
import struct
import sys

SSL_REQUEST = struct.pack("!II", 8, 80877103)
TIMEOUT_SECONDS = 2.0


def answers(port: int) -> bool:
    """Whether pgmux speaks on this port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) in (b"S", b"N")
    except OSError:
        return False


if __name__ == "__main__":
    first_listen = os.environ.get("PGMUX_LISTEN", ":6432").split(",")[0]
    sys.exit(not answers(int(first_listen.rpartition(":")[2])))
