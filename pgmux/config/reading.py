"""From a TOML text and the environment to a Config.

Every value is read through its row of the table of options. What cannot be read is noted and
stands at its default meanwhile, so that one reading finds all problems.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from pgmux.config.checks import check_config
from pgmux.config.configuration import ANY_DATABASE, CONSOLE_DATABASES, Config
from pgmux.config.findings import Findings, environment_name
from pgmux.config.key_lines import KeyPath, find_key_lines
from pgmux.config.nearest import did_you_mean, hint_for_key, hint_for_table
from pgmux.config.not_yet import refuse_what_is_not_yet
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from pgmux.errors import ConfigError, Problem

TABLES: dict[str, type[msgspec.Struct]] = {
    "[pgmux]": Settings,
    "[databases.NAME]": Database,
    "[users.NAME]": User,
}
NAME_BYTES = 63  # NAMEDATALEN less its final zero (manual: "Identifiers and Key Words")

Table = TypeVar("Table", bound=msgspec.Struct)


def read_config(
    text: str, environ: Mapping[str, str], *, path: str | None = None, name: str = "pgmux.toml"
) -> Config:
    """The Config that a TOML text and the variables PGMUX_<KEY> describe.

    `path` is the file the text was read from; `name` is what messages call it when there is
    none. Relative paths in the text are meant from the file's directory. Raises ConfigError
    with every problem there is.
    """
    text = text.replace("\r\n", "\n")
    file = path or name
    raw = _parse_toml(text, file)
    findings = Findings(file, find_key_lines(text))
    directory = os.path.dirname(os.path.abspath(path)) if path else os.getcwd()
    _refuse_unknown_tables(raw, findings)
    settings = _read_table(Settings, raw.get("pgmux", {}), ("pgmux",), directory, findings)
    settings = _override(settings, environ, findings)
    config = Config(
        pgmux=settings,
        databases=_read_named_tables(Database, raw, "databases", directory, findings),
        users=_read_named_tables(User, raw, "users", directory, findings),
        path=path,
    )
    _refuse_names(config, findings)
    _refuse_what_is_not_yet(config, findings)
    check_config(config, findings)
    findings.raise_problems()
    return Config(config.pgmux, config.databases, config.users, path, tuple(findings.warnings))


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), text, file)]) from None
    except RecursionError:
        raise ConfigError([Problem(file, None, "", "arrays or tables are nested too deeply")]) from None


def _syntax_problem(said: str, text: str, file: str) -> Problem:
    """What tomllib said, with the line taken out of its sentence."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", said)
    message = said if place is None else said[: place.start()]
    line = int(place[1]) if place is not None and place[1] else len(text.rstrip().split("\n"))
    hint = ""
    if message.startswith("Invalid value"):
        hint = 'text stands in quotes, as in pool_mode = "transaction"'
    elif message.startswith(("Cannot overwrite", "Cannot declare")):
        hint = "the same key or table is written twice"
    return Problem(file, line, "", f"not valid TOML: {message}", hint)


def _refuse_unknown_tables(raw: dict[str, Any], findings: Findings) -> None:
    known = ("pgmux", "databases", "users")
    for name in raw:
        if name not in known:
            findings.refuse((name,), "unknown key", hint_for_table(name, known, rows_of(Settings)))


def _read_named_tables(
    kind: type[Table], raw: dict[str, Any], name: str, directory: str, findings: Findings
) -> dict[str, Table]:
    """The tables [name.*]; one that is no table is refused and left out."""
    tables = raw.get(name, {})
    if not isinstance(tables, dict):
        findings.refuse((name,), "expected tables", f"write [{name}.NAME] and its keys below")
        return {}
    return {key: _read_table(kind, table, (name, key), directory, findings) for key, table in tables.items()}


def _read_table(kind: type[Table], raw: object, path: KeyPath, directory: str, findings: Findings) -> Table:
    if not isinstance(raw, dict):
        header = f"[{path[0]}.NAME]" if len(path) > 1 else f"[{path[0]}]"
        findings.refuse(path, "expected a table", f"write {header} and its keys below")
        return kind()
    rows = rows_of(kind)
    values = {}
    for key, value in raw.items():
        if key not in rows:
            elsewhere = {spelled: rows_of(table) for spelled, table in TABLES.items() if table is not kind}
            findings.refuse((*path, key), "unknown key", hint_for_key(key, rows, elsewhere))
            continue
        try:
            values[key] = _read_value(rows[key], value, directory)
        except ValueError as error:
            findings.refuse((*path, key), str(error), _hint_for_value(rows[key], value))
    return kind(**values)


def _read_value(row: Row, value: object, directory: str, *, from_text: bool = False) -> Any:
    read = row.read(value, from_text=from_text)
    if row.notation is not None and row.notation.is_path and read:
        return os.path.normpath(os.path.join(directory, read))
    return read


def _hint_for_value(row: Row, value: object) -> str:
    if not isinstance(value, str):
        return ""
    if value.isdigit() and row.type in (int, int | None):
        return f"without quotes: {row.name} = {value}"
    return did_you_mean(value, row.choices())


def _override(settings: Settings, environ: Mapping[str, str], findings: Findings) -> Settings:
    """The settings with those of the environment in place of the file's."""
    values = {}
    for key, row in rows_of(Settings).items():
        value = environ.get(environment_name(key))
        if value is None:
            continue
        findings.overridden.add(key)
        try:
            values[key] = _read_value(row, value, os.getcwd(), from_text=True)
        except ValueError as error:
            findings.refuse_variable(key, str(error), did_you_mean(value, row.choices()))
    _warn_of_misspelled_variables(environ, findings)
    return msgspec.structs.replace(settings, **values)


def _warn_of_misspelled_variables(environ: Mapping[str, str], findings: Findings) -> None:
    # Only near misses, and only a warning: Kubernetes sets variables of this form by itself for
    # a service called pgmux, as PGMUX_PORT and PGMUX_SERVICE_HOST.
    known = [environment_name(key) for key in rows_of(Settings)] + ["PGMUX_CONFIG"]
    for name in sorted(environ):
        if name.startswith("PGMUX_") and name not in known:
            hint = did_you_mean(name, known, likeness=0.85)
            if hint:
                findings.warn_variable(name, "no option is called so, it is ignored", hint)


def _refuse_names(config: Config, findings: Findings) -> None:
    for kind, names in (("databases", config.databases), ("users", config.users)):
        for name in names:
            if not name or "\0" in name:
                findings.refuse((kind, name), "no name in PostgreSQL is empty or holds a zero byte")
            elif len(name.encode()) > NAME_BYTES:
                findings.refuse((kind, name), f"names in PostgreSQL have at most {NAME_BYTES} bytes")
    for name in CONSOLE_DATABASES:
        if name in config.databases:
            findings.refuse(("databases", name), "this name is kept for pgmux's own console")
    if ANY_DATABASE in config.users:
        hint = "settings for all users stand in [pgmux] or [databases.NAME]"
        findings.refuse(("users", ANY_DATABASE), '"*" is not possible here', hint)


def _refuse_what_is_not_yet(config: Config, findings: Findings) -> None:
    refuse_what_is_not_yet(config.pgmux, ("pgmux",), findings)
    for name, database in config.databases.items():
        refuse_what_is_not_yet(database, ("databases", name), findings)
    for name, user in config.users.items():
        refuse_what_is_not_yet(user, ("users", name), findings)
