"""What a start-up packet says, understood once."""

from collections.abc import Mapping
from typing import Any

from pgmux.protocol.startup import CancelRequest, GSSENCRequest, SSLRequest, StartupMessage
from pgmux.session.refusals import Refusal

class Introduction:
    """What a StartupMessage says. All who send the same packet share one."""

    greeting: Any  # what was told to the last who was let in with this; the relay's
    def __init__(self, message: StartupMessage) -> None: ...
    @property
    def parameters(self) -> Mapping[str, str]:
        """All that the client sent, as it sent it."""

    @property
    def user(self) -> str: ...
    @property
    def user_name(self) -> bytes:
        """The user as it lies in shared memory."""

    @property
    def database(self) -> str: ...
    @property
    def is_console(self) -> bool: ...
    @property
    def is_replication(self) -> bool:
        """Whether it wants a backend of its own, which speaks the replication protocol too."""

    @property
    def protocol_version(self) -> tuple[int, int]:
        """The one that is spoken, not the one asked for."""

    @property
    def key_bytes(self) -> int: ...
    @property
    def answer(self) -> bytes:
        """To be sent before anything else."""

    @property
    def refusal(self) -> tuple[Refusal, dict[str, str]] | None:
        """Why nobody is let in with this, and the names in its text."""

    @property
    def settings(self) -> dict[str, str]:
        """What is to be set, `options` included, names in lower case. Not to be changed.

        Raises OptionsError, each time.
        """

def introduce(packet: bytes) -> SSLRequest | GSSENCRequest | CancelRequest | Introduction:
    """Give the request in one whole start-up packet, and remember it. Raises ClientProtocolError."""
