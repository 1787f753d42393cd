"""What the view can have done: commands to the control socket, one connection each.

The wire format is the control socket's: a line of JSON {"command": [...]}, answered by lines whose "type" is
progress, notice, done or error, the last of them done or error.
"""

import os
import socket
from collections.abc import Callable, Sequence

import msgspec

from pgmux.errors import PgmuxError


class SteeringError(PgmuxError):
    """pgmux does not answer, or says no."""


class Reply(msgspec.Struct):
    """One line of an answer, as much of it as matters here."""

    type: str
    message: str = ""
    hint: str = ""
    tag: str = ""


class Steering:
    """The control socket at `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def is_possible(self) -> bool:
        """Whether there is a control socket that we may use."""
        return os.access(self.path, os.W_OK)

    def give(self, words: Sequence[str], tell: Callable[[str], None]) -> str:
        """Give a command and wait for its end; gives what was done. `tell` hears what it waits for.

        Raises SteeringError.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.path)
                connection.sendall(msgspec.json.encode({"command": list(words)}) + b"\n")
                with connection.makefile("rb") as lines:
                    for line in lines:
                        reply = msgspec.json.decode(line, type=Reply)
                        if reply.type == "error":
                            raise SteeringError(
                                f"{reply.message} ({reply.hint})" if reply.hint else reply.message
                            )
                        if reply.type == "done":
                            return reply.tag or " ".join(words)
                        if reply.message:
                            tell(reply.message)
        except OSError as error:
            raise SteeringError(f"no pgmux answers at {self.path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise SteeringError(f"{self.path} answers what cannot be understood: {error}") from None
        raise SteeringError("the worker that took the command has ended: look whether it was carried out")
