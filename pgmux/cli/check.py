"""`pgmux check`: say what is wrong with a configuration, or what pgmux would make of it."""

from collections.abc import Iterator, Sequence

from pgmux.cli.output import print_answer, print_warnings
from pgmux.config import Config, Database, User, load
from pgmux.config.addresses import is_directory, socket_path
from pgmux.config.configuration import ANY_DATABASE

MOST_LINES = 20  # of one kind in the summary


def check(path: str | None) -> int:
    """Read the configuration and print a summary of it. Raises ConfigError with all problems."""
    config = load(path)
    login = _describe_login(config)
    _try_tls(config)
    print_answer("\n".join([f"{config.path}: ok", *_summarise(config, login)]))
    print_warnings(config.warnings)
    return 0


def _describe_login(config: Config) -> str:
    """How clients log in. Raises PgmuxError with all that is wrong in the files for it."""
    from pgmux.worker.entrance import read_rules, read_secrets

    settings = config.pgmux
    parts: list[str] = [settings.auth_type]
    if settings.auth_type == "hba":
        parts.append(f"{_count(len(read_rules(config)), 'rule')} in {settings.auth_hba_file}")
    if settings.auth_file:
        parts.append(f"{_count(len(read_secrets(settings.auth_file)), 'user')} in {settings.auth_file}")
    if settings.auth_user:
        where = f" in {settings.auth_dbname}" if settings.auth_dbname else ""
        parts.append(f"PostgreSQL is asked by {settings.auth_user}{where}")
    return ", ".join(parts)


def _try_tls(config: Config) -> None:
    """Have OpenSSL look at certificates and keys, as at a start. Raises ConfigError."""
    from pgmux.session.ticket_keys import KEY_BYTES, TicketKeys
    from pgmux.worker.tls import open_tls

    open_tls(config, TicketKeys(bytes(KEY_BYTES), 0.0))


def _summarise(config: Config, login: str) -> Iterator[str]:
    settings = config.pgmux
    is_automatic = "" if settings.workers else " (one per CPU core)"
    yield _line("workers", f"{config.worker_count()}{is_automatic}")
    yield _line("listens on", ", ".join(_addresses(config)))
    yield _line("log-in", login)
    if settings.client_tls_sslmode != "disable":
        versions = " and ".join(settings.client_tls_protocols).replace("tlsv", "")
        yield _line("TLS", f"{settings.client_tls_sslmode}, versions {versions}")
    yield _line("clients", f"at most {settings.max_client_conn}")
    pools = f"{settings.pool_mode} mode, {_count(settings.default_pool_size, 'backend')} each"
    yield _line("pools", f"{pools}, at most {settings.max_backends} in all")
    if not config.databases:
        yield _line("databases", "none")
    yield from _lines("databases", [_describe_database(*item) for item in config.databases.items()])
    yield from _lines("users", [_describe_user(*item) for item in config.users.items()])


def _addresses(config: Config) -> Iterator[str]:
    yield from map(str, config.pgmux.listen)
    if config.unix_socket:
        yield config.unix_socket


def _describe_database(name: str, database: Database) -> str:
    wanted = database.dbname or ("the same name" if name == ANY_DATABASE else name)
    places = " or ".join(_place(host, database.port) for host in database.host)
    login = f" as {database.user}" if database.user else ""
    return f"{name} = {wanted} at {places}{login}{_describe_pool(database)}"


def _place(host: str, port: int) -> str:
    if is_directory(host):
        return socket_path(host, port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _describe_user(name: str, user: User) -> str:
    return f"{name}{_describe_pool(user)}"


def _describe_pool(table: Database | User) -> str:
    """The pool settings that a table has of its own."""
    keys = ("pool_mode", "pool_size", "min_pool_size", "reserve_pool_size")
    own = {key: getattr(table, key) for key in keys if getattr(table, key) is not None}
    if isinstance(table, Database) and table.max_backends:
        own["max_backends"] = table.max_backends
    return "".join(f", {key} {value}" for key, value in own.items())


def _lines(label: str, texts: Sequence[str]) -> Iterator[str]:
    for position, text in enumerate(texts[:MOST_LINES]):
        yield _line("" if position else label, text)
    if len(texts) > MOST_LINES:
        yield _line("", f"and {len(texts) - MOST_LINES} more")


def _line(label: str, text: str) -> str:
    return f"  {label:<11} {text}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
