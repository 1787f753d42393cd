"""What a report of a failure should begin with: the versions of everything that took part."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from pgmux.demo.installations import find_installations

_PACKAGES = ("Cython", "gevent", "psycopg", "asyncpg")


def pytest_report_header() -> list[str]:
    """The lines under pytest's own."""
    python = f"{platform.python_implementation()} {platform.python_version()}, Linux {platform.release()}"
    packages = ", ".join(f"{name} {_version_of(name)}" for name in _PACKAGES)
    servers = ", ".join(f"{each.version} ({each.origin})" for each in find_installations())
    return [f"pgmux on {python}: {packages}", f"PostgreSQL: {servers or 'none found'}"]


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
