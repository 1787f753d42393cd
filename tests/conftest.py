"""The tests' common ground; each concern is a plug-in of its own."""

from __future__ import annotations

pytest_plugins = (
    "pytester",
    "tests.fix_crash_memory",
    "tests.fix_header",
    "tests.fix_evidence",
    "tests.fix_postgres",
    "tests.fix_pgmux",
    "tests.fix_wire",
    "tests.fix_certificates",
)
