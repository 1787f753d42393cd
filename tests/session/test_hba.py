"""Rules for clients: which of them matches, and what is wrong with a file."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.errors import ConfigError
from pgmux.session.arrival import Arrival, Encryption
from pgmux.session.hba import RolesWanted, Rules, parse_hba_file
from pgmux.session.ident_map import parse_ident_file
from pgmux.session.method import Method

MAPS = parse_ident_file("admins root postgres", "pg_ident.conf")
OWN = [ip_interface("192.0.2.7/24"), ip_interface("::1/128")]

UNIX = Arrival(is_unix=True, peer_uid=0)
LOOPBACK = Arrival("127.0.0.1", 40000)
SIX = Arrival("2001:db8::17", 40000)
ENCRYPTED = Arrival("10.1.2.3", 40000, encryption=Encryption())


def rules(text: str) -> Rules:
    return parse_hba_file(text, "pg_hba.conf", MAPS, OWN, knows_roles=True)


def choice(
    text: str,
    arrival: Arrival = LOOPBACK,
    database: str = "app",
    user: str = "alice",
    roles: frozenset[str] | None = frozenset(),
    *,
    is_replication: bool = False,
) -> str | None:
    method = rules(text).choose(arrival, database, user, roles, is_replication=is_replication)
    return None if method is None else method.name


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("local all all trust", [UNIX]),
        ("host all all all trust", [LOOPBACK, SIX, ENCRYPTED]),
        ("hostssl all all all trust", [ENCRYPTED]),
        ("hostnossl all all all trust", [LOOPBACK, SIX]),
        ("hostnogssenc all all all trust", [LOOPBACK, SIX, ENCRYPTED]),
        ("host all all 127.0.0.1/32 trust", [LOOPBACK]),
        ("host all all 127.0.0.1 255.255.255.255 trust", [LOOPBACK]),
        ("host all all 10.0.0.0 255.0.0.0 trust", [ENCRYPTED]),
        ("host all all 0.0.0.0/0 trust", [LOOPBACK, ENCRYPTED]),
        ("host all all ::/0 trust", [SIX]),
        ("host all all 2001:db8:: ffff:ffff:: trust", [SIX]),
        ("host all all 10.9.9.9/8 trust", [ENCRYPTED]),
        ("host all all 11.0.0.0/8 trust", []),
    ],
)
def test_a_rule_is_for_connections_of_its_type_and_address(rule: str, matches: list[Arrival]) -> None:
    found = [arrival for arrival in (UNIX, LOOPBACK, SIX, ENCRYPTED) if choice(rule, arrival)]
    assert found == matches


def test_own_host_and_own_network_are_those_of_this_machine() -> None:
    mine, neighbour, stranger = (Arrival(f"192.0.{tail}") for tail in ("2.7", "2.99", "3.7"))
    for word, expected in {"samehost": [mine], "samenet": [mine, neighbour]}.items():
        found = [each for each in (mine, neighbour, stranger) if choice(f"host all all {word} trust", each)]
        assert found == expected


@pytest.mark.parametrize(
    ("databases", "database", "user", "expected"),
    [
        ("app", "app", "alice", True),
        ("app", "App", "alice", False),
        ("other,app", "app", "alice", True),
        ('"all"', "app", "alice", False),
        ('"all"', "all", "alice", True),
        ("sameuser", "alice", "alice", True),
        ("sameuser", "app", "alice", False),
        ("replication", "replication", "alice", False),
        ('"replication"', "replication", "alice", True),
    ],
)
def test_a_rule_is_for_its_databases(databases: str, database: str, user: str, expected: bool) -> None:
    assert (choice(f"host {databases} all all trust", LOOPBACK, database, user) is not None) is expected


def test_replication_has_rules_of_its_own() -> None:
    for databases, expected in {
        "all": None,
        "app": None,
        "replication": "trust",
        "app,replication": "trust",
    }.items():
        assert choice(f"host {databases} all all trust", is_replication=True) == expected


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ("alice", True),
        ("bob,alice", True),
        ("bob", False),
        ("+staff", True),
        ("+admins", False),
        ("bob,+staff", True),
        ('"+staff"', False),
        ('"all"', False),
    ],
)
def test_a_rule_is_for_its_users_and_the_members_of_its_roles(users: str, expected: bool) -> None:
    found = choice(f"host all {users} all trust", roles=frozenset({"staff"}))
    assert (found is not None) is expected


def test_membership_is_asked_for_only_where_a_rule_depends_on_it() -> None:
    text = (
        "local all +staff peer\nhost all alice all md5\nhost all +staff all password\nhost all all all reject"
    )
    assert rules(text).roles == {"staff"}
    assert choice(text, roles=None) == "md5"
    with pytest.raises(RolesWanted):
        choice(text, user="bob", roles=None)
    assert choice(text, user="bob", roles=frozenset()) == "reject"
    assert choice(text, user="bob", roles=frozenset({"staff"})) == "password"


def test_the_first_rule_that_matches_decides() -> None:
    text = "host app alice all reject\nhost all all all trust"
    assert choice(text) == "reject"
    assert choice(text, user="bob") == "trust"
    assert choice("host all bob all trust") is None


def test_a_method_has_its_options_and_its_line() -> None:
    text = "\nlocal all all ident map=admins\nhostssl all all all cert clientname=DN"
    assert rules(text).choose(UNIX, "app", "alice", None) == Method("peer", MAPS["admins"], line=2)
    assert rules(text).choose(ENCRYPTED, "app", "alice", None) == Method("cert", is_by_subject=True, line=3)
    text = "hostssl all all all scram-sha-256 clientcert=verify-ca"
    assert rules(text).choose(ENCRYPTED, "app", "alice", None) == Method(
        "scram-sha-256", certificate="verify-ca", line=1
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("locals all all trust", "none of local, host"),
        ("host,local all all all trust", "none of local, host"),
        ("hostgssenc all all all trust", "GSSAPI encryption is not supported"),
        ("include other.conf", "not supported"),
        ("include_dir conf.d", "not supported"),
        ("host", "names a type, databases and users"),
        ("host all", "names a type, databases and users"),
        ("host all all", "address is missing"),
        ("local all all", "method is missing"),
        ("host all all all", "method is missing"),
        ("host samerole all all trust", "name the databases"),
        ("host /^db all all trust", "regular expressions are not supported"),
        ("host all /^a all trust", "regular expressions are not supported"),
        ("host @dbs all all trust", "files of names are not supported"),
        ("host all @users all trust", "files of names are not supported"),
        ("host all + all trust", "followed by the name of a role"),
        ('host "" all all trust', "a name is empty"),
        ("host all all example.com trust", "names are not supported"),
        ("host all all .example.com trust", "names are not supported"),
        ("host all all 10.0.0.0/33 trust", "no address range"),
        ("host all all 10.0.0.0/8,11.0.0.0/8 trust", "no list"),
        ("host all all 10.0.0.1 trust", "no mask"),
        ("host all all 10.0.0.1", "neither a mask nor a method"),
        ("host all all 10.0.0.0 255.0.255.0 trust", "no mask"),
        ("host all all ::1 255.0.0.0 trust", "no mask"),
        ("host all all all gss", 'method "gss" is not supported'),
        ("host all all all ldap ldapserver=x", 'method "ldap" is not supported'),
        ("host all all all ident", 'method "ident" is not supported'),
        ("host all all all scram", "is no method"),
        ("host all all all md5,trust", "is no method"),
        ("host all all all peer", "rule for local only"),
        ("host all all all cert", "rule for hostssl only"),
        ("local all all peer map=nobody", 'no map "nobody"'),
        ("local all all trust map=admins", "no meaning"),
        ("local all all peer admins", "write name=value"),
        ("local all all peer map=admins map=admins", "given twice"),
        ("host all all all md5 clientcert=verify-ca", "rule for hostssl only"),
        ("hostssl all all all md5 clientcert=1", "verify-ca or verify-full"),
        ("hostssl all all all cert clientcert=verify-ca", "contradicts"),
        ("hostssl all all all cert clientname=SAN", "CN or DN"),
        ("host all all all md5 ldapserver=x", 'option "ldapserver" is not supported'),
        ('host all "all all trust', "not closed"),
    ],
)
def test_what_is_not_supported_is_an_error_with_its_line(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        rules(f"# rules\n{line}\nlocal all all peer\nnonsense")
    first, last = refused.value.problems
    assert (first.file, first.line, first.key) == ("pg_hba.conf", 2, "auth_hba_file")
    assert message in first.message
    assert last.line == 4


def test_a_file_without_a_rule_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nobody could log in"):
        rules("# nothing\n\n")


def test_roles_are_an_error_where_nobody_can_be_asked() -> None:
    with pytest.raises(ConfigError, match="set auth_user"):
        parse_hba_file("host all +staff all trust", "pg_hba.conf", MAPS)


SCRAPS = 'host hostssl local all app +r "x" , / 10.0.0.0/8 ::1 trust peer map=admins = # \n \\ "'


@given(st.lists(st.sampled_from(SCRAPS.split(" "))))
def test_any_words_make_rules_or_problems(words: list[str]) -> None:
    try:
        found = rules(" ".join(words))
    except ConfigError:
        return
    for arrival in (UNIX, LOOPBACK, SIX, ENCRYPTED):
        assert found.choose(arrival, "app", "alice", ()) is None or len(found)
