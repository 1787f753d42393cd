"""What the protocol calls things: the messages of both sides by their type bytes, and the fields of an error.

Names are those of the PostgreSQL manual, chapter "Frontend/Backend Protocol", section "Message Formats".
"""

from collections.abc import Mapping
from typing import Final

FRONTEND: Final[Mapping[bytes, str]] = {
    b"B": "Bind",
    b"C": "Close",
    b"D": "Describe",
    b"E": "Execute",
    b"F": "FunctionCall",
    b"H": "Flush",
    b"P": "Parse",
    b"Q": "Query",
    b"S": "Sync",
    b"X": "Terminate",
    b"c": "CopyDone",
    b"d": "CopyData",
    b"f": "CopyFail",
    b"p": "PasswordMessage",  # also SASLInitialResponse, SASLResponse and GSSResponse
}

BACKEND: Final[Mapping[bytes, str]] = {
    b"1": "ParseComplete",
    b"2": "BindComplete",
    b"3": "CloseComplete",
    b"A": "NotificationResponse",
    b"C": "CommandComplete",
    b"D": "DataRow",
    b"E": "ErrorResponse",
    b"G": "CopyInResponse",
    b"H": "CopyOutResponse",
    b"I": "EmptyQueryResponse",
    b"K": "BackendKeyData",
    b"N": "NoticeResponse",
    b"R": "Authentication",  # AUTHENTICATION has the name of each kind
    b"S": "ParameterStatus",
    b"T": "RowDescription",
    b"V": "FunctionCallResponse",
    b"W": "CopyBothResponse",
    b"Z": "ReadyForQuery",
    b"c": "CopyDone",
    b"d": "CopyData",
    b"n": "NoData",
    b"s": "PortalSuspended",
    b"t": "ParameterDescription",
    b"v": "NegotiateProtocolVersion",
}

AUTHENTICATION: Final[Mapping[int, str]] = {
    0: "AuthenticationOk",
    2: "AuthenticationKerberosV5",
    3: "AuthenticationCleartextPassword",
    5: "AuthenticationMD5Password",
    7: "AuthenticationGSS",
    8: "AuthenticationGSSContinue",
    9: "AuthenticationSSPI",
    10: "AuthenticationSASL",
    11: "AuthenticationSASLContinue",
    12: "AuthenticationSASLFinal",
}

ERROR_FIELDS: Final[Mapping[str, str]] = {  # section "Error and Notice Message Fields"
    "S": "severity",
    "V": "severity_nonlocalized",
    "C": "sqlstate",
    "M": "message",
    "D": "detail",
    "H": "hint",
    "P": "position",
    "p": "internal_position",
    "q": "internal_query",
    "W": "where",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "data_type",
    "n": "constraint",
    "F": "file",
    "L": "line",
    "R": "routine",
}
