"""What must hold between options, and between options and the machine.

Each check looks at one matter. Values that could not be read have been refused already and
stand here at their defaults, so a check says nothing about a key that is refused.
"""

import os
import stat

from pgmux.config.addresses import is_directory, socket_path
from pgmux.config.configuration import ANY_DATABASE, Config
from pgmux.config.findings import Findings
from pgmux.config.key_lines import KeyPath
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from pgmux.config.tls_checks import check_tls

SOCKET_PATH_BYTES = 107  # sun_path less its final zero (unix(7))
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ALL_ADDRESSES = ("", "0.0.0.0", "::")
PASSWORD_TYPES = ("password", "md5", "scram-sha-256")
VERIFYING_MODES = ("verify-ca", "verify-full")


def check_config(config: Config, findings: Findings) -> None:
    """Note in `findings` whatever does not fit together."""
    _check_ways_in(config, findings)
    _check_auth(config, findings)
    _check_auth_file(config.pgmux, findings)
    _check_databases(config, findings)
    _check_pool_sizes(config, findings)
    _check_sockets(config, findings)
    _check_secrets(config, findings)
    _check_users(config, findings)
    check_tls(config, findings)


def _check_ways_in(config: Config, findings: Findings) -> None:
    if not config.pgmux.listen and not config.pgmux.unix_socket_dir:
        hint = 'for example listen = ["127.0.0.1:6432"]'
        findings.refuse(
            ("pgmux", "listen"), "no client could connect: there is no address to listen on", hint
        )


def _check_auth(config: Config, findings: Findings) -> None:
    settings = config.pgmux
    if findings.is_refused(("pgmux", "auth_type")):
        return
    if settings.auth_type == "trust":
        _warn_of_trust(config, findings)
    if settings.auth_type in PASSWORD_TYPES and not (settings.auth_file or settings.auth_user):
        message = f'auth_type "{settings.auth_type}" needs the users\' passwords'
        hint = 'set auth_file = "/etc/pgmux/userlist.txt", or auth_type = "trust" to ask for none'
        if config.databases:
            findings.refuse(("pgmux", "auth_file"), message, hint)
        else:
            findings.warn(("pgmux", "auth_file"), message, hint)
    if settings.auth_type == "hba" and not settings.auth_hba_file:
        findings.refuse(
            ("pgmux", "auth_hba_file"), 'auth_type "hba" needs a file of rules', "set auth_hba_file"
        )
    if settings.auth_type == "cert" and settings.client_tls_sslmode not in VERIFYING_MODES:
        message = 'auth_type "cert" needs TLS that verifies certificates'
        findings.refuse(("pgmux", "auth_type"), message, 'set client_tls_sslmode = "verify-full"')
    _check_auth_query(config, findings)


def _check_auth_query(config: Config, findings: Findings) -> None:
    settings = config.pgmux
    if settings.auth_query and "$1" not in settings.auth_query:
        hint = "for example SELECT user_name, secret FROM lookup($1)"
        findings.refuse(("pgmux", "auth_query"), "there is no $1 in it for the user's name", hint)
    if settings.auth_user:
        if settings.auth_dbname and not _is_declared(settings.auth_dbname, config):
            message = f'database "{settings.auth_dbname}" is not declared'
            findings.refuse(("pgmux", "auth_dbname"), message, f"add [databases.{settings.auth_dbname}]")
        return
    for key in ("auth_query", "auth_dbname"):
        if getattr(settings, key):
            findings.refuse(("pgmux", key), "auth_query is asked by auth_user", "set auth_user")


def _is_declared(database: str, config: Config) -> bool:
    return database in config.databases or ANY_DATABASE in config.databases


def _warn_of_trust(config: Config, findings: Findings) -> None:
    exposed = [str(listen) for listen in config.pgmux.listen if listen.host not in LOOPBACK]
    if exposed:
        message = f'"trust" lets anybody who reaches {", ".join(exposed)} in without a password'
        findings.warn(("pgmux", "auth_type"), message, "listen on 127.0.0.1, or use another auth_type")


def _check_auth_file(settings: Settings, findings: Findings) -> None:
    for key in ("auth_file", "auth_hba_file", "auth_ident_file"):
        path = getattr(settings, key)
        if path:
            trouble = _unreadable(path)
            if trouble:
                findings.refuse(("pgmux", key), f"{path} {trouble}")


def _unreadable(path: str) -> str:
    """Why a file cannot be read; "" when it can."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    try:
        return "" if stat.S_ISREG(os.fstat(file).st_mode) else "is not a file"
    finally:
        os.close(file)


def _check_databases(config: Config, findings: Findings) -> None:
    if not config.databases and not findings.is_refused(("databases",)):
        hint = 'add [databases.NAME], or [databases."*"] for every name'
        findings.warn(("databases",), "no database is declared, so every log-in would be refused", hint)
    for name, database in config.databases.items():
        _check_hosts(name, database, config, findings)


def _check_hosts(name: str, database: Database, config: Config, findings: Findings) -> None:
    for host in database.host:
        if is_directory(host):
            path = socket_path(host, database.port)
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
                message = f"{path} is longer than a Unix socket's path may be"
                findings.refuse(("databases", name, "host"), message, f"at most {SOCKET_PATH_BYTES} bytes")
        if _is_pgmux_itself(host, database.port, config):
            message = "this is where pgmux itself listens, so it would connect to itself"
            findings.refuse(("databases", name, "host"), message, "name PostgreSQL's host and port")


def _is_pgmux_itself(host: str, port: int, config: Config) -> bool:
    if is_directory(host):
        return socket_path(host, port) == config.unix_socket
    return any(
        port == listen.port and (host == listen.host or (listen.host in ALL_ADDRESSES and host in LOOPBACK))
        for listen in config.pgmux.listen
    )


def _check_pool_sizes(config: Config, findings: Findings) -> None:
    settings = config.pgmux
    if settings.min_pool_size > settings.default_pool_size:
        message = f"{settings.min_pool_size} is more than default_pool_size = {settings.default_pool_size}"
        findings.refuse(("pgmux", "min_pool_size"), message)
    tables: list[tuple[str, str, Database | User]] = [
        *(("databases", name, database) for name, database in config.databases.items()),
        *(("users", name, user) for name, user in config.users.items()),
    ]
    for kind, name, table in tables:
        least, size = table.min_pool_size, table.pool_size
        if least is not None and size is not None and least > size:
            findings.refuse((kind, name, "min_pool_size"), f"{least} is more than pool_size = {size}")
        if size is not None and size > settings.max_backends:
            message = f"{size} is never reached: max_backends = {settings.max_backends}"
            findings.warn((kind, name, "pool_size"), message)
    if settings.default_pool_size > settings.max_backends:
        message = f"{settings.default_pool_size} is never reached: max_backends = {settings.max_backends}"
        findings.warn(("pgmux", "default_pool_size"), message)


def _check_sockets(config: Config, findings: Findings) -> None:
    sockets = {"unix_socket_dir": config.unix_socket, "control_socket": config.control_socket}
    if not config.pgmux.control_socket:
        sockets["runtime_dir"] = sockets.pop("control_socket")
    for key, path in sockets.items():
        if path is not None and len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            message = f"{path} is longer than a Unix socket's path may be"
            findings.refuse(("pgmux", key), message, f"at most {SOCKET_PATH_BYTES} bytes")
    directory = config.pgmux.unix_socket_dir
    if directory and not os.path.isdir(directory):
        findings.warn(("pgmux", "unix_socket_dir"), f"{directory} is not a directory now")


def _check_secrets(config: Config, findings: Findings) -> None:
    """Warn of files that hold passwords and that everybody may read."""
    holders: dict[KeyPath, str] = {("pgmux", "auth_file"): config.pgmux.auth_file}
    if config.path is not None:
        holders |= {
            ("databases", name, "password"): config.path
            for name, database in config.databases.items()
            if database.password
        }
    for path, file in holders.items():
        if file and not findings.is_refused(path) and _is_open_to_all(file):
            findings.warn(
                path, f"every user of this machine can read the passwords in {file}", f"chmod 640 {file}"
            )


def _check_users(config: Config, findings: Findings) -> None:
    """Warn of a file of users that has none, as a command leaves it that could not ask PostgreSQL."""
    settings, path = config.pgmux, ("pgmux", "auth_file")
    is_all = settings.auth_type in PASSWORD_TYPES and not settings.auth_user
    if is_all and settings.auth_file and not findings.is_refused(path) and _is_empty(settings.auth_file):
        message = f"{settings.auth_file} is empty, so every log-in would be refused"
        findings.warn(
            path, message, 'a line "user" "password" each; PostgreSQL can write it: see the quick start'
        )


def _is_empty(file: str) -> bool:
    try:
        return os.stat(file).st_size == 0
    except OSError:
        return False  # whoever reads it will say so


def _is_open_to_all(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & stat.S_IROTH)
    except OSError:
        return False
