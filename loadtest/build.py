"""The measurements' programs in C, compiled when their sources are newer."""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path

from pgmux.errors import PgmuxError

_SOURCES = Path(__file__).parent
_OPTIONS = ("-O2", "-Wall", "-Wextra", "-Wno-sign-compare")
BUILD_FOLDER = _SOURCES.parent / "build" / "loadtest"


def build(name: str, folder: Path = BUILD_FOLDER) -> Path:
    """The program made of all C files whose names begin with its own, made anew if one is newer.

    The compiler is $CC, or cc. Raises PgmuxError with the compiler's words.
    """
    program = folder / name
    sources = sorted(_SOURCES.glob(f"{name}*.c"))
    newest = max(path.stat().st_mtime for path in [*sources, *_SOURCES.glob(f"{name}*.h")])
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.{os.getpid()}"  # two who build at once do not see each other's half
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, *_OPTIONS, "-o", str(unfinished), *map(str, sources)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        unfinished.replace(program)
    except FileNotFoundError as error:
        raise PgmuxError(
            f"{name} needs a C compiler, and there is no {compiler[0]}: install gcc or set CC"
        ) from error
    except subprocess.CalledProcessError as error:
        raise PgmuxError(f"{name} does not compile:\n{error.stderr.strip()}") from error
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    return program
