"""`pgmux import-pgbouncer`: a pgmux.toml from a pgbouncer.ini, and an account of what could not go on."""

import os
import sys
from collections import Counter
from collections.abc import Iterator

from pgmux.cli.output import print_answer, print_warnings
from pgmux.errors import ConfigError, PgmuxError, Problem
from pgmux.pgbouncer.draft import Draft, absolute
from pgmux.pgbouncer.ini import Kind, Line, read_ini
from pgmux.pgbouncer.options import GLOBAL
from pgmux.pgbouncer.translation import translate
from pgmux.session.auth_file import parse_auth_file
from pgmux.session.secret import Password

MODE = 0o640  # passwords may stand in it
NOT_ACCEPTED = 1


def import_pgbouncer(path: str, output: str | None) -> int:
    """Write the configuration to `output`, or print it; gives 0 when `pgmux check` accepts it here.

    Raises ConfigError where PgBouncer would refuse the ini, PgmuxError when `output` cannot be written.
    """
    lines = read_ini(path)
    users, notes, problems = _look_into_auth_file(lines)
    draft = translate(lines, users)
    draft.mend(output or "pgmux.toml")
    draft.notes += notes
    draft.problems += problems
    if output is None:
        print_answer(draft.text().rstrip("\n"))
    else:
        _write(output, draft.text())
    print_warnings(draft.warnings)
    for said in _account(draft, path):
        print(said, file=sys.stderr)
    return NOT_ACCEPTED if draft.problems else 0


def _look_into_auth_file(lines: list[Line]) -> tuple[int, list[str], list[Problem]]:
    """How many users it names (1 where nobody knows), what to say about it, and what pgmux refuses in it."""
    given = [
        line for line in lines if (line.kind, line.section, line.key) == (Kind.SETTING, GLOBAL, "auth_file")
    ]
    if not given or not given[-1].value:
        return 1, [], []
    path = absolute(given[-1].value, given[-1])
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            secrets = parse_auth_file(file.read(), path)
    except OSError:
        return 1, [], []  # pgmux's judgement of the draft says so
    except ConfigError as error:
        return 1, [], error.problems
    notes = [f"{path}: pgmux reads it as it is, {len(secrets)} users; its account must be able to"]
    hashed = sum(not isinstance(secret, Password) for secret in secrets.values())
    if hashed:
        notes.append(
            f"{path}: {hashed} users have a hash there, which lets them in; whether it is enough to log in "
            "to PostgreSQL as them depends on what its pg_hba.conf asks of pgmux"
        )
    return max(1, len(secrets)), notes, []


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError:
        raise PgmuxError(f"{path} exists already: remove it, or write to another file") from None
    except OSError as error:
        raise PgmuxError(f"{path} cannot be written: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _account(draft: Draft, path: str) -> Iterator[str]:
    """What was not carried, in the order of the ini, then what is to be known and done."""
    yield from map(
        str, sorted(draft.remarks, key=lambda remark: (remark.origin.file != path, *remark.origin[:2]))
    )
    for note in draft.notes:
        yield f"note: {note}"
    if draft.problems:
        yield "pgmux would not start with it yet:"
        yield from (f"  {problem}" for problem in draft.problems)
    counts = Counter(remark.fate.value for remark in draft.remarks)
    rest = "".join(f", {count} {fate}" for fate, count in counts.items())
    yield f"{path}: {draft.carried} options carried{rest}"
