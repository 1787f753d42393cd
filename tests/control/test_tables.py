"""What can be shown: PgBouncer's columns in its order, and what is in them."""

from __future__ import annotations

import json
import time

import pytest

from pgmux.config import read_config
from pgmux.control.answers import Columns, Done, Notice, Rows
from pgmux.control.clerk import ELSEWHERE, NO_DATABASE, SHOWS
from pgmux.control.commands import COMMANDS, Right
from pgmux.control.request import RequestError
from pgmux.protocol.results import Type
from pgmux.shm.leases import Private
from tests.control.bureau import Bureau

# As PgBouncer 1.25 has them. Ours may have more, after these.
STATS = (
    "server_assignment_count xact_count query_count received sent xact_time query_time wait_time "
    "client_parse_count server_parse_count bind_count client_login_count"
)
TOTALS = STATS.replace("received", "bytes_received").replace(" sent", " bytes_sent")
SOCKETS = (
    "type user database replication state addr port local_addr local_port connect_time request_time wait "
    "wait_us close_needed ptr link remote_pid tls application_name prepared_statements id"
)
PGBOUNCER = {
    "STATS": (
        "database "
        + " ".join(f"total_{name}" for name in STATS.split())
        + " "
        + " ".join(f"avg_{name}" for name in STATS.replace("received", "recv").split())
    ),
    "STATS_TOTALS": f"database {TOTALS}",
    "STATS_AVERAGES": "database "
    + TOTALS.replace("client_parse", "avg_client_parse")
    .replace("server_parse", "avg_server_parse")
    .replace("bind_", "avg_bind_")
    .replace("client_login", "avg_client_login"),
    "TOTALS": "name value",
    "POOLS": (
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active "
        "sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode "
        "load_balance_hosts"
    ),
    "DATABASES": (
        "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime "
        "pool_mode load_balance_hosts max_connections current_connections max_client_connections "
        "current_client_connections paused disabled"
    ),
    "USERS": (
        "name pool_size reserve_pool_size pool_mode max_user_connections current_connections "
        "max_user_client_connections current_client_connections"
    ),
    "CLIENTS": SOCKETS,
    "SERVERS": SOCKETS,
    "LISTS": "list items",
    "CONFIG": "key value default changeable",
    "STATE": "key value",
    "VERSION": "version",
    "MEM": "name size used free memtotal",
}
NO_MORE = {"LISTS", "CONFIG", "STATE", "VERSION", "MEM", "TOTALS"}  # which consumers read as a whole


@pytest.mark.parametrize("name", PGBOUNCER)
def test_columns_are_pgbouncer_s_in_its_order(name: str) -> None:
    ours = [column.name for column in SHOWS[name].columns]
    theirs = PGBOUNCER[name].split()
    assert ours[: len(theirs)] == theirs
    assert name not in NO_MORE or ours == theirs


@pytest.mark.parametrize("name", SHOWS)
def test_whatever_can_be_shown_is_shown_and_each_own_column_explained(name: str, bureau: Bureau) -> None:
    bureau.world.pool(2, "app", backends=1)
    columns, *rows, done = bureau.ask("show", name.lower().replace("_", "-"))
    assert isinstance(columns, Columns)
    assert [column.name for column in columns.columns] == [column.name for column in SHOWS[name].columns]
    assert done == Done("SHOW")
    assert name in ("CLIENTS", "PINS") or rows
    theirs = PGBOUNCER.get(name, "").split()
    own = [column for column in SHOWS[name].columns if column.name not in theirs]
    assert name == "HELP" or all(column.help.endswith(".") for column in own)


def test_totals_have_pgbouncer_s_names(bureau: Bureau) -> None:
    names = [row["name"] for row in bureau.show("totals")]
    plain = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
        "client_login_count",
    ]
    assert names == [*(f"total_{name}" for name in plain), *(f"avg_{name}" for name in plain)]


def test_lists_have_pgbouncer_s_rows(bureau: Bureau) -> None:
    bureau.world.pool(2, "app", backends=2)
    bureau.world.clients.try_claim(1)
    rows = {row["list"]: row["items"] for row in bureau.show("lists")}
    assert list(rows) == [
        "databases",
        "users",
        "peers",
        "pools",
        "peer_pools",
        "free_clients",
        "used_clients",
        "login_clients",
        "free_servers",
        "used_servers",
        "dns_names",
        "dns_zones",
        "dns_queries",
        "dns_pending",
    ]
    assert (rows["databases"], rows["pools"], rows["users"]) == (2, 1, 3)
    assert (rows["free_clients"], rows["used_clients"], rows["login_clients"]) == (19, 1, 1)
    assert (rows["free_servers"], rows["used_servers"]) == (6, 2)


def test_pools_tell_what_their_backends_do(bureau: Bureau) -> None:
    world = bureau.world
    pool = world.pools.register(b"app", b"alice", 4)
    for _ in range(3):
        world.open(pool, 1)
    world.pools.open(pool, 2)
    assert world.pools.try_release(0, 1)
    assert world.pools.shut(1, 1)
    (row, console) = bureau.show("pools")
    assert (row["database"], row["user"], row["pool_mode"]) == ("app", "alice", "transaction")
    assert (row["sv_idle"], row["sv_login"], row["sv_tested"], row["sv_closing"]) == (1, 1, 1, 1)
    assert (row["sv_active"], row["cl_active"], row["cl_waiting"], row["waiting_for"]) == (0, 0, 0, None)
    assert row["pool_size"] == 4
    assert (console["database"], console["cl_active"], console["pool_mode"]) == ("pgbouncer", 0, "statement")


def test_stats_add_up_pools_of_a_database_and_average_the_last_periods(bureau: Bureau) -> None:
    world = bureau.world
    pools = [world.pools.register(b"app", user, 1) for user in (b"alice", b"bob")]
    for worker, pool in enumerate(pools):
        bureau.counters.add(worker, pool, "transactions", 10)
        bureau.counters.add(worker, pool, "transaction_us", 5000)
        bureau.counters.add(worker, pool, "bytes_received", 1 << 70 >> 8)
    bureau.figures.periods.take()
    bureau.figures.periods.take()
    bureau.counters.add(3, pools[0], "transactions", 30)
    bureau.counters.add(3, pools[0], "transaction_us", 60)
    time.sleep(0.002)  # a period of no length has no averages
    (row, console) = bureau.show("stats")
    assert (row["total_xact_count"], row["total_xact_time"]) == (50, 10_060)
    assert row["total_received"] == 2 << 62
    assert row["avg_xact_time"] == 2
    assert 0 < row["avg_xact_count"] <= 30 * 1_000_000
    assert row["avg_recv"] == 0
    assert (console["database"], console["total_xact_count"]) == ("pgbouncer", 0)
    totals = {row["name"]: row["value"] for row in bureau.show("totals")}
    assert (totals["total_xact_count"], totals["avg_xact_time"]) == (50, 2)


def test_databases_tell_limits_and_what_the_operator_said(bureau: Bureau) -> None:
    bureau.world.pools.register(b"app", b"alice", 4)
    bureau.ask("disable", "app")
    bureau.ask("pause", "other")
    app, other, console = bureau.show("databases")
    assert (app["host"], app["port"], app["max_connections"]) == ("db.example,db2.example", 5433, 9)
    assert (app["pool_size"], app["paused"], app["disabled"]) == (7, 0, 1)
    assert (app["max_client_connections"], app["load_balance_hosts"]) == (90, "disable")
    assert (other["max_client_connections"], other["load_balance_hosts"]) == (0, None)
    assert (other["database"], other["force_user"], other["pool_size"]) == ("real", "forced", 3)
    assert (other["paused"], other["disabled"]) == (1, 0)
    assert console["name"] == "pgbouncer"
    assert app["reserve_pool"] == app["reserve_pool_size"] == 0


def test_users_are_those_of_the_configuration_of_auth_file_and_of_pools(bureau: Bureau) -> None:
    pool = bureau.world.pools.register(b"app", b"carol", 4)
    bureau.world.open(pool, 0)
    rows = {row["name"]: row for row in bureau.show("users")}
    assert list(rows) == ["alice", "bob", "carol"]
    assert (rows["alice"]["pool_size"], rows["bob"]["pool_size"]) == ("4", "")
    assert rows["carol"]["current_connections"] == 1
    assert [row["max_user_client_connections"] for row in rows.values()] == [40, 0, 0]


def test_config_tells_values_as_set_takes_them_and_what_needs_a_restart(bureau: Bureau) -> None:
    rows = {row["key"]: row for row in bureau.show("config")}
    assert (rows["default_pool_size"]["value"], rows["default_pool_size"]["default"]) == ("7", "20")
    assert rows["listen"]["value"] == "127.0.0.1:6432"
    assert rows["query_wait_timeout"]["value"] == "2m"
    assert (rows["workers"]["changeable"], rows["log_level"]["changeable"]) == ("no", "yes")
    assert (rows["log_connections"]["value"], rows["admin_users"]["value"]) == ("true", "")


def test_state_tells_of_a_pause(bureau: Bureau) -> None:
    assert {row["key"]: row["value"] for row in bureau.show("state")} == {
        "active": "yes",
        "paused": "no",
        "suspended": "no",
    }
    bureau.world.pools.pause()
    assert {row["key"]: row["value"] for row in bureau.show("state")}["paused"] == "yes"


def test_mem_tells_the_whole_segment(bureau: Bureau) -> None:
    rows = bureau.show("mem")
    assert all(row["memtotal"] == row["size"] * (row["used"] + row["free"]) for row in rows)
    assert 0.8 < sum(row["memtotal"] for row in rows) / bureau.world.segment.total_bytes <= 1.01


def test_leases_and_workers_tell_who_has_what(bureau: Bureau) -> None:
    world = bureau.world
    pool = world.pool(3, "app", backends=1)
    world.take(pool, 2)
    world.workers.enlist(2, 4711)
    world.workers.beat(2, 17, 5_000_000, 3)
    (lease,) = bureau.show("leases")
    assert (lease["slot"], lease["phase"], lease["owner"], lease["generation"]) == (0, "leased", 2, 1)
    assert (lease["backend_pid"], lease["client"]) == (1000, None)
    rows = bureau.show("workers")
    assert [row["state"] for row in rows] == ["vacant", "vacant", "running", "vacant"]
    assert (rows[2]["pid"], rows[2]["clients"], rows[2]["backends"]) == (4711, 17, 1)
    assert (rows[2]["cpu_ms"], rows[2]["configuration"]) == (5000, 3)
    world.workers.beat(2, 17, 5_000_000, 3, False)
    assert bureau.show("workers")[2]["state"] == "leaving"


def test_waits_tell_percentiles_and_the_histogram(bureau: Bureau) -> None:
    pool = bureau.world.pool(1)
    row = bureau.show("waits")[0]
    assert (row["waits"], row["p50_us"], row["histogram"], row["reason"]) == (0, 0, "", None)
    bureau.counters.add(0, pool, "waits", 4)
    for bucket, count in ((3, 90), (12, 9), (20, 1)):
        bureau.observe(pool, bucket, count)
    row = bureau.show("waits")[0]
    assert (row["p50_us"], row["p90_us"], row["p99_us"]) == (16, 16, 8192)
    assert row["histogram"] == "<16us:90 <8ms:9 <2s:1"


def test_servers_tell_which_are_for_replication(bureau: Bureau) -> None:
    pool = bureau.world.pools.register(b"app", b"alice", 4)
    for private in Private:
        assert bureau.world.pools.open(pool, 0, private=private) >= 0
    assert [row["replication"] for row in bureau.show("servers")] == ["none", "physical", "logical"]


def test_a_name_that_only_the_asterisk_stands_for_may_be_a_wrong_one(bureau: Bureau) -> None:
    bureau.config = read_config(
        '[pgmux]\nauth_type = "trust"\n[databases.app]\nhost = "/tmp"\n[databases."*"]\nhost = "/tmp"\n', {}
    )
    for word in ("disable", "pause", "reconnect", "kill"):
        assert bureau.ask(word, "app") == [Done(word.upper())]
        notice, done = bureau.ask(word, "spp")
        assert isinstance(notice, Notice)
        assert '"spp"' in notice.message
        assert done == Done(word.upper())


def test_large_numbers_do_not_become_wrong_signs(bureau: Bureau) -> None:
    pool = bureau.world.pool(1)
    bureau.counters.add(0, pool, "wait_us", (1 << 64) - 1)
    assert bureau.show("waits")[0]["wait_us"] == (1 << 63) - 1


def test_rows_come_in_slices_with_a_way_given_after_each(bureau: Bureau) -> None:
    replies = bureau.ask("show", "config")
    slices = [reply for reply in replies if isinstance(reply, Rows)]
    assert len(slices) > 1
    assert bureau.asker.ways_given == len(slices)


def test_names_that_are_no_utf8_can_be_shown(bureau: Bureau) -> None:
    bureau.world.pools.register(b"\xff\xfe", b"na\xefve", 1)
    row = bureau.show("pools")[0]
    assert (row["database"], row["user"]) == ("\ufffd\ufffd", "na\ufffdve")
    json.dumps(bureau.show("databases"))


@pytest.mark.parametrize("word", COMMANDS)
def test_a_stats_user_may_show_and_nothing_else(word: str, bureau: Bureau) -> None:
    bureau.asker.right = Right.STATS
    for name in SHOWS:
        bureau.ask("show", name)
    for arguments in ((), ("app",), ("17",), ("log_level", "debug")):
        with pytest.raises(RequestError, match=f"^{word} is for admin_users$") as caught:
            bureau.ask(word, *arguments)
        assert caught.value.sqlstate == "42501"
    assert bureau.levers.pulled == []
    assert bureau.log == []


def test_help_lists_every_command_and_table(bureau: Bureau) -> None:
    rows = bureau.show("help")
    told = {row["command"].split()[0] for row in rows}
    assert told == {"SHOW", *COMMANDS}
    assert {row["command"] for row in rows} >= {f"SHOW {name}" for name in SHOWS}
    assert all(row["help"].endswith(".") for row in rows)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("puase",), "no such command: PUASE", 'did you mean "PAUSE"?'),
        (("",), "no such command: ", "SHOW HELP lists all commands."),
        (("show",), "there are only the tables of SHOW, one at a time", NO_DATABASE),
        (("show", "peers"), "nothing can be shown that is called peers", ELSEWHERE["PEERS"]),
        (("suspend",), "no such command: SUSPEND", ELSEWHERE["SUSPEND"]),
        (("show", "polls"), "nothing can be shown that is called polls", 'did you mean "POOLS"?'),
        (("pause", "a", "b"), "PAUSE with 2 arguments", "Write PAUSE [DATABASE]"),
        (("disable",), "DISABLE with 0 arguments", "Write DISABLE DATABASE"),
        (("set", "log_level"), "SET with 1 arguments", "Write SET OPTION VALUE"),
    ],
)
def test_a_wrong_command_is_told_what_would_be_right(
    words: tuple[str, ...], message: str, hint: str, bureau: Bureau
) -> None:
    with pytest.raises(RequestError) as caught:
        bureau.ask(*words)
    assert (caught.value.sqlstate, str(caught.value), caught.value.hint) == ("42601", message, hint)


def test_types_are_those_that_drivers_make_numbers_of() -> None:
    kinds = {column.kind for column in SHOWS["STATS"].columns[1:]}
    assert kinds == {Type.NUMERIC}
    assert {column.kind for column in SHOWS["POOLS"].columns[2:15]} == {Type.INT4}
