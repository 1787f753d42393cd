"""What drivers say to any PostgreSQL, and the console answers as if it meant something here.

Transactions, settings of a session, clean-up before a connection goes back to a driver's pool: an error would
stop drivers that cannot be told to leave it out.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pgmux.control.answers import ColumnName, Columns, Done, Reply, Rows
from pgmux.control.request import Request
from pgmux.protocol.results import Type, Value

FAKE_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "datestyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "extra_float_digits": "1",
    "intervalstyle": "postgres",
    "search_path": "",
    "standard_conforming_strings": "on",
    "timezone": "GMT",
    "transaction_isolation": "read committed",
}
_TRANSACTIONS: Final[Mapping[str, tuple[str, bytes]]] = {  # word: (tag, status afterwards)
    "BEGIN": ("BEGIN", b"T"),
    "START": ("START TRANSACTION", b"T"),
    "COMMIT": ("COMMIT", b"I"),
    "END": ("COMMIT", b"I"),
    "ROLLBACK": ("ROLLBACK", b"I"),
    "ABORT": ("ROLLBACK", b"I"),
}
_CLEANING: Final[Mapping[tuple[str, str], str]] = {  # the first two words: tag
    ("RESET", "ALL"): "RESET",
    ("DISCARD", "ALL"): "DISCARD ALL",
    ("CLOSE", "ALL"): "CLOSE CURSOR ALL",
    ("DEALLOCATE", "ALL"): "DEALLOCATE ALL",
    ("UNLISTEN", "*"): "UNLISTEN",
}
_SELECTED: Final[Mapping[str, tuple[str, Type, Value]]] = {  # what is asked by SELECT: column, type, value
    "1": ("?column?", Type.INT4, 1),  # of pools and monitors that want to know whether anybody is there
    "pg_advisory_unlock_all()": ("pg_advisory_unlock_all", Type.TEXT, ""),  # asyncpg's
}


def is_pretended(request: Request) -> bool:
    """Whether a request is answered here and does nothing."""
    first = request.arguments[0].lower() if request.arguments else ""
    if request.word in ("SHOW", "SET", "RESET") and first in FAKE_SETTINGS:
        return True
    if request.word == "SHOW" and first in _SELECTED and len(request.arguments) == 1:
        return True
    return request.word in _TRANSACTIONS or (request.word, first.upper()) in _CLEANING


def pretend(request: Request, status: bytes) -> tuple[Sequence[Reply], bytes]:
    """The answer, and the transaction status after it."""
    first = request.arguments[0].lower() if request.arguments else ""
    if request.word in _TRANSACTIONS:
        tag, status = _TRANSACTIONS[request.word]
        return (Done(tag),), status
    if (request.word, first.upper()) in _CLEANING:
        return (Done(_CLEANING[request.word, first.upper()]),), status
    if request.word != "SHOW":
        return (Done(request.word),), status
    name, kind, value = _SELECTED.get(first) or (first, Type.TEXT, FAKE_SETTINGS[first])
    return (Columns([ColumnName.of(name, kind)]), Rows([(value,)]), Done("SHOW")), status
