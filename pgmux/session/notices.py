"""What pgmux itself tells a client without refusing it anything: one table of NoticeResponses.

Errors stand in refusals.py. A notice may come at any moment between two messages, as PostgreSQL's do.
"""

from enum import Enum

from pgmux.protocol.messages import build_notice_response


class Notice(Enum):
    """A case: its SQLSTATE, severity, message and hint, the last two with names to be filled in."""

    MISSED_NOTIFICATIONS = (
        "01000",
        "WARNING",
        'notifications may have been missed: pgmux had to listen anew in database "{database}"',
        "All channels are listened to again: read anew what was notified.",
    )

    PINNED = (
        "01000",
        "WARNING",
        "{reason}: this session keeps a PostgreSQL backend for itself from here on",
        "The backend is shared again when that is gone, or with DISCARD ALL.",
    )

    def __init__(self, sqlstate: str, severity: str, message: str, hint: str) -> None:
        self.sqlstate = sqlstate
        self.severity = severity
        self.message = message
        self.hint = hint

    def build(self, **values: str) -> bytes:
        """Give the NoticeResponse. Raises KeyError for a name without a value."""
        return build_notice_response(
            self.severity, self.sqlstate, self.message.format(**values), None, self.hint.format(**values)
        )
