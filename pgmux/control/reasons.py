"""Why a pool's clients wait for a backend, in a word and in a sentence."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "paused": "The operator has paused it; it goes on with RESUME.",
        "postgresql": "PostgreSQL cannot be used: {trouble}",
        "pool_size": "All {pool_size} backends that the pool may have are in use.",
        "database": "All {database_limit} backends that the database may have (its max_backends) are in use.",
        "max_backends": "All {max_backends} backends that pgmux may have (max_backends) are in use.",
        "opening": "A backend is being opened.",
        "turn": "A backend is about to be free, or to be opened.",
    }
)


def why(
    *,
    is_paused: bool,
    trouble: str,
    usable: int,
    opening: int,
    backends: int,
    pool_size: int,
    in_database: int,
    database_limit: int,
    in_all: int,
    max_backends: int,
) -> tuple[str, str]:
    """The reason that counts first, and its sentence.

    `usable`: the pool's backends that are logged in; `backends`: all of them; `in_database`, `in_all`: those
    of all pools of the database, and of all pools; `database_limit`: 0 = none.
    """
    if is_paused:
        word = "paused"
    elif trouble and not usable:
        word = "postgresql"
    elif backends >= pool_size:
        word = "pool_size"
    elif 0 < database_limit <= in_database:
        word = "database"
    elif in_all >= max_backends:
        word = "max_backends"
    elif opening:
        word = "opening"
    elif trouble:
        word = "postgresql"
    else:
        word = "turn"
    sentence = REASONS[word].format(
        trouble=trouble, pool_size=pool_size, database_limit=database_limit, max_backends=max_backends
    )
    return word, sentence
