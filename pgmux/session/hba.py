"""Rules for clients, in the syntax of pg_hba.conf: who may come from where, and by which proof.

    # type    database   user       address          method          options
    local     all        +admins                     peer            map=admins
    hostssl   all        all        10.0.0.0/8       scram-sha-256
    host      all        all        0.0.0.0/0        reject

The first rule that matches decides; where none does, nobody gets in. What PostgreSQL has and pgmux has not is
an error with its line, and nothing is ever left out in silence: a rule that is not there opens doors, or
closes them. Whether a user belongs to a role is asked of PostgreSQL, and only when a rule depends on it.

Manual: "The pg_hba.conf File".
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from pgmux.errors import ConfigError, Problem
from pgmux.session.arrival import Arrival
from pgmux.session.fields import Field, Line, Word, read_lines
from pgmux.session.hba_parts import Addresses, Interface, parse_addresses, parse_method
from pgmux.session.ident_map import IdentMap
from pgmux.session.method import Method

TYPES: Final = ("local", "host", "hostssl", "hostnossl", "hostnogssenc")
_EXAMPLE: Final = "as in: host all all 10.0.0.0/8 scram-sha-256"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line."""

    type: str  # one of TYPES
    databases: tuple[Word, ...]
    users: tuple[Word, ...]
    addresses: Addresses | None  # None = all; of no meaning to "local"
    method: Method

    def suits_connection(self, arrival: Arrival) -> bool:
        """Tell whether type and address are such as the rule is about."""
        if arrival.is_unix or self.type == "local":
            return arrival.is_unix and self.type == "local"
        if self.type == ("hostnossl" if arrival.is_encrypted else "hostssl"):
            return False
        return self.addresses is None or self.addresses.hold(_parse_address(arrival.address))

    def suits_database(self, database: str, user: str, *, is_replication: bool) -> bool:
        """Tell whether the database is one of the rule's. Replication is none of "all"."""
        if is_replication:
            return any(word.is_keyword("replication") for word in self.databases)
        for word in self.databases:
            if word.is_quoted or word.text not in ("all", "sameuser", "replication"):
                if word.text == database:
                    return True
            elif word.text == "all" or (word.text == "sameuser" and database == user):
                return True
        return False

    def suits_user(self, user: str, roles: Collection[str]) -> bool:
        """Tell whether the user is one of the rule's, when it is a member of `roles`."""
        return any(
            role in roles if (role := role_of(word)) else word.is_keyword("all") or word.text == user
            for word in self.users
        )


class Rules:
    """All rules of a file. `choose` says which method the first that matches demands."""

    __slots__ = ("_rules", "roles")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self.roles = frozenset(  # to whose members some rule applies
            role for rule in self._rules for word in rule.users if (role := role_of(word))
        )

    def __len__(self) -> int:
        return len(self._rules)

    def choose(
        self,
        arrival: Arrival,
        database: str,
        user: str,
        roles: Collection[str] | None,
        *,
        is_replication: bool = False,
    ) -> Method | None:
        """Give the method of the first rule that matches; None where none does.

        `roles`: those of self.roles of which the user is a member, None while that is not known. Raises
        RolesWanted where it would have to be.
        """
        for rule in self._rules:
            if not rule.suits_connection(arrival):
                continue
            if not rule.suits_database(database, user, is_replication=is_replication):
                continue
            if rule.suits_user(user, roles or ()):
                return rule.method
            if roles is None and any(map(role_of, rule.users)):
                raise RolesWanted
        return None


class RolesWanted(Exception):  # noqa: N818 -- no error: a question
    """Which rule matches depends on the roles of which the user is a member."""


@lru_cache(maxsize=4096)  # clients come from few machines, and again and again
def _parse_address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)


def role_of(word: Word) -> str:
    """The role whose members a word in the place of a user means; "" where it means no role."""
    return word.text[1:] if word.text.startswith("+") and not word.is_quoted else ""


def parse_hba_file(
    text: str,
    file: str,
    maps: Mapping[str, IdentMap],
    interfaces: Iterable[Interface] = (),
    *,
    knows_roles: bool = False,
) -> Rules:
    """Give the rules of a file. `file` is the name to use in errors.

    `maps`: of auth_ident_file. `interfaces`: this machine's addresses with their networks, for samehost and
    samenet. `knows_roles`: PostgreSQL can be asked who is a member of which role. Raises ConfigError with
    everything that is wrong.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    own = tuple(interfaces)
    for line in read_lines(text):
        try:
            rules.append(_parse_rule(line, maps, own, knows_roles=knows_roles))
        except ValueError as error:
            problems.append(Problem(file, line.number, "auth_hba_file", str(error), _EXAMPLE))
    if not rules and not problems:
        problems.append(
            Problem(file, None, "auth_hba_file", "there is no rule in it: nobody could log in", _EXAMPLE)
        )
    if problems:
        raise ConfigError(problems)
    return Rules(rules)


def _parse_rule(
    line: Line, maps: Mapping[str, IdentMap], interfaces: tuple[Interface, ...], *, knows_roles: bool
) -> Rule:
    if line.trouble:
        raise ValueError(line.trouble)
    kind = _parse_type(line.fields[0])
    if len(line.fields) < 3:
        raise ValueError("a rule names a type, databases and users, this one ends before")
    databases = _parse_databases(line.fields[1])
    users = _parse_users(line.fields[2], knows_roles=knows_roles)
    addresses, rest = None, line.fields[3:]
    if kind != "local":
        addresses, rest = parse_addresses(rest, interfaces)
    method = parse_method(rest, kind, maps, line.number)
    return Rule(kind, databases, users, addresses, method)


def _parse_type(field: Field) -> str:
    kind = field[0].text
    if kind.startswith("include"):
        raise ValueError(f'"{kind}" is not supported: write the rules into this file')
    if kind == "hostgssenc":
        raise ValueError("GSSAPI encryption is not supported, so this rule would never match")
    if len(field) != 1 or kind not in TYPES:
        raise ValueError(f'"{kind}" is none of {", ".join(TYPES)}')
    return kind


def _parse_databases(field: Field) -> tuple[Word, ...]:
    for word in field:
        _refuse_what_names_cannot_be(word)
        if not word.is_quoted and word.text in ("samerole", "samegroup"):
            raise ValueError(f'"{word.text}" is not supported: name the databases')
    return tuple(field)


def _parse_users(field: Field, *, knows_roles: bool) -> tuple[Word, ...]:
    for word in field:
        _refuse_what_names_cannot_be(word)
        if word.text == "+" and not word.is_quoted:
            raise ValueError('"+" is followed by the name of a role')
        if role_of(word) and not knows_roles:
            members = f'who is a member of "{word.text[1:]}"'
            raise ValueError(f"{members} only PostgreSQL knows: set auth_user, or name the users")
    return tuple(field)


def _refuse_what_names_cannot_be(word: Word) -> None:
    if not word.text:
        raise ValueError("a name is empty")
    if not word.is_quoted and word.text.startswith("@"):
        raise ValueError(f'"{word.text}": files of names are not supported: write the names here')
    if not word.is_quoted and word.text.startswith("/"):
        raise ValueError(f'"{word.text}": regular expressions are not supported: write the names')
