"""Finding and reading the configuration file."""

import os
from collections.abc import Mapping

from pgmux.config.configuration import Config
from pgmux.config.reading import read_config
from pgmux.errors import ConfigError, Problem

DEFAULT_PATH = "/etc/pgmux/pgmux.toml"
VARIABLE = "PGMUX_CONFIG"


def load(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration from `path`, else from $PGMUX_CONFIG, else from /etc/pgmux/pgmux.toml.

    Variables PGMUX_<KEY> go before the file's [pgmux]. Raises ConfigError with every problem
    there is, or when there is no file.
    """
    named = path or environ.get(VARIABLE)
    if named:
        return read_config(_read_text(named), environ, path=named)
    if not os.path.lexists(DEFAULT_PATH):
        message = f"there is no such file, no -c FILE was given, and {VARIABLE} is not set"
        hint = "`pgmux check --options > pgmux.toml` writes one to begin with"
        raise ConfigError([Problem(DEFAULT_PATH, None, "", message, hint)])
    return read_config(_read_text(DEFAULT_PATH), environ, path=DEFAULT_PATH)


def _read_text(path: str) -> str:
    """The file's text. Raises ConfigError when it cannot be read or is not UTF-8."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError([Problem(path, None, "", f"cannot be read: {error.strerror}")]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(path, line, "", "not valid UTF-8, which TOML must be")]) from None
