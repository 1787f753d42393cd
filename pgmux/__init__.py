"""pgmux: a multi-process PostgreSQL connection pooler, many workers over one exact pool.

`__version__` is found when it is first asked for: looking up an installed package's version
loads megabytes that no worker needs.
"""

from typing import TYPE_CHECKING

__version__: str

if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("pgmux")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
