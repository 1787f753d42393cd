"""Each kind of state that a session keeps, as a program that two clients run by turns.

Both use the same names for different contents, made of their number. A program is a generator: where it
yields it is the other's turn, so that each of its transactions may find the session state of the other one,
or none. What the clients are told is compared with what PostgreSQL itself tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.hidden.client import Client
from tests.hidden.conversations import drop, prepare, run
from tests.wire.frontend import bind, execute, parse, sync

Program = Callable[[Client], Iterator[None]]

ROLE = "situation_role"
# What the programs find in the database, and leave as it is; made by its owner.
TABLES = """
DROP SCHEMA IF EXISTS situation_1, situation_2 CASCADE;
DROP TABLE IF EXISTS situation, situation_watched, situation_changing_1, situation_changing_2 CASCADE;
CREATE SCHEMA situation_1; CREATE TABLE situation_1.place AS SELECT 1 AS number;
CREATE SCHEMA situation_2; CREATE TABLE situation_2.place AS SELECT 2 AS number;
CREATE TABLE situation (id serial, n int);
CREATE TABLE situation_changing_1 AS SELECT 1 AS a; CREATE TABLE situation_changing_2 AS SELECT 2 AS a;
CREATE OR REPLACE FUNCTION situation_set(value text) RETURNS text LANGUAGE plpgsql
    AS $$BEGIN RETURN set_config('work_mem', value, false); END$$;
CREATE OR REPLACE FUNCTION situation_lock(key int) RETURNS boolean LANGUAGE plpgsql
    AS $$BEGIN RETURN pg_try_advisory_lock(key); END$$;
CREATE OR REPLACE FUNCTION situation_tenant(value text) RETURNS void LANGUAGE plpgsql
    AS $$BEGIN PERFORM set_config('Situation.tenant', value, false); END$$;
CREATE OR REPLACE FUNCTION situation_log_in(value text) RETURNS text LANGUAGE sql
    AS $$SELECT situation_set(value)$$;
CREATE OR REPLACE PROCEDURE situation_proceed(value text) LANGUAGE plpgsql
    AS $$BEGIN PERFORM situation_set(value); COMMIT; END$$;
CREATE OR REPLACE FUNCTION situation_trigger() RETURNS trigger LANGUAGE plpgsql
    AS $$BEGIN PERFORM situation_set(NEW.n || 'MB'); RETURN NEW; END$$;
CREATE TABLE situation_watched (n int);
CREATE TRIGGER watch BEFORE INSERT ON situation_watched FOR EACH ROW EXECUTE FUNCTION situation_trigger();
CREATE VIEW situation_view AS SELECT n FROM situation_watched;
"""
_MAKE = """CREATE OR REPLACE FUNCTION situation_new_{n}() RETURNS void LANGUAGE plpgsql
    AS $$BEGIN PERFORM set_config('work_mem', '{n}MB', false); END$$"""

_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
_UNNAMED = bind() + execute() + sync()


def lines(*texts: str | bytes) -> Program:
    """Each text, or messages up to a Sync, is a transaction; then it is the other's turn."""

    def program(client: Client) -> Iterator[None]:
        for text in texts:
            client.ask(text)
            yield

    return program


def named(client: Client) -> Iterator[None]:
    client.ask(prepare("s", f"SELECT {client.number} + $1::int"))
    for number in range(4):
        yield
        client.ask(run("s", b"%d" % number))


def many_named(client: Client) -> Iterator[None]:
    for number in range(300):
        client.ask(prepare(f"s{number}", f"SELECT {client.number} * {number}"))
    for number in range(0, 300, 20):
        yield
        client.ask(run(f"s{number}"))


def taken_and_unknown(client: Client) -> Iterator[None]:
    client.ask(prepare("s", f"SELECT {client.number}"))
    yield
    client.ask(prepare("s", "SELECT 0"))
    yield
    client.ask(run("never"), run("s"))


def failed_parse(client: Client) -> Iterator[None]:
    client.ask(prepare("s", "SELEKT"))
    yield
    client.ask(prepare("s", f"SELECT {client.number}"))
    yield
    client.ask(run("s"))


def unnamed(client: Client) -> Iterator[None]:
    client.ask(parse(f"SELECT {client.number}") + sync())
    for _ in range(3):
        yield
        client.ask(_UNNAMED)


def deallocated_by_sql(client: Client) -> Iterator[None]:
    for sign in ("", "-"):
        client.ask(prepare("s", f"SELECT {sign}{client.number}"))
        yield
        client.ask(run("s"))
        yield
        client.ask("DEALLOCATE s")
        yield
        client.ask(run("s"))


def another_discards(client: Client) -> Iterator[None]:
    client.ask(prepare("s", "SELECT 'mine'"), "SET work_mem TO '{n}MB'")
    for _ in range(4):
        yield
        client.ask("DISCARD ALL") if client.number == 2 else client.ask(run("s"), "SHOW work_mem")


def changed_plan(client: Client) -> Iterator[None]:
    """A driver drops what is out of date and prepares it again; the second try is what counts."""
    read = f"SELECT * FROM situation_changing_{client.number}"
    client.ask(prepare("s", read))
    for _ in range(6):  # so that all backends have it
        client.ask(run("s"))
        yield
    client.ask("ALTER TABLE situation_changing_{n} ADD b int DEFAULT {n}")
    before = len(client.told)
    if client.ask(run("s"))[0].startswith("ERROR"):
        client.ask(drop("s"))
        yield
        client.ask(prepare("s", read))
        del client.told[before:]
        yield
        client.ask(run("s"))
    yield
    client.ask("ALTER TABLE situation_changing_{n} DROP b")


def start_up(client: Client) -> Iterator[None]:
    client.log_in(options=f"-c work_mem={client.number}MB -c TimeZone=Etc/GMT+{client.number}")
    for _ in range(2):
        yield
        client.ask("SELECT current_setting('work_mem'), current_setting('TimeZone')")
    yield
    client.ask("SET work_mem TO '9MB'")
    yield
    client.ask("RESET ALL")
    yield
    client.ask("SHOW work_mem")


def statement_under_a_search_path(client: Client) -> Iterator[None]:
    client.ask("SET search_path TO situation_{n}")
    yield
    client.ask(prepare("s", "SELECT number FROM place"))
    for _ in range(3):
        yield
        client.ask(run("s"))


def listening(client: Client) -> Iterator[None]:
    client.ask("LISTEN situation_{n}")
    yield
    for number in range(2):
        client.notify(f"situation_{client.number}", f"{number}")
        client.hear()
        yield


def notifying_oneself(client: Client) -> Iterator[None]:
    client.ask("BEGIN", "LISTEN situation_{n}", "NOTIFY situation_{n}, 'in the same transaction'", "COMMIT")
    yield
    client.ask("BEGIN; LISTEN other_{n}; NOTIFY situation_{n}, 'first'; NOTIFY other_{n}, 'second'; COMMIT")
    yield
    client.notify(f"other_{client.number}", "by another")
    client.hear()


def reset_by_the_extended_protocol(client: Client) -> Iterator[None]:
    client.log_in(options=f"-c work_mem={client.number}MB")
    client.ask(prepare("s", "RESET work_mem"))
    for _ in range(3):
        yield
        client.ask("BEGIN", "SET work_mem TO '9MB'", run("s"), "SHOW work_mem", "COMMIT", "SHOW work_mem")
        yield
        client.ask("SET work_mem TO '9MB'")
        yield
        client.ask(parse("DISCARD ALL") + _UNNAMED, "SHOW work_mem", prepare("s", "SET work_mem TO DEFAULT"))


def listening_in_a_transaction(client: Client) -> Iterator[None]:
    client.ask("BEGIN; LISTEN rolled_{n}; ROLLBACK")
    client.ask("BEGIN; LISTEN situation_{n}; COMMIT")
    yield
    client.notify(f"rolled_{client.number}", "never heard")
    client.notify(f"situation_{client.number}", "heard")
    client.hear()


def exclusive(client: Client) -> Iterator[None]:
    if client.number == 2:
        yield
    client.ask("SELECT pg_try_advisory_lock(4711)")
    yield
    yield
    client.ask("SELECT pg_advisory_unlock(4711)" if client.number == 1 else "SELECT 1")


def left_behind(client: Client) -> Iterator[None]:
    if client.number == 1:
        client.ask(
            "SET work_mem TO '1MB'",
            "SET my.tenant TO 'secret'",
            "CREATE TEMP TABLE mine (n int)",
            "SELECT pg_advisory_lock(4712)",
            "LISTEN situation_1",
            "PREPARE p AS SELECT 1",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        )
        client.leave()
        return
    yield
    for _ in range(4):
        client.ask(
            "SELECT current_setting('work_mem'), coalesce(current_setting('my.tenant', true), '')",
            _LOCKS,
            "SELECT count(*) FROM pg_class WHERE relname = 'mine' AND pg_table_is_visible(oid)",
            "SELECT count(*) FROM pg_cursors",
            "EXECUTE p",
        )
        yield


def last_value(client: Client) -> Iterator[None]:
    client.ask(
        "SELECT lastval()"
    )  # whether or not it is told: that the pool's clients ask is known from now on
    client.told.clear()
    yield
    for _ in range(3):
        [made] = client.ask("INSERT INTO situation (n) VALUES ({n}) RETURNING id")
        client.told.pop()
        yield
        [last] = client.ask("SELECT lastval()")
        client.told[-1] = "its own" if last == made else last if last.startswith("ERROR") else "another's"
        yield


def last_value_in_its_transaction(client: Client) -> Iterator[None]:
    for _ in range(3):
        made, last = client.ask(
            "BEGIN", "INSERT INTO situation (n) VALUES ({n}) RETURNING id", "SELECT lastval()", "COMMIT"
        )
        client.told[-2:] = ["its own" if last == made else "another's"]
        yield


def no_last_value(client: Client) -> Iterator[None]:
    for _ in range(3):
        if client.number == 1:
            client.ask("INSERT INTO situation (n) VALUES ({n})")
        yield
        if client.number == 2:
            client.ask("SELECT lastval()")
        yield


SITUATIONS: dict[str, Program] = {
    "a prepared statement of the protocol": named,
    "three hundred of them": many_named,
    "a name that is taken, a name that is unknown": taken_and_unknown,
    "a name whose Parse failed": failed_parse,
    "the unnamed statement, after its Sync": unnamed,
    "PREPARE, EXECUTE, DEALLOCATE": lines(
        "PREPARE s AS SELECT {n}", "EXECUTE s", "EXECUTE s", "DEALLOCATE s", "EXECUTE s"
    ),
    "DEALLOCATE of a driver's statement (PDO, Rails)": deallocated_by_sql,
    "another client's DISCARD ALL": another_discards,
    "a statement prepared anew after its table changed": changed_plan,
    "SET and RESET": lines(
        "SET work_mem TO '{n}MB'", "SHOW work_mem", "SHOW work_mem", "RESET work_mem", "SHOW work_mem"
    ),
    "SET LOCAL, and a SET that is rolled back": lines(
        "BEGIN; SET LOCAL work_mem TO '{n}MB'; COMMIT",
        "SHOW work_mem",
        "BEGIN; SET work_mem TO '{n}MB'; ROLLBACK",
        "SHOW work_mem",
    ),
    "set_config(…, false)": lines(
        "SELECT set_config('work_mem', '{n}MB', false)", "SHOW work_mem", "RESET ALL", "SHOW work_mem"
    ),
    "a setting of one's own (`my.tenant`)": lines(
        "SET my.tenant TO '{n}'", "SHOW my.tenant", "SHOW my.tenant", "SET my.tenant TO ''", "SHOW my.tenant"
    ),
    "start-up options (`options=-c …`)": start_up,
    "RESET by the extended protocol": reset_by_the_extended_protocol,
    "SET ROLE": lines(f"SET ROLE {ROLE}", "SELECT current_user", "RESET ROLE", "SELECT current_user"),
    "SET SESSION CHARACTERISTICS": lines(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW transaction_read_only",
        "RESET ALL",
        "SHOW transaction_read_only",
    ),
    "a statement prepared under a search_path": statement_under_a_search_path,
    "LISTEN, heard while idle": listening,
    "LISTEN in transactions": listening_in_a_transaction,
    "LISTEN and NOTIFY in one transaction": notifying_oneself,
    "a temporary table": lines(
        "CREATE TEMP TABLE mine AS SELECT {n} AS n",
        "SELECT n FROM mine",
        "SELECT n FROM mine",
        "DROP TABLE mine",
        "SELECT n FROM mine",
    ),
    "a cursor WITH HOLD": lines(
        "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series({n}, 9)",
        "FETCH 2 FROM c",
        "FETCH 1 FROM c",
        "CLOSE c",
        "FETCH 1 FROM c",
    ),
    "a session's advisory lock": lines(
        "SELECT pg_advisory_lock({n})",
        _LOCKS,
        "SELECT pg_advisory_unlock({n})",
        "SELECT pg_advisory_unlock({n})",
    ),
    "an advisory lock that another client holds": exclusive,
    "what a client leaves behind": left_behind,
    "a setting that a function changes": lines(
        "SELECT situation_set('{n}MB')", "SHOW work_mem", "RESET work_mem", "SHOW work_mem"
    ),
    "a setting that a function's function changes": lines(
        "SELECT Situation_Log_In('{n}MB')", "SHOW work_mem", "SHOW work_mem"
    ),
    "a setting of one's own that a function sets": lines(
        "SELECT situation_tenant('{n}')", "SHOW situation.tenant", "SHOW situation.tenant"
    ),
    "a setting that a procedure changes": lines(
        "CALL situation_proceed('{n}MB')", "SHOW work_mem", "SHOW work_mem"
    ),
    "a setting that a trigger changes": lines(
        "INSERT INTO situation_watched VALUES ({n})", "SHOW work_mem", "SHOW work_mem"
    ),
    "a setting that a view's trigger changes": lines(
        "INSERT INTO situation_view VALUES ({n})", "SHOW work_mem", "RESET work_mem", "SHOW work_mem"
    ),
    "a setting that a new function changes": lines(
        _MAKE,
        "SELECT situation_new_{n}()",
        "SHOW work_mem",
        "SHOW work_mem",
        "RESET work_mem",
        "SHOW work_mem",
    ),
    "a setting that DO changes": lines(
        "DO $$BEGIN PERFORM situation_set('{n}MB'); END$$", "SHOW work_mem", "SHOW work_mem"
    ),
    "an advisory lock that a function takes": lines(
        "SELECT situation_lock({n})", _LOCKS, "SELECT pg_advisory_unlock({n})"
    ),
    "lastval() after an INSERT": last_value,
    "lastval() in the INSERT's transaction": last_value_in_its_transaction,
    "lastval() without an INSERT": no_last_value,
}
