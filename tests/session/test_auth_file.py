"""userlist.txt: what PgBouncer reads is read, and what it skips in silence is reported."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.errors import ConfigError
from pgmux.protocol.scram import format_verifier
from pgmux.session.auth_file import parse_auth_file
from pgmux.session.secret import Md5Hash, Password
from tests.session.connection_pair import VERIFIER

FILE = "/etc/pgmux/userlist.txt"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_auth_file(text, FILE)
    return [f"{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_each_form_of_secret_is_recognised() -> None:
    text = f'''
; a comment
# another
"alice" "{format_verifier(VERIFIER)}" the rest of the line is ignored "even this"
\t"bob"\t"md545f2603610af569b6155c45067268c6b"
  "carol" "plain"
"dave" ""
"e""ve" "say ""friend"" "
"md5er" "md5 is not what I use"
"ünal""""" """"\r
'''
    assert parse_auth_file(text, FILE) == {
        "alice": VERIFIER,
        "bob": Md5Hash(b"45f2603610af569b6155c45067268c6b"),
        "carol": Password(b"plain"),
        "dave": Password(b""),
        'e"ve': Password(b'say "friend" '),
        "md5er": Password(b"md5 is not what I use"),
        'ünal""': Password(b'"'),
    }


@pytest.mark.parametrize("text", ["", "\n\n", "; nothing", "  # nothing\n"])
def test_file_without_users_is_no_error(text: str) -> None:
    assert parse_auth_file(text, FILE) == {}


def test_secrets_cannot_be_changed_and_do_not_show_themselves() -> None:
    secrets = parse_auth_file('"a" "hidden"\n"b" "md545f2603610af569b6155c45067268c6b"', FILE)
    with pytest.raises(TypeError):
        secrets["a"] = Password(b"other")  # type: ignore[index]
    assert "hidden" not in f"{secrets} {dict(secrets)!r}"
    assert "45f26" not in f"{secrets} {dict(secrets)!r}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alice secret", "the user name is not in double quotes"),
        ('"alice', "the quote that opens the user name is not closed on its line"),
        ('"alice""', "the quote that opens the user name is not closed on its line"),
        ('"alice"', 'the secret of "alice" is not in double quotes'),
        ('"alice" secret', 'the secret of "alice" is not in double quotes'),
        ('"alice" "secret', 'the quote that opens the secret of "alice" is not closed on its line'),
        ('"alice" "secret""', 'the quote that opens the secret of "alice" is not closed on its line'),
        ('"" "secret"', "the user name is empty"),
        ('"a\0" "secret"', "a NUL byte cannot be part of a name or secret"),
        ('"a" "s\0"', "a NUL byte cannot be part of a name or secret"),
        ("'alice' 'secret'", "the user name is not in double quotes"),
    ],
)
def test_line_that_is_not_understood_is_reported(line: str, message: str) -> None:
    assert problems_of(f'"x" "y"\n\n{line}\n"z" "z"') == [f"3: {message}"]


def test_broken_verifier_is_reported_without_being_shown() -> None:
    (problem,) = problems_of('"alice" "SCRAM-SHA-256$9999999:c2VjcmV0$c2VjcmV0:c2VjcmV0"')
    assert "iteration count" in problem
    assert "c2VjcmV0" not in problem


def test_everything_that_is_wrong_is_reported_at_once_with_file_and_line() -> None:
    text = 'alice x\n"bob" "1"\n"bob" "2"\n"carol'
    with pytest.raises(ConfigError) as caught:
        parse_auth_file(text, FILE)
    assert [problem.line for problem in caught.value.problems] == [1, 3, 4]
    assert f'{FILE}:3: auth_file: user "bob" was already given on line 2' in str(caught.value)


NAMES = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]))


@given(st.dictionaries(NAMES.filter(bool), NAMES, max_size=5))
@settings(deadline=None)
def test_any_names_and_passwords_can_be_written(users: dict[str, str]) -> None:
    text = "\n".join(
        '"{}" "{}"'.format(user.replace('"', '""'), secret.replace('"', '""'))
        for user, secret in users.items()
    )
    expected = {user: Password(secret.encode()) for user, secret in users.items()}
    assert parse_auth_file(text, FILE) == expected


@given(st.text())
@settings(deadline=None)
def test_random_text_is_read_or_reported(text: str) -> None:
    try:
        parse_auth_file(text, FILE)
    except ConfigError as error:
        assert all(problem.line for problem in error.problems)  # noqa: PT017
