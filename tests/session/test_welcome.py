"""The greeting: a real backend's report, with the client's wishes where their spelling is certain."""

import pytest

from pgmux.protocol.messages import parse_parameter_status, split_messages
from pgmux.session.welcome import Welcome
from tests.session.connection_pair import REPORTED, WELCOME


def greeted(settings: dict[str, str], welcome: Welcome = WELCOME) -> dict[str, str]:
    messages, rest = split_messages(welcome.build(settings))
    assert rest == b""
    assert {message.kind for message in messages} == {b"S"}
    return dict(parse_parameter_status(message.body) for message in messages)


def test_client_without_wishes_hears_the_backend_in_its_order() -> None:
    expected = REPORTED | {"application_name": "", "pgmux.version": "0.1.0"}
    assert list(greeted({}).items()) == list(expected.items())
    assert greeted({"work_mem": "1MB", "extra_float_digits": "2"}) == expected


WISHES = [
    ("application_name", "psql", "psql"),
    ("application_name", "", ""),
    ("application_name", "x" * 100, "x" * 63),
    ("application_name", "naïve", None),
    ("application_name", "two\nlines", None),
    ("client_encoding", "utf-8", "UTF8"),
    ("client_encoding", "'UTF8'", "UTF8"),
    ("client_encoding", "Unicode", "UTF8"),
    ("client_encoding", "latin1", "LATIN1"),
    ("client_encoding", "iso-8859-15", "LATIN9"),
    ("client_encoding", "sql_ascii", "SQL_ASCII"),
    ("client_encoding", "auto", None),
    ("client_encoding", "", None),
    ("datestyle", "ISO", "ISO, MDY"),
    ("datestyle", "iso, ymd", "ISO, YMD"),
    ("datestyle", "SQL,DMY", "SQL, DMY"),
    ("datestyle", "DMY", "ISO, DMY"),
    ("datestyle", "Postgres", "Postgres, MDY"),
    ("datestyle", "german", "German, DMY"),
    ("datestyle", "mdy, german", "German, MDY"),
    ("datestyle", "default", None),
    ("datestyle", "nonsense", None),
    ("timezone", "Europe/Berlin", "Europe/Berlin"),
    ("timezone", "etc/utc", "Etc/UTC"),
    ("timezone", "utc", "UTC"),
    ("timezone", "CET", None),
    ("timezone", "europe/berlin", None),
    ("timezone", "+02", None),
    ("timezone", "", None),
    ("intervalstyle", "ISO_8601", "iso_8601"),
    ("intervalstyle", "nonsense", None),
    ("default_transaction_read_only", "TRUE", "on"),
    ("default_transaction_read_only", "0", "off"),
    ("default_transaction_read_only", "maybe", None),
    ("standard_conforming_strings", "off", "off"),
    ("search_path", "a, b", "a, b"),
    ("search_path", "a\nb", None),
]


@pytest.mark.parametrize(("name", "wish", "heard"), WISHES)
def test_wish_is_heard_in_postgresqls_spelling_or_not_at_all(name: str, wish: str, heard: str | None) -> None:
    standard = greeted({})
    reported = next(known for known in standard if known.lower() == name)
    expected = standard if heard is None else standard | {reported: heard}
    assert list(greeted({name: wish}).items()) == list(expected.items())


@pytest.mark.parametrize("name", ["server_version", "is_superuser", "session_authorization", "pgmux.version"])
def test_what_is_not_the_clients_to_say_stays(name: str) -> None:
    assert greeted({name: "a lie"}) == greeted({})


def test_wish_for_what_the_backend_does_not_report_is_not_reported() -> None:
    old = Welcome(
        {name: value for name, value in REPORTED.items() if name != "search_path"}, {"pgmux.version": "0.1.0"}
    )
    assert "search_path" not in greeted({"search_path": "a"}, old)


def test_greeting_promises_only_what_will_be_kept() -> None:
    welcome = Welcome(REPORTED, {"pgmux.version": "0.1.0"}, promised={"application_name"})
    wishes = {"application_name": "psql", "client_encoding": "LATIN1", "datestyle": "German"}
    assert greeted(wishes, welcome) == greeted({}) | {"application_name": "psql"}


def test_one_clients_wishes_do_not_reach_the_next() -> None:
    before = greeted({})
    greeted({"application_name": "psql", "timezone": "Europe/Berlin"})
    assert greeted({}) == before
