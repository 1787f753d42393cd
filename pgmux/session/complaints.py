"""PostgreSQL's errors in the client's words: what was altered in its requests is put back.

Backends know a statement by its id, and a text that names statements has been written anew; an error may
tell that name, or a place in that text. Manual: "Error and Notice Message Fields".
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from pgmux.session.statements import PREFIX

_UNKNOWN = b'"?' + PREFIX  # a name of the client's that begins as ours do

_OUTDATED = (b"C0A000", b"Mcached plan must not change result type", b"RRevalidateCachedQuery")

Altered = Iterable[
    tuple[int, int, int]
]  # names: place in bytes in the client's text, bytes of its own, of ours


class Named(Protocol):
    """A statement, by its name on backends."""

    @property
    def name(self) -> bytes:
        """Without terminator."""


def mend(error: bytes, names: Mapping[bytes, Named], altered: tuple[bytes | None, Altered] | None) -> bytes:
    """The ErrorResponse as the client should have it.

    `altered`: the text that we made, and the names in it that are ours.
    """
    fields = []
    for field in error[5:].rstrip(b"\0").split(b"\0"):
        text, names_in_it = altered or (None, ())
        if field[:1] == b"P" and text is not None:
            field = b"P%d" % _place(int(field[1:]), text, names_in_it)
        elif PREFIX in field:
            field = _name(field, names)
        fields.append(field)
    body = b"\0".join(fields) + b"\0\0"
    return error[:1] + (len(body) + 4).to_bytes(4, "big") + body


def tell_outdated(error: bytes) -> bytes:
    """The ErrorResponse as "cached plan must not change result type", as PostgreSQL gives it.

    Its severity stays, which is in the server's language.
    """
    fields = [field for field in error[5:].rstrip(b"\0").split(b"\0") if field[:1] in (b"S", b"V")]
    body = b"\0".join([*fields, *_OUTDATED]) + b"\0\0"
    return error[:1] + (len(body) + 4).to_bytes(4, "big") + body


def _name(field: bytes, names: Mapping[bytes, Named]) -> bytes:
    for name, statement in names.items():
        field = field.replace(statement.name, name)
    return field.replace(_UNKNOWN, b'"' + PREFIX)


def _place(place: int, text: bytes, altered: Altered) -> int:
    """A place in our text, counted in characters from 1, as the one in the client's."""
    at = len(text.decode("utf-8", "replace")[: place - 1].encode("utf-8", "replace"))
    longer = 0  # by how many bytes ours is, up to the place
    for start, own_bytes, our_bytes in altered:
        if at < start + longer + our_bytes:
            break
        longer += our_bytes - own_bytes
    return place - longer
