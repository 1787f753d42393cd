"""How options are written, where that is more than their type says: words to choose from, durations, addresses, paths."""

from typing import Annotated, Literal

from pgmux.config.addresses import (
    Listen,
    parse_hosts,
    parse_listens,
    parse_optional_listen,
)
from pgmux.config.durations import format_duration, parse_duration
from pgmux.config.option import Notation
from pgmux.config.tls_options import parse_protocols, show_protocols

PoolMode = Literal["session", "transaction", "statement"]
AuthType = Literal["trust", "password", "md5", "scram-sha-256", "cert", "hba"]
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
TlsNegotiation = Literal["postgres", "direct"]
OnPin = Literal["allow", "warn", "reject"]
SessionAttributes = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


def _parse_path(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a path in quotes, got {value!r}")
    return value


def _show_hosts(hosts: tuple[str, ...]) -> object:
    return hosts[0] if len(hosts) == 1 else list(hosts)


def _show_listens(listens: tuple[Listen, ...]) -> object:
    return [str(listen) for listen in listens]


Duration = Annotated[float, Notation(parse_duration, format_duration, "duration")]
Path = Annotated[str, Notation(_parse_path, str, "path", is_path=True)]
Listens = Annotated[tuple[Listen, ...], Notation(parse_listens, _show_listens)]
OptionalListen = Annotated[Listen | None, Notation(parse_optional_listen, str)]
Protocols = Annotated[
    tuple[str, ...], Notation(parse_protocols, show_protocols, "secure | tlsv1.2 | tlsv1.3")
]
Hosts = Annotated[tuple[str, ...], Notation(parse_hosts, _show_hosts)]
