"""The console's side of the protocol: simple and extended, text and binary, and what drivers say by habit."""

from __future__ import annotations

import struct

import pytest

from pgmux.control.commands import Right
from pgmux.control.console import greeting_parameters
from tests.control.bureau import Bureau
from tests.wire import frontend


def test_a_show_is_a_result_as_any_other(bureau: Bureau) -> None:
    bureau.world.pool(2)
    replies = bureau.console().ask(frontend.query("SHOW POOLS;"))
    assert replies.types == b"TDDCZ"
    columns = replies[0]["columns"]
    assert [column["name"] for column in columns[:3]] == ["database", "user", "cl_active"]
    assert [column["type"] for column in columns[:3]] == [25, 25, 23]
    assert replies.rows[0][:3] == [b"app", b"app", b"0"]
    assert replies.rows[0][19] is None  # waiting_for
    assert (replies.tags, replies.status) == (["SHOW"], "I")


def test_one_query_may_hold_several_statements_and_ends_with_one_ready(bureau: Bureau) -> None:
    replies = bureau.console().ask(frontend.query("SHOW VERSION; ; SHOW STATE"))
    assert replies.types == b"TDCTDDDCZ"
    assert bureau.console().ask(frontend.query("")).types == b"IZ"


def test_an_error_ends_its_query_and_not_the_session(bureau: Bureau) -> None:
    talk = bureau.console()
    replies = talk.ask(frontend.query("SHOW VERSION; SHOW NOTHING; SHOW STATE"))
    assert replies.types == b"TDCEZ"
    assert replies.error["C"] == "42601"
    assert replies.error["H"] == "SHOW HELP lists all commands."
    assert talk.ask(frontend.query("SHOW VERSION")).types == b"TDCZ"


def test_a_command_is_done_and_logged_with_who_gave_it(bureau: Bureau) -> None:
    bureau.world.pool(1)
    assert bureau.console().ask(frontend.query("DISABLE app")).tags == ["DISABLE"]
    assert [(name, request.word, request.arguments) for name, request in bureau.log] == [
        ("the test", "DISABLE", ("app",))
    ]


def test_a_stats_user_s_command_is_refused_with_its_own_sqlstate(bureau: Bureau) -> None:
    replies = bureau.console(Right.STATS).ask(frontend.query("PAUSE"))
    assert replies.types == b"EZ"
    assert replies.sqlstate == "42501"
    assert not bureau.world.pools.is_paused


# --- the extended protocol


def test_the_extended_protocol_gives_the_same(bureau: Bureau) -> None:
    bureau.world.pool(2)
    talk = bureau.console()
    replies = talk.ask(frontend.extended("SHOW POOLS"))
    assert replies.types == b"12TDDCZ"
    assert replies.rows == talk.ask(frontend.query("SHOW POOLS")).rows


def test_a_prepared_statement_is_described_and_runs_again_and_again(bureau: Bureau) -> None:
    talk = bureau.console()
    replies = talk.ask(frontend.parse("SHOW STATE", "s"), frontend.describe_statement("s"), frontend.sync())
    assert replies.types == b"1tTZ"
    for paused in (b"no", b"yes"):
        replies = talk.ask(frontend.bind(statement="s"), frontend.execute(), frontend.sync())
        assert replies.types == b"2DDDCZ"
        assert replies.rows[1] == [b"paused", paused]
        bureau.world.pools.pause()


def test_commands_have_no_rows_to_describe(bureau: Bureau) -> None:
    bureau.world.pool(1)
    talk = bureau.console()
    assert talk.ask(frontend.extended("ENABLE app")).types == b"12nCZ"
    assert talk.ask(frontend.extended("")).types == b"12nIZ"


def test_a_row_limit_suspends_the_portal_and_execute_goes_on(bureau: Bureau) -> None:
    talk = bureau.console()
    total = len(bureau.show("config"))
    replies = talk.ask(frontend.parse("SHOW CONFIG"), frontend.bind(), frontend.execute(limit=total - 3))
    assert replies.types == b"12" + b"D" * (total - 3) + b"s"
    replies = talk.ask(frontend.execute(limit=2))
    assert replies.types == b"DDs"
    replies = talk.ask(frontend.execute(limit=2), frontend.sync())
    assert replies.types == b"DCZ"
    assert talk.ask(frontend.execute(), frontend.sync()).sqlstate == "34000"  # Sync has ended it
    talk.ask(
        frontend.query("BEGIN"), frontend.parse("SHOW CONFIG"), frontend.bind(portal="p"), frontend.sync()
    )
    assert talk.ask(frontend.execute("p", limit=1), frontend.sync()).types == b"DsZ"


def test_binary_results_are_those_of_postgresql_s_types(bureau: Bureau) -> None:
    pool = bureau.world.pool(2)
    bureau.counters.add(0, pool, "transactions", 123_456_789)
    bureau.counters.add(0, pool, "queries", 10_000)
    talk = bureau.console()
    replies = talk.ask(
        frontend.parse("SHOW STATS"), frontend.bind(result_formats=[1]), frontend.execute(), frontend.sync()
    )
    row = replies.rows[0]
    assert row[0] == b"app"
    assert row[1] == struct.pack("!hhhh", 0, 0, 0, 0)  # zero has no digits
    assert row[2] == struct.pack("!hhhhhhh", 3, 2, 0, 0, 1, 2345, 6789)
    assert row[3] == struct.pack("!hhhhh", 1, 1, 0, 0, 1)  # nor has a number any at its end
    replies = talk.ask(
        frontend.parse("SHOW MEM"),
        frontend.bind(result_formats=[0, 1, 1, 1, 0]),
        frontend.describe_portal(),
        frontend.execute(),
        frontend.sync(),
    )
    assert [column["format"] for column in replies.of(b"T")[0]["columns"]] == [0, 1, 1, 1, 0]
    assert replies.rows[0] == [
        b"header",
        struct.pack("!i", 4096),
        *[struct.pack("!i", n) for n in (1, 0)],
        b"4096",
    ]


@pytest.mark.parametrize(
    ("asked", "sqlstate"),
    [
        (frontend.parse("SHOW NOTHING"), "42601"),
        (frontend.parse("SHOW STATE; SHOW STATE"), "42601"),
        (frontend.parse("SHOW 'x"), "42601"),
        (frontend.bind(statement="unknown"), "26000"),
        (frontend.describe_statement("unknown"), "26000"),
        (frontend.describe_portal("unknown"), "34000"),
        (frontend.execute("unknown"), "34000"),
        (frontend.parse("SHOW STATE", "twice") * 2, "42P05"),
        (frontend.parse("SHOW STATE") + frontend.bind([b"1"]), "08P01"),
        (frontend.parse("PUASE") + frontend.bind() + frontend.execute(), "42601"),
    ],
)
def test_an_error_skips_to_the_next_sync(bureau: Bureau, asked: bytes, sqlstate: str) -> None:
    talk = bureau.console()
    replies = talk.ask(asked, frontend.parse("SHOW VERSION"), frontend.bind(), frontend.execute())
    assert replies.sqlstate == sqlstate
    assert replies[-1].type == b"E"
    assert talk.ask(frontend.sync()).types == b"Z"
    assert talk.ask(frontend.extended("SHOW VERSION")).types == b"12TDCZ"


def test_close_forgets_and_flush_asks_nothing(bureau: Bureau) -> None:
    talk = bureau.console()
    talk.ask(frontend.parse("SHOW STATE", "s"), frontend.bind(statement="s", portal="p"))
    assert talk.ask(frontend.flush()).types == b""
    assert talk.ask(frontend.close_statement("s"), frontend.close_portal("p")).types == b"33"
    assert talk.ask(frontend.close_statement("never was")).types == b"3"
    assert talk.ask(frontend.bind(statement="s"), frontend.sync()).sqlstate == "26000"
    assert talk.ask(frontend.parse("SHOW STATE", "s")).types == b"1"


def test_bytes_may_come_one_by_one(bureau: Bureau) -> None:
    talk = bureau.console()
    whole = frontend.extended("SHOW STATE") + frontend.query("SHOW VERSION")
    types = b"".join(talk.ask(bytes([byte])).types for byte in whole)
    assert types == b"12TDDDCZTDCZ"


# --- what cannot go on


@pytest.mark.parametrize(
    "data",
    [
        b"!\0\0\0\4",
        frontend.copy_data(b"x"),
        frontend.function_call(1, []),
        b"Q\0\0\0\3",
        b"Q\x7f\0\0\0",
        frontend.message(b"Q", b"no end"),
        frontend.message(b"Q", b"one\0two\0"),
        frontend.message(b"P", b"\0SHOW STATE\0\0\1"),
        frontend.message(b"B", b"\0\0\0\0\0\1\0\0\0\5ab\0\0"),
        frontend.message(b"B", b"\0\0\0\0\0\0\0\1\0\7"),
        frontend.message(b"D", b"Xname\0"),
        frontend.message(b"E", b"\0\0\0"),
    ],
)
def test_what_is_no_message_ends_the_session(bureau: Bureau, data: bytes) -> None:
    talk = bureau.console()
    replies = talk.ask(data, frontend.query("SHOW VERSION"))
    assert replies.types == b"E"
    assert (replies.error["S"], replies.sqlstate) == ("FATAL", "08P01")
    assert talk.console.is_over


def test_terminate_ends_it_without_a_word(bureau: Bureau) -> None:
    talk = bureau.console()
    assert talk.ask(frontend.terminate(), frontend.query("SHOW VERSION")).types == b""
    assert talk.console.is_over


# --- what drivers say by habit


def test_transactions_are_opened_and_ended_and_do_nothing(bureau: Bureau) -> None:
    talk = bureau.console()
    replies = talk.ask(frontend.query("BEGIN"))
    assert (replies.tags, replies.status) == (["BEGIN"], "T")
    assert talk.ask(frontend.query("SHOW STATE")).status == "T"
    replies = talk.ask(frontend.extended("COMMIT"))
    assert (replies.types, replies.status) == (b"12nCZ", "I")
    assert talk.ask(frontend.query("START TRANSACTION READ ONLY")).tags == ["START TRANSACTION"]
    assert talk.ask(frontend.query("ROLLBACK")).status == "I"


@pytest.mark.parametrize(
    ("sql", "tags"),
    [
        ("SET extra_float_digits = 3", ["SET"]),
        ("SET SESSION application_name TO 'x'", ["SET"]),
        ("set client_encoding to 'UTF8'", ["SET"]),
        ("RESET ALL", ["RESET"]),
        ("DISCARD ALL", ["DISCARD ALL"]),
        (
            "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
            ["SHOW", "CLOSE CURSOR ALL", "UNLISTEN", "RESET"],
        ),
    ],
)
def test_settings_and_cleaning_up_are_no_errors(bureau: Bureau, sql: str, tags: list[str]) -> None:
    assert bureau.console(Right.STATS).ask(frontend.query(sql)).tags == tags
    assert bureau.log == []


def test_settings_of_postgresql_can_be_shown(bureau: Bureau) -> None:
    talk = bureau.console()
    assert talk.ask(frontend.query("SHOW standard_conforming_strings")).value == b"on"
    replies = talk.ask(frontend.extended("SHOW TimeZone"))
    assert (replies.types, replies.value) == (b"12TDCZ", b"GMT")


def test_each_of_its_names_has_the_version_that_is_looked_for_there() -> None:
    assert greeting_parameters("pgbouncer")["server_version"] == "1.25.2/bouncer"
    assert greeting_parameters("pgmux")["server_version"].endswith("/pgmux")
    assert greeting_parameters("pgmux")["client_encoding"] == "UTF8"
