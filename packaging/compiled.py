"""The build backend: setuptools', after a look whether what is compiled can be compiled here.

Without it, who lacks a compiler learns so from two hundred lines that end in "command 'gcc' failed". PEP 517,
"In-tree build backends".
"""

import os
import shutil
import sys
import sysconfig

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

REMEDY = """\
  Debian, Ubuntu:   apt-get install gcc libc6-dev python3-dev
  Fedora, RHEL:     dnf install gcc python3-devel
  Alpine:           apk add gcc musl-dev python3-dev
  nothing to compile: pip install --only-binary=pgmux pgmux, where there is a wheel for this machine
"""


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """As setuptools does. Ends the process, with what to install, where it cannot be done."""
    _look()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """As build_wheel."""
    _look()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def _look() -> None:
    missing = find_missing()
    if missing:
        sys.exit(f"\npgmux cannot be built here: {missing}.\n{REMEDY if sys.platform == 'linux' else ''}")


def find_missing() -> str:
    """What is missing to compile pgmux; "" when nothing is."""
    if sys.platform != "linux":
        return "it runs on Linux alone (epoll, eventfd, SO_REUSEPORT)"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"its data path is compiled, and there is no C compiler ({compiler})"
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        return f"its data path is compiled, and Python's headers are not installed ({header})"
    return ""
