"""Tables for [databases.NAME]: the way from pgmux to a PostgreSQL, or to a proxy before it."""

from __future__ import annotations

from tests.servers import Postgres, Proxy, toml


def by_socket(postgres: Postgres, **options: toml.Value) -> toml.Table:
    """Over its Unix socket."""
    return {"host": str(postgres.socket_dir), "port": postgres.port, **options}


def by_tcp(server: Postgres | Proxy, **options: toml.Value) -> toml.Table:
    """Over TCP, perhaps through a proxy."""
    return {"host": server.host, "port": server.port, **options}
