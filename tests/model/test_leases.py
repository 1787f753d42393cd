"""The model of leases, searched to the end: no two owners, no lost wake-up, no lost backend, whoever is killed.

And the model's own test: with any one precaution taken away, the search finds what goes wrong.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pgmux.shm.leases import LAW, Phase, Verb

MODEL = Path(__file__).with_name("leases.pml")
DEATH = ("-DTRANSACTIONS=1", "-DKILLS=1", "-DSLOTS=1")
PARKING = ("-DTRANSACTIONS=2", "-DKILLS=0", "-DSLOTS=1")
TWO_SLOTS = ("-DTRANSACTIONS=1", "-DKILLS=1", "-DSLOTS=2")
BROKEN = {
    "MOVE_IN_TWO_STEPS": PARKING,
    "NO_LOOK_AFTER_PARKING": PARKING,
    "NO_LOOK_AFTER_FREEING": PARKING,
    "SLEEP_WITHOUT_A_LOOK": PARKING,
    "POP_BEFORE_GRANT": DEATH,
    "BITMAP_NOT_REBUILT": DEATH,
    "NO_ERRANDS": DEATH,
    "NOBODY_LOOKS_FOR_FREE_ONES": DEATH,
}
Search = Callable[..., str]

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("spin") and shutil.which("cc")), reason="spin is not installed here"
    ),
    pytest.mark.slow,
]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Searches the model with these definitions, and gives what is wrong with it: "" for nothing.

    `is_long` says that the search takes longer than to have it optimised.
    """

    def search(*definitions: str, law: str = law_of(LAW), is_long: bool = False) -> str:
        shutil.copy(MODEL, tmp_path)
        (tmp_path / "law.h").write_text(law)
        run(tmp_path, "spin", *definitions, "-a", MODEL.name)
        run(tmp_path, "cc", "-O2" if is_long else "-O0", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
        said = run(tmp_path, "./pan", "-m1000000")
        assert "Search not completed" not in said or "errors: 1" in said, said
        assert "max search depth too small" not in said
        found = re.search(r"^pan:1: (.*)$", said, re.MULTILINE)
        errors = re.search(r"errors: (\d+)", said)
        assert errors, said
        assert (errors[1] == "0") == (found is None), said
        return found[1] if found else ""

    return search


@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [PARKING, DEATH, TWO_SLOTS], ids=["parking", "death", "two slots"])
def test_nothing_can_go_wrong(search: Search, size: tuple[str, ...]) -> None:
    assert search(*size, is_long=True) == ""


@pytest.mark.parametrize("precaution", BROKEN)
def test_a_missing_precaution_is_missed(search: Search, precaution: str) -> None:
    assert search(*BROKEN[precaution], f"-DBROKEN_{precaution}")


def test_a_law_that_lets_two_take_the_same_backend_is_found_out(search: Search) -> None:
    lax = [
        (verb, origins, Phase.FREE if verb == Verb.TAKE else to, grows) for verb, origins, to, grows in LAW
    ]
    assert "assertion violated" in search(*PARKING, law=law_of(lax))


def test_every_precaution_of_the_model_is_taken_away_once() -> None:
    assert set(re.findall(r"^#ifn?def BROKEN_(\w+)", MODEL.read_text(), re.MULTILINE)) == set(BROKEN)


def law_of(rows: Sequence[tuple[Verb, tuple[Phase, ...], Phase, bool]]) -> str:
    """The compiled table of moves as macros for the model."""
    names = [f"#define {each.name} {int(each)}" for each in (*Phase, *Verb)]
    legal = " || ".join(
        f"(verb) == {int(verb)} && (phase) == {int(origin)}"
        for verb, origins, *_ in rows
        for origin in origins
    )
    target = renews = "0"
    for verb, _, to, grows in rows:
        target = f"((verb) == {int(verb)} -> {int(to)} : {target})"
        renews = f"((verb) == {int(verb)} -> {int(grows)} : {renews})"
    macros = [f"LEGAL(verb, phase) ({legal})", f"TARGET(verb) {target}", f"RENEWS(verb) {renews}"]
    return "\n".join([*names, *(f"#define {macro}" for macro in macros), ""])


def run(folder: Path, *command: str) -> str:
    """What a command says; it must not fail by itself."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
