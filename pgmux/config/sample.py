"""The sample configuration: every option with its sentence and its default, made from the table.

etc/pgmux.toml is this text, and so is what `pgmux check --options` prints; a test holds them
together.
"""

import json
from collections.abc import Iterator

import msgspec

from pgmux.config.not_yet import is_missing, is_not_yet
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings

PREAMBLE = """\
# The configuration of pgmux, in TOML. Every option stands here with its default, commented out.
#
# To begin with, say where PostgreSQL is and how clients log in; the rest has sensible defaults:
#
#     [pgmux]
#     listen = ["127.0.0.1:6432"]
#     auth_file = "/etc/pgmux/userlist.txt"
#
#     [databases.app]
#     host = "127.0.0.1"
#
# `pgmux check -c FILE` says what is wrong with a configuration, with line and nearest known name.
# Durations are numbers in seconds or texts such as "250ms", "5s", "10m", "1h", "2d".
# Relative paths are meant from this file's directory.
# Each option of [pgmux] can also come from the environment, as PGMUX_MAX_BACKENDS=100;
# items of a list are then separated by commas.
# In brackets: what may be written; "restart" where a reload (SIGHUP) does not apply a change;
# "not yet" where this version of pgmux refuses it.
"""
DATABASES = """\
# Databases that clients may ask for. [databases.app] serves the name "app", [databases."*"] any
# name that has no table of its own.
"""
USERS = """\
# Settings for the pools of one PostgreSQL user. They go before the database's, and those before
# the ones of [pgmux].
"""


def render_sample() -> str:
    """The whole sample file."""
    paragraphs = (
        *(PREAMBLE, "[pgmux]\n", _render_options(Settings)),
        *(DATABASES, "#[databases.app]\n", _render_options(Database)),
        *(USERS, "#[users.alice]\n", _render_options(User)),
    )
    return "\n".join(paragraphs)


def _render_options(table: type[msgspec.Struct]) -> str:
    return "\n".join(map(_render_option, rows_of(table).values()))


def _render_option(row: Row) -> str:
    heading = f"## {row.option.heading}\n\n" if row.option.heading else ""
    words = "; ".join(_describe(row))
    remark = f" [{words}]" if words else ""
    value = row.show(row.default) if row.option.example is None else row.option.example
    return f"{heading}# {row.option.help}{remark}\n#{row.name} = {as_toml(value)}\n"


def _describe(row: Row) -> Iterator[str]:
    """What may be written, and what else is to be known, in a few words."""
    choices = row.choices()
    if row.option.bounds is not None:
        least, most = row.option.bounds
        yield f"{least} to {most} {row.option.unit}".rstrip()
    elif row.notation is not None and row.notation.name:
        yield row.notation.name
    elif choices:
        yield " | ".join(choice for choice in choices if not is_not_yet(row.name, choice))
    missing = [choice for choice in choices if is_not_yet(row.name, choice)]
    if missing:
        yield "not yet: " + ", ".join(missing)
    elif is_missing(row.name):
        yield "not yet"
    if not row.option.reload:
        yield "restart"


def as_toml(value: object) -> str:
    """A value that an option shows, as TOML text."""
    if value is None:
        return '""'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    # JSON's spelling of texts, numbers and truth is also TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
