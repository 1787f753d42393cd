"""Errors in the client's words."""

from __future__ import annotations

from types import SimpleNamespace

from pgmux.session.complaints import mend
from tests.wire.frontend import message

OURS = b"pgmux_" + b"0" * 32
NAMES = {b"mine": SimpleNamespace(name=OURS)}


def error(*fields: bytes) -> bytes:
    return message(b"E", b"".join(field + b"\0" for field in fields) + b"\0")


def test_a_statement_is_named_as_the_client_names_it() -> None:
    told = error(b"SERROR", b'Mprepared statement "' + OURS + b'" requires 2')
    assert mend(told, NAMES, None) == error(b"SERROR", b'Mprepared statement "mine" requires 2')


def test_an_unknown_name_like_ours_is_told_as_it_was_given() -> None:
    assert mend(error(b'M"?pgmux_x"'), {}, None) == error(b'M"pgmux_x"')


def test_a_place_is_the_one_in_the_clients_text() -> None:
    ours = b"PREPARE " + OURS + " AS SELECT 'ä', nothing".encode()
    place = ours.decode().index("nothing") + 1
    theirs = "PREPARE s AS SELECT 'ä', nothing".index("nothing") + 1
    assert mend(error(b"P%d" % place), {}, (ours, [(8, 1, len(OURS))])) == error(b"P%d" % theirs)
    assert mend(error(b"P3"), {}, (ours, [(8, 1, len(OURS))])) == error(b"P3")
