"""Who may know whom, from protocol up to cli; and who alone may use gevent, epoll, fork and atomics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for path in ROOT.glob("pgmux/**/*") if path.suffix in {".py", ".pyi", ".pyx", ".pxd"}]

LEAVES = {"errors", "config", "aligned"}  # which everybody may import
BELOW = {  # what else a layer may import
    "errors": set[str](),
    "config": {"errors"},
    "aligned": set[str](),
    "protocol": set[str](),
    "session": {"protocol"},
    "shm": set[str](),
    "relay": {"shm", "session", "protocol"},
    "control": {"shm", "session", "protocol"},
    "worker": {"relay", "control", "shm", "session", "protocol"},
    "supervisor": {"worker", "relay", "control", "shm", "session", "protocol"},
    "demo": set[str](),
    "pgbouncer": {"session"},
    "top": {"control", "relay", "session", "shm"},
    "doctor": {"relay", "shm", "session", "protocol"},
    "cli": {"supervisor", "worker", "relay", "control", "shm", "session", "protocol", "demo"},
}
BELOW["cli"] |= {"pgbouncer", "doctor", "top"}  # the layers of one command each
IMPORT = re.compile(r"^\s*(?:from|c?import) (?:pgmux\.(\w+)|([\w.]+))", re.MULTILINE)
ALONE = {  # what only one layer may do, and how it would look elsewhere
    "worker": r"^\s*(from|c?import) gevent\b",
    "relay": r"\bepoll_\w+\(|sys/epoll|select\.epoll|\bEpollSelector",
    "supervisor": r"\bos\.fork\(|\bos\.forkpty\(|\bmultiprocessing\b",
    "shm": r"atomics\.h|\b__atomic_|\bpthread_(?!sigmask)",
}


def layer(path: Path) -> str:
    """The package below pgmux; a module there, such as errors, is a layer by itself."""
    return path.relative_to(ROOT / "pgmux").parts[0].removesuffix(path.suffix)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_keeps_to_its_layer(path: Path) -> None:
    text, here = path.read_text(), layer(path)
    if here not in {"__init__", "__main__"}:
        known = {pgmux for pgmux, _ in IMPORT.findall(text) if pgmux}
        assert known <= {here} | BELOW[here] | (set() if here in LEAVES else LEAVES)
    for owner, pattern in ALONE.items():
        assert here == owner or not re.search(pattern, text, re.MULTILINE), f"only {owner} may do that"
    assert path.stem not in {"utils", "common", "helpers", "manager", "base", "misc"}
    assert not re.search(r"^\s*include \"|^\s*(DEF|IF|ELIF) ", text, re.MULTILINE)


def test_there_is_no_textual_c_but_the_atomics() -> None:
    written = {path for path in ROOT.glob("pgmux/**/*.[ch]") if not path.with_suffix(".pyx").exists()}
    assert written == {ROOT / "pgmux/shm/atomics.h"}
    quoted = [
        path for path in SOURCES if re.search(r"^cdef extern from \*:?$", path.read_text(), re.MULTILINE)
    ]
    assert quoted == []
