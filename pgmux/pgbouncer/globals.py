"""The section [pgbouncer] becomes the table [pgmux]."""

from pgmux.pgbouncer.draft import Draft, absolute
from pgmux.pgbouncer.in_force import DEFAULT_SOCKET_DIR, InForce
from pgmux.pgbouncer.ini import Line
from pgmux.pgbouncer.options import BY_PLACE, GLOBAL, OPTIONS, UNKNOWN, Fate, Row
from pgmux.pgbouncer.tables import NAMES

MOST_POOLS = 256  # pgmux's default of max_pools
IS_DEFAULT = "PgBouncer's default"
ABSTRACT = "a socket in the abstract namespace (@) is not supported"
ANYBODY = "pgmux's trust lets in any name, PgBouncer's only those in auth_file"
AUTH_TYPES = {  # PgBouncer's words that pgmux does not have, and why
    "any": "it lets anybody in under any name; set auth_type yourself",
    "ldap": "log-in by LDAP is not supported; set auth_type yourself",
    "pam": "log-in by PAM is not supported; set auth_type yourself",
}


def begin_table(draft: Draft, section: Line, ini: InForce) -> None:
    """The header, and what has to be written down because pgmux's default is another."""
    draft.add_header("pgmux")
    for row in OPTIONS:
        if row.default is not None and ini.line(GLOBAL, row.name) is None:
            value = row.read(row.default)
            draft.add_unwritten(row.name, value, IS_DEFAULT, section, guards=row.guards)
    if ini.line(GLOBAL, "listen_addr") is None and ini.line(GLOBAL, "listen_port") is None:
        draft.add_unwritten("listen", [], f"{IS_DEFAULT}: no TCP address", section)
    if ini.line(GLOBAL, "unix_socket_dir") is None:
        draft.add_unwritten("unix_socket_dir", DEFAULT_SOCKET_DIR, IS_DEFAULT, section)
        _note_socket(draft, DEFAULT_SOCKET_DIR)
    _add_budget(draft, section, ini)
    draft.add_blank()


def _add_budget(draft: Draft, section: Line, ini: InForce) -> None:
    budget = ini.budget()
    if not budget.pools:
        return
    why = "less than its pools could open together" if budget.is_cut else "what its pools could open together"
    draft.add_unwritten("max_backends", budget.backends, f"PgBouncer has no such limit: {why}", section)
    draft.notes.append(
        f"max_backends = {budget.backends}: PgBouncer has no limit for all backends together, this is {why}; "
        "keep it below PostgreSQL's max_connections"
    )
    if budget.pools > MOST_POOLS:
        pools = min(budget.pools, 65_534)
        draft.add_unwritten("max_pools", pools, "databases times users", section)


def translate_option(draft: Draft, line: Line, ini: InForce) -> None:
    """One line of [pgbouncer]."""
    row = BY_PLACE.get((GLOBAL, line.key))
    shown = f"{line.key} = {line.value}"
    if row is None:
        draft.leave_out(line, line.key, shown, Fate.NOT_CARRIED, UNKNOWN)
    elif row.becomes() in (Fate.NOT_NEEDED, Fate.NOT_CARRIED):
        draft.leave_out(line, row.name, shown, row.becomes(), row.why)
    elif why := _why_not(row, line.value):
        draft.leave_out(line, row.name, shown, Fate.NOT_CARRIED, why)
    elif row.fate is Fate.RENAMED:
        _RENAMED[row.name](draft, line, ini)
    else:
        draft.add_value(row.name, _value(row, line), line, row.name, guards=row.guards)
        if row.name == "unix_socket_dir" and line.value:
            _note_socket(draft, line.value)


def _note_socket(draft: Draft, directory: str) -> None:
    """systemd keeps its services out of most directories, and ours more than others."""
    draft.notes.append(
        f'unix_socket_dir = "{directory}": as a service pgmux can be reached by a socket in "/run/pgmux" at once, '
        "elsewhere with two lines in its unit (systemd/README.md)"
    )


def _why_not(row: Row, text: str) -> str:
    """Why this value cannot go on; "" when it can."""
    if row.name == "unix_socket_dir" and text.startswith("@"):
        return ABSTRACT
    if row.name == "auth_type" and text.lower() in AUTH_TYPES:
        return AUTH_TYPES[text.lower()]
    return row.why_not(text)


def _value(row: Row, line: Line) -> object:
    is_path = row.name.endswith("_file") or row.name == "unix_socket_dir"
    is_name = is_path and line.value[:1] not in ("", "<")  # the sample ini says "<system default>"
    return absolute(line.value, line) if is_name else row.read(line.value)


# --- options that pgmux has under another name


def _translate_auth_type(draft: Draft, line: Line, ini: InForce) -> None:
    value = {"plain": "password"}.get(line.value.lower(), line.value.lower())
    draft.add_value("auth_type", value, line, "auth_type", guards=True)
    if value == "trust":
        draft.notes.append(f"{line.file}:{line.number}: auth_type: {ANYBODY}")


def _translate_listen(draft: Draft, line: Line, ini: InForce) -> None:
    """Address and port are one option: it stands where the address stood."""
    if line.key == "listen_addr" or ini.line(GLOBAL, "listen_addr") is None:
        draft.add_value("listen", ini.listens(), line, line.key)


def _translate_database_limit(draft: Draft, line: Line, ini: InForce) -> None:
    draft.add_comment(f"{line.key} = {line.value} (renamed: {NAMES[line.key]} of each database)")


def _translate_verbosity(draft: Draft, line: Line, ini: InForce) -> None:
    if ini.number("verbose"):
        draft.add_value("log_level", "debug", line, line.key)
    else:
        draft.add_comment(f"{line.key} = {line.value} (renamed: log_level)")


_RENAMED = {
    "auth_type": _translate_auth_type,
    "listen_addr": _translate_listen,
    "listen_port": _translate_listen,
    "max_db_connections": _translate_database_limit,
    "max_db_client_connections": _translate_database_limit,
    "verbose": _translate_verbosity,
}
