"""The first steps of README and manual, done as they stand: the file of users, the configuration, the first log-ins."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fix_pgmux import MakePgmux
from tests.servers import Postgres

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/index.md"]
CONFIGURATION = re.compile(r'^( *)\[pgmux\]\n(?:\1.*\n|\n)*?\1host = "127\.0\.0\.1".*\n', re.MULTILINE)
USERS = re.compile(r"^ *sudo -u postgres psql .*\n.*> userlist\.txt.*$", re.MULTILINE)


@pytest.fixture
def alice(postgres: Postgres) -> Iterator[str]:
    """A role's password, which PostgreSQL keeps as a verifier."""
    postgres.sql("CREATE ROLE alice LOGIN PASSWORD 'wonder'")
    yield "wonder"
    postgres.sql("DROP ROLE alice")


def find(pattern: re.Pattern[str], page: str) -> str:
    """The one place of a page that it fits."""
    [found] = pattern.finditer((ROOT / page).read_text())
    return textwrap.dedent(found[0])


def file_of_users(postgres: Postgres, page: str) -> str:
    """What the page's command writes."""
    account, question, _, target, *_ = (
        word for word in shlex.split(find(USERS, page))[2:] if word not in ("psql", "-AtXc")
    )
    assert (account, target) == ("postgres", "userlist.txt")
    return "".join(f"{line}\n" for (line,) in postgres.sql(question))


@pytest.mark.parametrize("page", PAGES)
def test_who_does_what_the_page_says_is_served(
    make_pgmux: MakePgmux, postgres: Postgres, alice: str, page: str
) -> None:
    pgmux = make_pgmux(is_started=False)
    here = f'workers = 2\nlisten = ["{pgmux.host}:{pgmux.port}"]\n'
    text = find(CONFIGURATION, page).replace('listen = ["127.0.0.1:6432"]\n', "")
    text = text.replace("[pgmux]\n", f"[pgmux]\n{here}")
    pgmux.config_path.write_text(text + f"port = {postgres.port}\n")
    users = pgmux.folder / "userlist.txt"
    users.write_text(file_of_users(postgres, page))
    users.chmod(0o600)
    pgmux.start()
    with pgmux.connect(user="alice", password=alice, dbname="app") as client:
        assert client.execute("SELECT current_user").fetchall() == [("alice",)]
    with pgmux.connect(user="alice", password=alice, dbname="pgmux") as console:
        assert "app" in [row[0] for row in console.execute("SHOW POOLS").fetchall()]
    assert "alice" in pgmux.ctl("show", "pools")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        pgmux.connect(user="alice", password="wondering", dbname="app")
