"""SHA-256 and its HMAC against Python's own."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest

from pgmux.protocol.sha256 import hmac_sha256, sha256

SIZES = (0, 1, 31, 32, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_digest_and_hmac_are_those_of_hashlib_and_hmac(size: int) -> None:
    chance = random.Random(size)
    data, key = chance.randbytes(size), chance.randbytes(32)
    assert sha256(data) == hashlib.sha256(data).digest()
    assert hmac_sha256(key, data) == hmac.digest(key, data, "sha256")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        hmac_sha256(b"short", b"")
