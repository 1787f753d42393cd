"""The pool modes: one table, and nowhere else is a mode asked when a lease ends.

Manual: "Message Formats, ReadyForQuery" for the status.
"""
VERDICTS = {                 # (mode, status of the last ReadyForQuery): what becomes of the backend
    (SESSION, b"I"): KEEP,
    (SESSION, b"T"): KEEP,
    (SESSION, b"E"): KEEP,
    (TRANSACTION, b"I"): SETTLE,
    (TRANSACTION, b"T"): KEEP,
    (TRANSACTION, b"E"): KEEP,
    (STATEMENT, b"I"): SETTLE,
    (STATEMENT, b"T"): REFUSE,
    (STATEMENT, b"E"): REFUSE,
}
NAMES = {"session": SESSION, "transaction": TRANSACTION, "statement": STATEMENT}

for (_mode, _status), _rest in VERDICTS.items():
    RESTS[_mode][ord(_status)] = _rest
