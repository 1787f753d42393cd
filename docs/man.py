"""Man pages: pgmux(1) from the command line's own help, pgmux.toml(5) from the table of options.

`python -m docs.man FOLDER` writes them. man(7) says what the macros mean.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pgmux import __version__
from pgmux.cli.main import ABOUT, build_parser
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.sample import as_toml
from pgmux.config.settings import Settings

TABLES: dict[str, type[msgspec.Struct]] = {
    "[pgmux]": Settings,
    "[databases.NAME]": Database,
    "[users.NAME]": User,
}
EXIT_STATUS = {
    "0": "all is well",
    "1": "it failed while running; doctor: something is alarming; import-pgbouncer: something is left to do",
    "2": "wrong usage, or a configuration that cannot be used",
}


def write_pages(folder: Path) -> list[Path]:
    """Write both pages, and give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"pgmux.1": render_command(), "pgmux.toml.5": render_configuration()}
    for name, lines in pages.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return [folder / name for name in pages]


def render_command() -> Iterator[str]:
    """pgmux(1)."""
    parser = build_parser()
    yield _title("PGMUX", 1)
    yield from (".SH NAME", f"pgmux \\- {escape(ABOUT[:1].lower() + ABOUT[1:].rstrip('.'))}")
    yield from (".SH SYNOPSIS", ".B pgmux", ".I COMMAND", "[options]")
    yield ".SH COMMANDS"
    for name, command in _commands(parser).items():
        yield from (f".SS {escape(command.format_usage().removeprefix('usage: ').strip())}",)
        if command.description:
            yield from _text(command.description)
        for action in command._actions:
            if action.help and action.dest != "help":
                yield from (".TP", f".B {escape(_spell(action) or name)}", escape(action.help))
    yield from (".SH EXIT STATUS",)
    for status, meaning in EXIT_STATUS.items():
        yield from (".TP", f".B {status}", escape(meaning))
    yield from (".SH FILES", ".TP", ".I /etc/pgmux/pgmux.toml", "the configuration; see pgmux.toml(5)")
    yield from (".SH ENVIRONMENT", ".TP", ".B PGMUX_CONFIG", "the configuration, where no -c is given")
    yield from (".TP", ".BI PGMUX_ KEY", "an option of [pgmux], as PGMUX_WORKERS", ".SH SEE ALSO")
    yield "pgmux.toml(5), psql(1), systemctl(1)"


def render_configuration() -> Iterator[str]:
    """pgmux.toml(5)."""
    yield _title("PGMUX.TOML", 5)
    yield from (".SH NAME", "pgmux.toml \\- configuration of pgmux", ".SH DESCRIPTION")
    yield escape("A file in TOML. Unknown keys are errors; pgmux check says what is wrong with it.")
    yield escape('Durations are seconds, or texts such as "250ms", "5s", "10m", "1h".')
    for header, table in TABLES.items():
        yield f".SH {escape(header)}"
        for row in rows_of(table).values():
            yield from (".TP", f".B {escape(row.name)}", escape(row.option.help))
            yield escape(_facts(row))
    yield from (".SH SEE ALSO", "pgmux(1)")


def _facts(row: Row) -> str:
    choices = f" One of {', '.join(row.choices())}." if row.choices() else ""
    default = "not set" if row.default is None else as_toml(row.show(row.default))
    restart = "" if row.option.reload else " Needs a restart."
    return f"Default: {default}.{choices}{restart}"


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(commands.choices)


def _spell(action: argparse.Action) -> str:
    shown = ", ".join(action.option_strings)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return f"{shown} {metavar}".strip()


def _text(text: str) -> Iterator[str]:
    """Prose as it stands, with its line breaks where a block is indented."""
    for paragraph in text.strip("\n").split("\n\n"):
        yield ".PP"
        if re.search(r"^\s", paragraph, re.MULTILINE):
            yield from (".nf", *map(escape, paragraph.split("\n")), ".fi")
        else:
            yield from map(escape, paragraph.split("\n"))


def escape(text: str) -> str:
    """A line of text that roff takes as it stands (groff(7))."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("↵", "")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def _title(name: str, section: int) -> str:
    return f'.TH {name} {section} "" "pgmux {__version__}"'


if __name__ == "__main__":
    for page in write_pages(Path(sys.argv[1])):
        print(page)
