"""The configuration: one table of options, and what is made from it.

`load` gives the Config that pgmux runs on, or raises ConfigError with everything that is
wrong. The tables themselves are in `settings` and `overrides`; nothing here touches sockets, processes or shared memory.
"""

from pgmux.config.addresses import Listen
from pgmux.config.configuration import Config, PoolSettings
from pgmux.config.file import load
from pgmux.config.overrides import Database, User
from pgmux.config.reading import read_config
from pgmux.config.reload import reload
from pgmux.config.settings import Settings

__all__ = [
    "Config",
    "Database",
    "Listen",
    "PoolSettings",
    "Settings",
    "User",
    "load",
    "read_config",
    "reload",
]
