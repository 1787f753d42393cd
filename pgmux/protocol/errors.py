"""Who broke the protocol: the error's name says whose connection is to be closed.

Neither is meant for the person who runs pgmux: a session turns the first into an ErrorResponse with
SQLSTATE 08P01, and the second into the end of one backend.
"""


class ProtocolError(Exception):
    """Bytes that are not PostgreSQL's protocol; the text says which rule they break."""


class ClientProtocolError(ProtocolError):
    """A client sent what the protocol does not allow; that client alone is to be closed."""


class OptionsError(ClientProtocolError):
    """The start-up parameter `options` is not a list of settings (PostgreSQL's SQLSTATE for it is 42601)."""


class BackendProtocolError(ProtocolError):
    """A backend sent what the protocol does not allow; that backend is to be closed."""
