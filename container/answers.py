"""Whether pgmux answers: the health check of the container.

It asks by the control socket, which any worker answers that lives, wherever clients are listened for and whether
PostgreSQL is there or not; and it costs no log-in. The lines are drawn in pgmux/control/answers.py; of pgmux's own
code nothing is loaded, which would take longer than all the rest.
"""

import os
import socket
import sys

QUESTION = b'{"command": ["show", "version"]}\n'
LAST_LINE = b'{"type":"done"'
TIMEOUT_SECONDS = 2.0
MOST_BYTES = 65_536


def answers(control_socket: str) -> bool:
    """Whether pgmux gives its version at this socket."""
    told = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(control_socket)
            connection.sendall(QUESTION)
            while LAST_LINE not in told and len(told) < MOST_BYTES:
                piece = connection.recv(4096)
                if not piece:
                    return False
                told += piece
    except OSError:
        return False
    return LAST_LINE in told


if __name__ == "__main__":
    runtime_dir = os.environ.get("PGMUX_RUNTIME_DIR", "/dev/shm/pgmux")
    sys.exit(not answers(os.environ.get("PGMUX_CONTROL_SOCKET") or f"{runtime_dir}/control.sock"))
