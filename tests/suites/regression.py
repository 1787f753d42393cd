"""PostgreSQL's own regression tests, run against a server or against a pgmux in front of one.

They come with PostgreSQL's source, in src/test/regress; what runs them, pg_regress, with its packages for
developers. Manual: chapter "Regression Tests".
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.servers import Postgres

DATABASE = "regression"
AT_ONCE = 8  # tests that run side by side
_FORMATS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")


class Server(Protocol):
    """Where the tests are run."""

    host: str
    port: int


class Regression:
    """The tests of one source folder, with the programs of one installation."""

    def __init__(self, source: Path, libraries: Path, work: Path) -> None:
        """`source`: src/test/regress; `libraries`: where pgxs is; `work`: an empty folder, and all may write it."""
        self._source = source
        self._programs = libraries / "bin"
        self._runner = libraries / "lib/pgxs/src/test/regress/pg_regress"
        self._work = work
        self._functions = work / "regress.so"

    def build(self) -> None:
        """Compile the functions in C that some of the tests call. Raises CalledProcessError."""
        asked = [str(self._programs / "pg_config"), "--includedir-server"]
        headers = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        ours = self._source.parent.parent / "include"
        flags = ["-shared", "-fPIC", "-O1", f"-I{headers}", f"-I{ours}"]
        code = self._source / "regress.c"
        subprocess.run(
            ["gcc", *flags, "-o", str(self._functions), str(code)], check=True, capture_output=True
        )

    def prepare(self, postgres: Postgres) -> None:
        """Make the database as the tests expect it."""
        postgres.sql(f"DROP DATABASE IF EXISTS {DATABASE}")
        for (role,) in postgres.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress%'"):
            postgres.sql(f'DROP ROLE "{role}"')
        postgres.sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE 'C'")
        for name, value in (
            *((name, "C") for name in _FORMATS),
            ("bytea_output", "hex"),
            ("timezone_abbreviations", "Default"),
        ):
            postgres.sql(f"ALTER DATABASE {DATABASE} SET {name} TO '{value}'")

    def run(self, name: str, server: Server) -> Results:
        """Run all tests; what they gave is kept under the name."""
        folder = self._work / name
        for each in (folder, folder / "results", folder / "testtablespace"):
            each.mkdir()
            each.chmod(0o777)
        command = [
            str(self._runner),
            *("--use-existing", f"--bindir={self._programs}", f"--dlpath={self._work}"),
            *(f"--inputdir={self._source}", f"--outputdir={folder}"),
            *(f"--schedule={self._source / 'parallel_schedule'}", f"--max-connections={AT_ONCE}"),
            *(f"--host={server.host}", f"--port={server.port}", "--user=postgres", f"--dbname={DATABASE}"),
        ]
        environ = {**os.environ, "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": "postgres"}
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Results(folder / "results")


class Results:
    """What the tests have given, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __len__(self) -> int:
        return len(list(self._folder.glob("*.out")))

    def differing(self, others: Results) -> Iterator[str]:
        """The tests that gave something else, or nothing."""
        for path in sorted(self._folder.glob("*.out")):
            other = others._folder / path.name
            if not other.exists() or path.read_bytes() != other.read_bytes():
                yield path.stem
