"""A pgmux for which a version with another layout of shared memory can be installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pgmux.supervisor.main import UPGRADE
from tests.fix_pgmux import MakePgmux
from tests.moving.test_upgrade import install
from tests.servers import Pgmux

ALL_HAS_COME = "all has come from the workers of before"

# Python runs this when it starts (see site): pages of the segment are twice as long, so nothing lies where it did.
_OTHER_LAYOUT = """
import pgmux.shm.segment as segment
segment.LAYOUT_VERSION += 1
segment.PAGE_BYTES *= 2
"""


class Upgradable:
    """Makes them, in one folder."""

    def __init__(self, make_pgmux: MakePgmux, folder: Path) -> None:
        self._make, self._folder = make_pgmux, folder

    def make(self, *, code: str = "", **settings: Any) -> Pgmux:
        """One that runs. `code`: what Python runs first in the version that is to be replaced, and in no other."""
        self._have_python_run(code)
        return self._make(workers=2, environ={"PYTHONPATH": str(self._folder)}, **settings)

    def upgrade(self, pgmux: Pgmux) -> None:
        """Has that version take over, and waits until its workers serve; clients may be on their way still."""
        self.begin_to_upgrade(pgmux)
        pgmux.wait_for_log("is ready: 2 workers", 60)

    def begin_to_upgrade(self, pgmux: Pgmux) -> None:
        """Has that version take over, and does not wait."""
        self._have_python_run(_OTHER_LAYOUT)
        install(self._folder, "88.1")
        pgmux.log_file.mark()
        pgmux.signal(UPGRADE)

    def _have_python_run(self, code: str) -> None:
        (self._folder / "sitecustomize.py").write_text(code)


def regent_of(pgmux: Pgmux) -> int:
    """The process id of the regent, which it has logged."""
    told = re.search(r"regent \(pid (\d+)\)", pgmux.wait_for_log(r"regent \(pid \d+\)"))
    assert told is not None
    return int(told[1])
