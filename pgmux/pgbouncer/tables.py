"""A line of [databases] or [users], whose value is a connect string, becomes a table of its own."""

from pgmux.pgbouncer.draft import ESSENTIAL, Draft
from pgmux.pgbouncer.in_force import InForce, number
from pgmux.pgbouncer.ini import Line, parse_connect_string
from pgmux.pgbouncer.options import BY_PLACE, DATABASE, GLOBAL, UNKNOWN, Fate, Row

NO_USER = "PgBouncer ignores a password without user=; pgmux would log all clients in with it"
NAMES = {  # pgmux's
    "max_db_connections": "max_backends",
    "max_db_client_connections": "max_client_conn",
    "max_user_client_connections": "max_client_conn",
    "reserve_pool": "reserve_pool_size",
}
OF_EACH_DATABASE = (
    "max_db_connections",
    "max_db_client_connections",
)  # may stand in [pgbouncer], for all of them


def translate_table(draft: Draft, line: Line, ini: InForce) -> None:
    """One database or user, with all that its connect string says."""
    try:
        pairs = parse_connect_string(line.value)
    except ValueError as error:
        draft.leave_out(line, line.key, f"{line.key} = …", Fate.NOT_CARRIED, str(error))
        return
    given = dict(pairs)
    for key in ESSENTIAL & given.keys():
        if why := BY_PLACE[DATABASE, key].why_not(given[key]):
            draft.leave_out(line, f"{line.key}: {key}", f"{line.key} = …", Fate.NOT_CARRIED, why)
            return
    draft.add_header(line.section, line.key, origin=line)
    if line.section == DATABASE:
        _add_inherited(draft, line, given, ini)
    for key, text in given.items():  # of a key that is given twice, the last
        _translate_pair(draft, line, key, text, given)


def _add_inherited(draft: Draft, line: Line, given: dict[str, str], ini: InForce) -> None:
    """What a database has from [pgbouncer], and pgmux only has in the database."""
    if "host" not in given and ini.socket_dir and not ini.socket_dir.startswith("@"):
        draft.add_value("host", ini.socket_dir, line, "host")
    for key in OF_EACH_DATABASE:
        limit = ini.line(GLOBAL, key)
        if key not in given and limit is not None:
            draft.add_value(NAMES[key], number(limit.value, 0), limit, key)


def _translate_pair(draft: Draft, line: Line, key: str, text: str, given: dict[str, str]) -> None:
    row = BY_PLACE.get((line.section, key))
    named = f"{line.key}: {key}"
    shown = f"{key} = …" if key == "password" else f"{key} = {text}"
    if row is None:
        draft.leave_out(line, named, shown, Fate.NOT_CARRIED, UNKNOWN)
    elif row.becomes() is Fate.NOT_CARRIED:
        draft.leave_out(line, named, shown, Fate.NOT_CARRIED, row.why)
    elif why := _why_not(row, text, given):
        draft.leave_out(line, named, shown, Fate.NOT_CARRIED, why)
    else:
        draft.add_value(NAMES.get(key, key), _value(row, text), line, named)


def _why_not(row: Row, text: str, given: dict[str, str]) -> str:
    """Why this value cannot go on; "" when it can."""
    return NO_USER if row.name == "password" and "user" not in given else row.why_not(text)


def _value(row: Row, text: str) -> object:
    value = row.read(text)
    return value[0] if isinstance(value, list) and len(value) == 1 else value
