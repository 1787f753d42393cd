"""The doors of a configuration: its auth_file read, and what follows from it for log-ins."""

from collections.abc import Mapping

from pgmux.config import Config
from pgmux.errors import PgmuxError
from pgmux.session.auth_file import parse_auth_file
from pgmux.session.doors import Doors
from pgmux.session.secret import Secret


def open_doors(config: Config, mock_key: bytes) -> tuple[Mapping[str, Secret], Doors]:
    """The secrets of auth_file (none without one), and the doors. Raises PgmuxError.

    `mock_key` must be the same in all workers, and after a reload.
    """
    secrets = _read_secrets(config.pgmux.auth_file)

    def has_database(name: str) -> bool:
        return name in config.databases or "*" in config.databases

    return secrets, Doors(config.pgmux.auth_type, secrets, has_database, mock_key)


def _read_secrets(path: str) -> Mapping[str, Secret]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse_auth_file(file.read(), path)
    except OSError as error:
        raise PgmuxError(f"cannot read auth_file {path}: {error.strerror}") from None
