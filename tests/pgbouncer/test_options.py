"""The table of PgBouncer's options is complete, and says no more than pgmux does."""

from __future__ import annotations

from collections import Counter

import pytest

from pgmux.config.option import rows_of
from pgmux.pgbouncer.options import (
    BY_PLACE,
    DATABASE,
    GLOBAL,
    OPTIONS,
    PEER,
    TABLES,
    USER,
    Fate,
    Row,
    read_number,
    read_seconds,
)
from tests.pgbouncer.bouncer import Bouncer

# What PgBouncer 1.25's parser knows (its config.md), besides what SHOW CONFIG of 1.18 lists.
NEW_SINCE_1_18 = [
    "auth_ident_file",
    "auth_ldap_options",
    "cancel_wait_timeout",
    "client_tls13_ciphers",
    "log_stats",
    "login_notify_message",
    "max_db_client_connections",
    "max_prepared_statements",
    "max_user_client_connections",
    "peer_id",
    "pool_idle_timeout",
    "query_wait_notify",
    "scram_iterations",
    "server_tls13_ciphers",
    "track_extra_parameters",
    "transaction_timeout",
]
OF_A_DATABASE = [
    "application_name",
    "auth_dbname",
    "auth_query",
    "auth_user",
    "client_encoding",
    "connect_query",
    "datestyle",
    "dbname",
    "host",
    "load_balance_hosts",
    "max_db_client_connections",
    "max_db_connections",
    "min_pool_size",
    "password",
    "pool_mode",
    "pool_size",
    "port",
    "query_wait_timeout",
    "reserve_pool",
    "reserve_pool_size",
    "server_lifetime",
    "timezone",
    "user",
]
OF_A_USER = [
    "client_idle_timeout",
    "idle_transaction_timeout",
    "max_user_client_connections",
    "max_user_connections",
    "pool_mode",
    "pool_size",
    "query_timeout",
    "query_wait_timeout",
    "reserve_pool_size",
    "transaction_timeout",
]


def test_every_option_that_debians_pgbouncer_shows_has_a_row() -> None:
    with Bouncer("[pgbouncer]\n") as bouncer:
        shown = {row["key"] for row in bouncer.show("CONFIG")}
    assert len(shown) > 70
    assert shown - {name for section, name in BY_PLACE if section == GLOBAL} == set()


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (GLOBAL, NEW_SINCE_1_18),
        (DATABASE, OF_A_DATABASE),
        (USER, OF_A_USER),
        (PEER, ["host", "port", "pool_size"]),
    ],
)
def test_every_option_of_1_25_has_a_row(section: str, names: list[str]) -> None:
    assert {name for name in names if (section, name) not in BY_PLACE} == set()


def test_no_option_stands_there_twice() -> None:
    assert [
        place for place, count in Counter((row.section, row.name) for row in OPTIONS).items() if count > 1
    ] == []


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: f"{row.section}.{row.name}")
def test_a_row_says_why_or_names_an_option_that_pgmux_has(row: Row) -> None:
    if row.fate is Fate.CARRIED:
        assert row.name in rows_of(TABLES[row.section])
    else:
        assert row.why
        assert not row.why.endswith(".")


def test_an_option_that_pgmux_gets_is_carried_from_then_on() -> None:
    row = Row(GLOBAL, "workers", read_number, Fate.NOT_CARRIED, "there was none")
    assert row.becomes() is Fate.CARRIED


@pytest.mark.parametrize(("text", "number"), [("20", 20), ("0", 0), ("0777", 511), ("0x10", 16), ("-1", -1)])
def test_numbers_are_read_as_strtol_does(text: str, number: int) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(("text", "duration"), [("3600", "1h"), ("0", 0), ("90", "90s"), ("0.25", "250ms")])
def test_seconds_become_durations(text: str, duration: str | int) -> None:
    assert read_seconds(text) == duration
