"""The three forms of a secret, and what each can check."""

import pytest

from pgmux.protocol.scram import ScramVerifier, format_verifier
from pgmux.session.secret import (
    Md5Hash,
    Password,
    Secret,
    answer_md5,
    check_md5_answer,
    check_password,
    hash_md5,
    parse_secret,
)
from tests.session.connection_pair import PASSWORD, VERIFIER


def test_md5_hash_is_that_of_the_manual() -> None:
    """PgBouncer's documentation has this example: user admin, password 1234."""
    assert hash_md5("admin", b"1234") == Md5Hash(b"45f2603610af569b6155c45067268c6b")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("md545f2603610af569b6155c45067268c6b", Md5Hash),
        ("md545F2603610AF569B6155C45067268C6B", Md5Hash),
        ("MD545f2603610af569b6155c45067268c6b", Password),
        ("md545f2603610af569b6155c45067268c6", Password),
        ("md545f2603610af569b6155c45067268c6bb", Password),
        ("md5g5f2603610af569b6155c45067268c6b", Password),
        ("md5", Password),
        ("", Password),
        ("SCRAM-SHA-256", Password),
        (format_verifier(VERIFIER), ScramVerifier),
    ],
)
def test_form_is_told_by_how_it_begins(text: str, kind: type) -> None:
    assert type(parse_secret(text)) is kind


@pytest.mark.parametrize("secret", [Password(PASSWORD), hash_md5("alice", PASSWORD), VERIFIER])
def test_cleartext_is_checked_against_every_form(secret: Secret) -> None:
    assert check_password("alice", secret, PASSWORD)
    for wrong in (b"", PASSWORD + b" ", PASSWORD[:-1], PASSWORD.upper()):
        assert not check_password("alice", secret, wrong)


def test_md5_hash_belongs_to_one_user() -> None:
    assert not check_password("bob", hash_md5("alice", PASSWORD), PASSWORD)


def test_md5_answer_fits_one_salt_and_one_user() -> None:
    answer = answer_md5("alice", Password(PASSWORD), b"salt")
    assert answer == answer_md5("alice", hash_md5("alice", PASSWORD), b"salt")
    assert check_md5_answer("alice", Password(PASSWORD), b"salt", answer)
    assert not check_md5_answer("alice", Password(PASSWORD), b"tlas", answer)
    assert not check_md5_answer("bob", Password(PASSWORD), b"salt", answer)
    for wrong in (b"", b"md5", answer[:-1], answer.upper(), answer + b"0", b"\xff" * 35):
        assert not check_md5_answer("alice", Password(PASSWORD), b"salt", wrong)
