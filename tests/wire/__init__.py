"""Protocol v3 in the hands of a test: to decode, print and script messages.

Its own code from the PostgreSQL manual's chapter "Frontend/Backend Protocol", with nothing of pgmux in it, so
that a test which speaks through it is a second opinion on what pgmux says.
"""

from tests.wire import frontend
from tests.wire.messages import Message, Replies, WireFormatError, split_messages
from tests.wire.wire import LoginRefusedError, Wire, WireClosedError, WireTimeoutError

__all__ = [
    "LoginRefusedError",
    "Message",
    "Replies",
    "Wire",
    "WireClosedError",
    "WireFormatError",
    "WireTimeoutError",
    "frontend",
    "split_messages",
]
