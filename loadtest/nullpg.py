"""The null backend: nullpg.c compiled when its source is newer, started, and asked for its peak."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.client import Address, log_in
from loadtest.program import Program
from pgmux.errors import PgmuxError

_SOURCES = Path(__file__).parent
BUILD_FOLDER = _SOURCES.parent / "build" / "loadtest"


def build_nullpg(folder: Path = BUILD_FOLDER) -> Path:
    """The compiled program, made anew if a source is newer. Raises PgmuxError with the compiler's words.

    The compiler is $CC, or cc.
    """
    program = folder / "nullpg"
    sources = sorted(_SOURCES.glob("nullpg*.c"))
    newest = max(path.stat().st_mtime for path in [*sources, *_SOURCES.glob("nullpg*.h")])
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"nullpg.{os.getpid()}"  # two who build at once do not see each other's half
    compiler = shlex.split(os.environ.get("CC", "cc"))
    options = ["-O2", "-Wall", "-Wextra", "-Wno-sign-compare"]
    command = [*compiler, *options, "-o", str(unfinished), *map(str, sources)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        unfinished.replace(program)
    except FileNotFoundError as error:
        raise PgmuxError(
            f"nullpg needs a C compiler, and there is no {compiler[0]}: install gcc or set CC"
        ) from error
    except subprocess.CalledProcessError as error:
        raise PgmuxError(f"nullpg does not compile:\n{error.stderr.strip()}") from error
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return program


class NullBackend:
    """One nullpg, from the with statement's begin to its end."""

    version = "nullpg (answers as PostgreSQL 16.0)"

    def __init__(self, folder: Path, over_unix: bool = False) -> None:
        self._folder = folder
        self._over_unix = over_unix

    def __enter__(self) -> Self:
        command: list[str | Path] = [build_nullpg(), "-k", self._folder]
        self._program = Program("nullpg", command, self._folder)
        try:
            self._port = int(self._program.first_line())
            self._control = log_in(self.address)
        except BaseException:
            self._program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        self._program.stop()

    @property
    def pid(self) -> int:
        """Its only process."""
        return self._program.pid

    @property
    def address(self) -> Address:
        """Where poolers find it: TCP, or its Unix socket if that was wanted."""
        return Address(str(self._folder) if self._over_unix else "127.0.0.1", self._port)

    def check(self) -> None:
        """Raises PgmuxError if it is not running any more."""
        self._program.check()

    def take_peak(self) -> int:
        """The most backends that were logged in at any instant since this was last asked.

        nullpg itself counts, at every log-in, so none is missed between two looks.
        """
        return int(self._control.query("SHOW peak_backends") or 0) - 1  # the one that asks is always there
