"""What a start-up packet says, understood once.

Clients of one application send the same packet, byte by byte, each time they connect: what follows from its
bytes alone is worked out for the first of them and remembered for the rest. What depends on who connects
from where, or on secrets, is never kept here.
"""

from collections.abc import Mapping
from typing import Any, Final

from pgmux.protocol import messages
from pgmux.protocol.startup import (
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    parse_options,
    parse_startup_packet,
)
from pgmux.session.doors import VIRTUAL_DATABASES
from pgmux.session.refusals import Refusal

_NOT_SETTINGS: Final = frozenset({"user", "database", "options", "replication"})
_NO_REPLICATION: Final = frozenset({"", "off", "false", "no", "0"})
_KEY_BYTES: Final = 4  # of a cancel key before protocol 3.2
_LONG_KEY_BYTES: Final = 32  # from 3.2 on: as PostgreSQL 18 gives
LONGEST_REMEMBERED: Final = 1024  # bytes of a packet; others are rare
_MOST_REMEMBERED: Final = 1000  # together a megabyte at most, whatever strangers send

remembered: dict[bytes, "Introduction"] = {}  # by packet


class Introduction:
    """What a StartupMessage says. All who send the same packet share one; only `greeting` ever changes."""

    __slots__ = (
        "_settings",
        "answer",
        "database",
        "greeting",
        "is_console",
        "is_replication",
        "key_bytes",
        "parameters",
        "protocol_version",
        "refusal",
        "user",
        "user_name",
    )

    def __init__(self, message: StartupMessage) -> None:
        version, parameters, extensions = message
        self.parameters: Mapping[str, str] = parameters  # all that the client sent, as it sent it
        self.user = parameters.get("user", "")
        self.user_name = self.user.encode("utf-8", "surrogateescape")
        self.database = parameters.get("database") or self.user
        self.is_console = self.database in VIRTUAL_DATABASES
        # It wants a backend of its own, which speaks the replication protocol too.
        self.is_replication = parameters.get("replication", "").lower() not in _NO_REPLICATION
        self.protocol_version = min(version, messages.LATEST_VERSION)  # the one that is spoken
        self.key_bytes = _LONG_KEY_BYTES if self.protocol_version >= (3, 2) else _KEY_BYTES
        self.answer = b""  # to be sent before anything else
        self.refusal = self._find_fault(version)  # why nobody is let in with this, and the names in its text
        self.greeting: Any = None  # what was told to the last who was let in with this; the relay's
        self._settings: dict[str, str] | None = None
        if version > messages.LATEST_VERSION or extensions:
            self.answer = messages.build_negotiate_protocol_version(self.protocol_version, extensions)

    def _find_fault(self, version: tuple[int, int]) -> tuple[Refusal, dict[str, str]] | None:
        if version[0] != messages.LATEST_VERSION[0]:
            return Refusal.UNSUPPORTED_PROTOCOL, {"version": f"{version[0]}.{version[1]}"}
        if not self.user:
            return Refusal.NO_USER_NAME, {}
        return None

    @property
    def settings(self) -> dict[str, str]:
        """What is to be set, `options` included, names in lower case. Not to be changed.

        Raises OptionsError, each time: who has not shown who he is must not find out.
        """
        if self._settings is None:
            options = self.parameters.get("options")
            settings = {} if options is None else parse_options(options)
            for name, value in self.parameters.items():
                if name not in _NOT_SETTINGS:
                    settings[name.lower()] = value
            self._settings = settings
        return self._settings


def introduce(packet: bytes) -> SSLRequest | GSSENCRequest | CancelRequest | Introduction:
    """Give the request in one whole start-up packet, and remember it. Raises ClientProtocolError.

    Whoever is in haste looks into `remembered` first.
    """
    request = parse_startup_packet(packet)
    if not isinstance(request, StartupMessage):
        return request
    introduction = Introduction(request)
    if len(packet) <= LONGEST_REMEMBERED:
        if len(remembered) >= _MOST_REMEMBERED:
            remembered.clear()
        remembered[packet] = introduction
    return introduction
