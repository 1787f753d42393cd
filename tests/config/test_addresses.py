"""Addresses to listen on, and hosts of PostgreSQL."""

import pytest

from pgmux.config.addresses import (
    Listen,
    parse_hosts,
    parse_listen,
    parse_listens,
    parse_optional_listen,
    socket_path,
)


@pytest.mark.parametrize(
    ("written", "listen"),
    [
        ("127.0.0.1:6432", Listen("127.0.0.1", 6432)),
        ("localhost:1", Listen("localhost", 1)),
        ("[::1]:6432", Listen("::1", 6432)),
        ("[fe80::1%eth0]:65535", Listen("fe80::1%eth0", 65535)),
        (":6432", Listen("", 6432)),
        ("*:6432", Listen("", 6432)),
        (" :6432 ", Listen("", 6432)),
    ],
)
def test_an_address_is_read_into_host_and_port(written: str, listen: Listen) -> None:
    assert parse_listen(written) == listen


@pytest.mark.parametrize("written", ["127.0.0.1:6432", "[::1]:6432", ":6432"])
def test_an_address_is_shown_as_it_is_written(written: str) -> None:
    assert str(parse_listen(written)) == written


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("6432", 'did you mean ":6432"'),
        (6432, 'did you mean ":6432"'),
        ("127.0.0.1", 'did you mean "127.0.0.1:6432"'),
        ("::1:6432", "square brackets"),
        ("", "expected"),
        ("[]:6432", "expected"),
        ("[::1]", "expected"),
        ("a b:6432", "expected"),
        ("/tmp/socket", "expected"),
        ("host:six", "expected"),
        (None, "expected"),
        ("host:0", "between 1 and 65535, got 0"),
        (":65536", "between 1 and 65535, got 65536"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(written: object, advice: str) -> None:
    with pytest.raises(ValueError, match=advice.replace("[", r"\[")):
        parse_listen(written)


def test_addresses_come_as_a_list_or_as_a_text_with_commas() -> None:
    expected = (Listen("127.0.0.1", 6432), Listen("::1", 6433))
    assert parse_listens(["127.0.0.1:6432", "[::1]:6433"]) == expected
    assert parse_listens("127.0.0.1:6432, [::1]:6433") == expected
    assert parse_listens([]) == parse_listens("") == ()


def test_an_address_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_listens([":6432", "*:6432"])


def test_a_list_of_addresses_is_no_number() -> None:
    with pytest.raises(ValueError, match="expected a list"):
        parse_listens(6432)


def test_an_optional_address_may_be_empty() -> None:
    assert parse_optional_listen("") is None
    assert parse_optional_listen("127.0.0.1:9930") == Listen("127.0.0.1", 9930)


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("db.example.com", ("db.example.com",)),
        ("/var/run/postgresql", ("/var/run/postgresql",)),
        ("::1", ("::1",)),
        (["10.0.0.1", "10.0.0.2"], ("10.0.0.1", "10.0.0.2")),
    ],
)
def test_hosts_are_one_text_or_a_list(written: object, hosts: tuple[str, ...]) -> None:
    assert parse_hosts(written) == hosts


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("", "cannot be empty"),
        ([], "expected a name"),
        ([""], "cannot be empty"),
        (5, "expected a name"),
        (["a", 5], "expected a name"),
        ("postgres://db/app", "is a URL"),
        ("db:5432", "the port has a key of its own"),
        ("[::1]", "needs no brackets"),
        ("a, b", "several hosts are a list"),
        ("var/run", "no host name"),
    ],
)
def test_what_is_no_host_is_refused_with_advice(written: object, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse_hosts(written)


def test_a_socket_is_named_as_postgresql_names_it() -> None:
    assert socket_path("/run/pg/", 5432) == "/run/pg/.s.PGSQL.5432"
