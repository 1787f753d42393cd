"""The build backend: setuptools', after a look whether what is compiled can be compiled here.

Without it, who lacks a compiler learns so from two hundred lines that end in "command 'gcc' failed". PEP 517,
"In-tree build backends".
"""

import os
import shlex
import shutil
import subprocess
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
  Alpine:           apk add gcc musl-dev linux-headers python3-dev
  nothing to compile: pip install --only-binary=pgmux pgmux, where there is a wheel for this machine
"""
PROBE = """\
#include <Python.h>
#include <stdlib.h>
#include <linux/io_uring.h>
int probe = IORING_OP_SEND;
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
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(compiler[0]):
        return f"its data path is compiled, and there is no C compiler ({compiler[0]})"
    headers = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(headers, "Python.h")):
        return f"its data path is compiled, and Python's headers are not installed ({headers}/Python.h)"
    tried = subprocess.run(
        [*compiler, "-I", headers, "-fsyntax-only", "-x", "c", "-"],
        input=PROBE,
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        said = next((line for line in tried.stderr.splitlines() if "error" in line), tried.stderr.strip())
        return (
            "its data path is compiled, and headers of the C library, or Linux's of 5.6 or later, are not "
            f"installed ({said})"
        )
    return ""
