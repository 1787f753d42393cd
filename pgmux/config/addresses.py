"""Addresses as people write them: where pgmux listens, and where PostgreSQL is."""

import re
from typing import NamedTuple

LISTEN_EXPECTED = '"host:port", "[::1]:6432" or ":6432" for all addresses'

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]\s/]*):(?P<port>[0-9]{1,5})")


class Listen(NamedTuple):
    """A TCP address to listen on; `host` is "" for all addresses of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(value: object) -> Listen:
    """The address that a text such as "127.0.0.1:6432" stands for; "*" as host means all.

    Raises ValueError, with a message for the user.
    """
    match = _HOST_AND_PORT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match["host"] == "[]":
        raise ValueError(f"expected {LISTEN_EXPECTED}; got {value!r}{_slip(value)}")
    port = int(match["port"])
    if not 1 <= port <= 65_535:
        raise ValueError(f"the port must be between 1 and 65535, got {port}")
    host = match["host"].strip("[]")
    return Listen("" if host == "*" else host, port)


def _slip(value: object) -> str:
    """What was probably meant, where the mistake is a common one."""
    if not isinstance(value, str):
        return f'; did you mean ":{value}"?' if type(value) is int else ""
    if value.isdigit():
        return f'; did you mean ":{value}"?'
    if value.count(":") > 1 and "[" not in value:
        return "; an IPv6 address stands in square brackets"
    if value and ":" not in value and "/" not in value:
        return f'; did you mean "{value}:6432"?'
    return ""


def parse_listens(value: object) -> tuple[Listen, ...]:
    """The addresses of a list, or of a text with commas between them. Raises ValueError."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise ValueError(f'expected a list such as ["127.0.0.1:6432"], got {value!r}')
    listens = tuple(parse_listen(part) for part in value)
    for position, listen in enumerate(listens):
        if listen in listens[:position]:
            raise ValueError(f"{str(listen)!r} stands there twice")
    return listens


def parse_optional_listen(value: object) -> Listen | None:
    """As parse_listen, but "" gives None. Raises ValueError."""
    return None if value == "" else parse_listen(value)


def parse_hosts(value: object) -> tuple[str, ...]:
    """The hosts of PostgreSQL: one text or a list of them; a path is a Unix socket's directory.

    Raises ValueError, with a message for the user.
    """
    hosts = [value] if isinstance(value, str) else value
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        raise ValueError(f"expected a name, an address, a directory, or a list of these; got {value!r}")
    for host in hosts:
        _check_host(host)
    return tuple(hosts)


def _check_host(host: str) -> None:
    if not host:
        raise ValueError("a host cannot be empty; a Unix socket's directory begins with /")
    if host.startswith("/"):
        return
    if "://" in host:
        raise ValueError(f"{host!r} is a URL; write host, port, dbname and user as keys of their own")
    if re.fullmatch(r"[^:/]+:[0-9]+", host) or host.startswith("["):
        raise ValueError(f"{host!r}: the port has a key of its own, and IPv6 needs no brackets here")
    if re.search(r"[\s,/@]", host):
        raise ValueError(f"{host!r} is no host name or address; several hosts are a list of texts")


def is_directory(host: str) -> bool:
    """Whether a host is the directory of a Unix socket."""
    return host.startswith("/")


def socket_path(directory: str, port: int) -> str:
    """Where PostgreSQL, and pgmux too, puts its Unix socket (manual: "Connections and Authentication")."""
    return f"{directory.rstrip('/')}/.s.PGSQL.{port}"
