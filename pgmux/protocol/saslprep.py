"""SASLprep: one form for passwords that look the same (RFC 4013, a profile of stringprep, RFC 3454).

PostgreSQL applies it to a password before SCRAM, and takes the password as it is where SASLprep forbids it;
so that both ends agree, `prepare_password` does the same.
"""

import stringprep
import unicodedata
from typing import Final

_PROHIBITED: Final = (  # RFC 4013 section 2.3, and unassigned code points, section 2.5
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare_password(password: bytes) -> bytes:
    """Give the bytes that SCRAM hashes: the prepared password, or as it is where it has no such form.

    Plain ASCII, and what is not UTF-8, is always taken as it is.
    """
    if password.isascii():
        return password
    try:
        return saslprep(password.decode()).encode() or password
    except ValueError:  # UnicodeDecodeError is one
        return password


def saslprep(text: str) -> str:
    """Give the prepared form. Raises ValueError for text that SASLprep forbids."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if any(is_prohibited(c) for c in prepared for is_prohibited in _PROHIBITED):
        raise ValueError("the text holds a character that SASLprep forbids")
    if any(map(stringprep.in_table_d1, prepared)):  # right-to-left text: RFC 3454 section 6
        ends_right_to_left = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends_right_to_left or any(map(stringprep.in_table_d2, prepared)):
            raise ValueError("the text mixes writing directions in a way that SASLprep forbids")
    return prepared
