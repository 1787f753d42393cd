"""Where the doctor connects to: as psql would be told, or as pgmux's configuration has it.

In this order, as with psql: the option, a connection string given as -d, the variable (PGHOST and so on), and
then the configuration's databases, or libpq's own defaults. A password comes from the connection string,
PGPASSWORD, the configuration, or ~/.pgpass. PostgreSQL's manual: "Connection Strings", "Environment
Variables", "The Password File". Only the user differs: who is root, and names none, is for a Unix socket who
owns it, as `sudo -u postgres psql` is; root alone sees PostgreSQL's memory and pgmux's clients, too.
"""

import getpass
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pgmux.config import Config
from pgmux.config.addresses import socket_path
from pgmux.config.configuration import ANY_DATABASE
from pgmux.errors import PgmuxError

SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")  # Debian's, and PostgreSQL's own default
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
Environ = Mapping[str, str]
_ESCAPED = re.compile(r"\\(.)")


class UsageError(PgmuxError):
    """The user asked for what cannot be."""

    exit_code = 2


class Target(NamedTuple):
    """One PostgreSQL server, and how to log in to it."""

    host: str  # name or address, or the directory of a Unix socket
    port: int
    user: str
    dbname: str
    password: str | None = None  # None = nobody has told it
    sslmode: str = "prefer"
    sslrootcert: str = ""  # "" = ~/.postgresql/root.crt where it exists, else the system's

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


def choose_targets(
    given: Mapping[str, str], config: Config | None, environ: Environ = os.environ
) -> list[Target]:
    """The servers to look at; `given` are the command's options by libpq's names.

    Raises UsageError for what is no port, sslmode or connection string.
    """
    said = {name: environ[variable] for name, variable in VARIABLES.items() if environ.get(variable)}
    said |= _expand(given)
    if config is not None and "host" not in said and "port" not in said:
        found = list(_from_config(config, said, environ))
        if found:
            return found
    return [_complete(said, environ)]


def _expand(given: Mapping[str, str]) -> dict[str, str]:
    """The options, with what a connection string in the database's place says; options go before it."""
    name = given.get("dbname", "")
    if name.startswith(("postgresql://", "postgres://")):
        return {**_parse_url(name), **{key: value for key, value in given.items() if key != "dbname"}}
    if "=" in name:
        return {**_parse_pairs(name), **{key: value for key, value in given.items() if key != "dbname"}}
    return dict(given)


def _parse_url(text: str) -> dict[str, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is no connection string: {error}") from None
    found = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": unquote(parts.path.lstrip("/")),
    } | dict(parse_qsl(parts.query))
    return {name: value for name, value in found.items() if value}


def _parse_pairs(text: str) -> dict[str, str]:
    pair = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))\s*")
    found, position = {}, 0
    while position < len(text):
        match = pair.match(text, position)
        if match is None:
            raise UsageError(f"{text!r} is no connection string: expected key=value at {text[position:]!r}")
        value = match[3] if match[2] is None else match[2]
        found[match[1]] = _ESCAPED.sub(r"\1", value)
        position = match.end()
    return found


def _from_config(config: Config, said: Mapping[str, str], environ: Environ) -> Iterator[Target]:
    """Each server once that the configuration's databases are on."""
    seen = set()
    for name, database in config.databases.items():
        for host in database.host:
            if (host, database.port) in seen:
                continue
            seen.add((host, database.port))
            own = {"host": host, "port": str(database.port), "sslmode": config.pgmux.server_tls_sslmode}
            if host in LOOPBACK and not os.geteuid() and not (database.user or said.get("user")):
                own["host"] = _default_host(own["port"], host)  # where root needs no password
            own |= {"sslrootcert": config.pgmux.server_tls_ca_file}
            if name != ANY_DATABASE:
                own["dbname"] = database.dbname or name
            if database.user:
                own["user"] = database.user
            if database.password and said.get("user", database.user) == database.user:
                own["password"] = database.password
            yield _complete({**own, **said}, environ)


def _complete(said: Mapping[str, str], environ: Environ) -> Target:
    host = said.get("host") or _default_host(said.get("port", "5432"))
    port = said.get("port") or "5432"
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise UsageError(f"{port!r} is no port: expected a number from 1 to 65535")
    sslmode = said.get("sslmode", "prefer")
    if sslmode not in SSL_MODES:
        raise UsageError(f"sslmode {sslmode!r}: expected one of {', '.join(SSL_MODES)}")
    user = said.get("user") or _default_user(host, port)
    dbname = said.get("dbname") or "postgres"  # psql would take the user's name; this one is always there
    password = said.get("password") or _from_password_file(host, port, dbname, user, environ)
    return Target(host, int(port), user, dbname, password, sslmode, said.get("sslrootcert", ""))


def _default_host(port: str, otherwise: str = "localhost") -> str:
    """The directory of the first Unix socket that is there; libpq's own is compiled into it."""
    for directory in SOCKET_DIRECTORIES:
        if os.path.exists(f"{directory}/.s.PGSQL.{port}"):
            return directory
    return otherwise


def _default_user(host: str, port: str) -> str:
    """The account's own name; root's is the owner of PostgreSQL's socket."""
    owner = (
        owner_of_socket(socket_path(host, int(port))) if host.startswith("/") and not os.geteuid() else None
    )
    return getpass.getuser() if owner is None else owner.pw_name


def owner_of_socket(path: str) -> pwd.struct_passwd | None:
    """The account that PostgreSQL runs under, as its socket tells; None where there is none."""
    try:
        return pwd.getpwuid(os.stat(path).st_uid)
    except (OSError, KeyError):
        return None


def _from_password_file(host: str, port: str, dbname: str, user: str, environ: Environ) -> str | None:
    """The password of the first line that fits; None when none does or others may read the file."""
    path = environ.get("PGPASSFILE") or os.path.join(environ.get("HOME", ""), ".pgpass")
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return None  # libpq ignores such a file, too
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return _search_passwords(
                file, ("localhost" if host.startswith("/") else host, port, dbname, user)
            )
    except OSError:
        return None


def _search_passwords(lines: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    for line in lines:
        fields = re.findall(r"((?:[^:\\\n]|\\.)*)(?::|$)", line.rstrip("\n"))[:5]
        if line.startswith("#") or len(fields) < 5:
            continue
        *place, password = (_ESCAPED.sub(r"\1", field) for field in fields)
        if all(pattern in ("*", value) for pattern, value in zip(place, wanted, strict=True)):
            return password
    return None
