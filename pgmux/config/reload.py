"""A reload: the configuration's file read again while pgmux runs."""

import dataclasses

import msgspec

from pgmux.config.configuration import Config
from pgmux.config.file import load
from pgmux.config.option import rows_of
from pgmux.config.settings import Settings


def reload(running: Config) -> tuple[Config, tuple[str, ...]]:
    """What `running` becomes, and the names of changed options that wait for a restart.

    Those keep the values that run. Raises ConfigError with everything that is wrong with the
    file; then nothing is to be changed.
    """
    found = load(running.path)
    waiting = tuple(
        row.name
        for row in rows_of(Settings).values()
        if not row.option.reload and getattr(found.pgmux, row.name) != getattr(running.pgmux, row.name)
    )
    kept = {name: getattr(running.pgmux, name) for name in waiting}
    return dataclasses.replace(found, pgmux=msgspec.structs.replace(found.pgmux, **kept)), waiting
