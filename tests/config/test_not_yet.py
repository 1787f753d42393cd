"""Options that this version refuses because it would not act upon them."""

import pytest

from pgmux.config import not_yet
from pgmux.config.not_yet import NOT_YET, NotYet, is_missing, is_not_yet
from pgmux.config.option import rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from tests.config.texts import read, refusal

TABLES = (Settings, Database, User)


@pytest.fixture
def without_roaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that cannot have a client go where an option wants it to."""
    row = NotYet("roam", lambda value: value is True, "roaming is not supported yet", "leave it out")
    monkeypatch.setattr(not_yet, "NOT_YET", (row,))


@pytest.mark.usefixtures("without_roaming")
def test_an_option_that_would_be_ignored_is_refused() -> None:
    problem = refusal("[pgmux]\nroam = true\nauth_type = 'trust'\n")
    assert problem.line == 2
    assert "not supported yet" in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    "line",
    [
        "pool_mode = 'session'",
        "auth_type = 'trust'",
        "auth_query = ''",
        "metrics_listen = ':9930'",
        "admin_users = ['alice']",
        "stats_users = ['alice']",
        "client_tls_sslmode = 'disable'",
        "client_tls_key_file = ''",
        "server_tls_sslmode = 'disable'",
        "server_tls_sslmode = 'prefer'",
    ],
)
def test_the_values_that_work_are_accepted(line: str) -> None:
    assert read(f"[pgmux]\n{line}\n").path is None


def test_every_row_names_an_option_whose_default_it_accepts() -> None:
    for row in NOT_YET:
        tables = [rows_of(table)[row.key] for table in TABLES if row.key in rows_of(table)]
        assert tables
        assert not any(row.is_asked_for(option.default) for option in tables)


@pytest.mark.usefixtures("without_roaming")
def test_what_is_missing_wholly_is_told_from_what_is_missing_in_part() -> None:
    assert not is_missing("roam")
    assert is_not_yet("roam", True)
    assert not is_not_yet("roam", False)
