"""The other end of the control socket, which gives every command the same answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Control:
    """Listens at `path`; `asked` has the commands that came."""

    def __init__(self, path: Path, replies: Sequence[Mapping[str, str]]) -> None:
        self.path = str(path)
        self.asked: list[list[str]] = []
        self._replies = b"".join(json.dumps(reply).encode() + b"\n" for reply in replies)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self.asked.append(json.loads(lines.readline())["command"])
                connection.sendall(self._replies)
