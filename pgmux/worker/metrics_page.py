"""The page of metrics, over HTTP: /metrics, and /healthz and /readyz for those who start and stop pgmux.

All workers accept from the same socket, and each answers for all. A connection serves one request, so that
who comes every few seconds does not stay with a worker that may be stopped.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from gevent import pywsgi, socket
from gevent.pool import Pool

from pgmux.control.figures import Figures
from pgmux.control.health import find_obstacles
from pgmux.control.openmetrics import Pages
from pgmux.worker.workload import Workload

_AT_ONCE = 16  # connections of one worker
_WITHIN_SECONDS = 10.0  # for a request to come
_PLAIN: Final = "text/plain; charset=utf-8"

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """One connection, which must not take its time."""

    def handle(self) -> None:
        self.socket.settimeout(_WITHIN_SECONDS)
        super().handle()


class MetricsPage:
    """One worker's share of it."""

    def __init__(self, listener: socket.socket, figures: Figures, workload: Workload) -> None:
        self._figures = figures
        self._pages = Pages(figures)
        self._workload = workload
        own = socket.socket(fileno=os.dup(listener.fileno()))
        self._server = pywsgi.WSGIServer(
            own, self._answer, spawn=Pool(_AT_ONCE), log=None, error_log=None, handler_class=_Handler
        )

    def start(self) -> None:
        """Accept connections."""
        self._server.start()

    def stop(self) -> None:
        """Accept no more, and break off what is not answered yet."""
        self._server.stop(timeout=0)

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application (PEP 3333)."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _tell(
                start_response, "405 Method Not Allowed", "only GET and HEAD\n", ("Allow", "GET, HEAD")
            )
        if path == "/metrics":
            content_type, pages = self._pages.write(environ.get("HTTP_ACCEPT", ""))
            start_response("200 OK", [("Content-Type", content_type), ("Connection", "close")])
            return [] if method == "HEAD" else self._in_pieces(pages)
        if path == "/healthz":
            return _tell(start_response, "200 OK", "ok\n")
        if path == "/readyz":
            obstacles = find_obstacles(self._figures)
            status = "503 Service Unavailable" if obstacles else "200 OK"
            return _tell(start_response, status, "\n".join([*obstacles, ""]) if obstacles else "ok\n")
        return _tell(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz\n")

    def _in_pieces(self, pages: Iterator[bytes]) -> Iterator[bytes]:
        with self._workload:
            for page in pages:
                yield page
                self._workload.give_way()


def _tell(start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
    start_response(status, [("Content-Type", _PLAIN), ("Connection", "close"), *headers])
    return [text.encode()]
