"""race.pyx, compiled against the pgmux that is installed, at its first use."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from loadtest.build import BUILD_FOLDER
from pgmux.errors import PgmuxError

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parent.parent
_SETUP = """
import sys
from setuptools import Extension, setup
from Cython.Build import cythonize
extension = Extension("race", ["race.pyx"], include_dirs=[".", {shm!r}], extra_compile_args=["-O2"])
setup(ext_modules=cythonize([extension], include_path=[{repository!r}], quiet=True))
"""


def race() -> ModuleType:
    """The module. Raises PgmuxError with the compiler's words."""
    folder = BUILD_FOLDER / f"race-{sys.implementation.cache_tag}"
    newest = max(path.stat().st_mtime for path in _ingredients())
    built = next(folder.glob("race.*.so"), None)
    if built is None or built.stat().st_mtime < newest:
        built = _compile(folder)
    spec = importlib.util.spec_from_file_location("race", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ingredients() -> list[Path]:
    """What it is made of: the structs of the segment too, whose places it has compiled in."""
    return [*_HERE.glob("race.pyx"), *_HERE.glob("*.h"), *(_REPOSITORY / "pgmux" / "shm").glob("*.pxd")]


def _compile(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (_HERE / "race.pyx", _HERE / "procarray.h"):
        shutil.copy(path, folder)
    script = _SETUP.format(shm=str(_REPOSITORY / "pgmux" / "shm"), repository=str(_REPOSITORY))
    (folder / "setup.py").write_text(script)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    built = next(folder.glob("race.*.so"), None)
    if done.returncode or built is None:
        raise PgmuxError(
            f"race.pyx does not compile (it needs Cython and gcc):\n{done.stderr.strip()[-2000:]}"
        )
    return built
