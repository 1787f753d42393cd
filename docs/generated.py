"""The tables of the manual, made from the tables of the code, so that the two cannot differ.

A page says `<!-- generated: options -->` where a table is to stand. mkdocs calls `on_page_markdown` for each
page; a Markdown reader elsewhere sees the page without its tables. mkdocs's documentation: "Hooks".
"""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from pgmux.config.findings import environment_name
from pgmux.config.option import Row, rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.sample import as_toml
from pgmux.config.settings import Settings
from pgmux.control.clerk import SHOWS
from pgmux.control.commands import COMMANDS
from pgmux.control.metrics import METRICS
from pgmux.doctor.alarms import CHECKS
from pgmux.pgbouncer.options import DATABASE, GLOBAL, OPTIONS, PEER, USER, Fate
from pgmux.session.refusals import Refusal
from pgmux.top.panels import PANELS

MARK = re.compile(r"<!-- generated: (\w+) -->")
SECTIONS = {GLOBAL: "[pgbouncer]", DATABASE: "[databases]", USER: "[users]", PEER: "[peers]"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with its tables in. Raises KeyError for a table that nobody makes."""
    return MARK.sub(lambda mark: "\n".join(TABLES[mark[1]]()), markdown)


def _options() -> Iterator[str]:
    tables: dict[str, type[msgspec.Struct]] = {
        "[pgmux]": Settings,
        "[databases.NAME]": Database,
        "[users.NAME]": User,
    }
    for header, table in tables.items():
        yield from ("", f"## {header}", "")
        for row in rows_of(table).values():
            if row.option.heading:
                yield from ("", f"### {row.option.heading}", "")
            yield from _option(row, with_variable=table is Settings)


def _option(row: Row, *, with_variable: bool) -> Iterator[str]:
    facts = []
    if row.choices():
        facts.append("one of " + ", ".join(f"`{choice}`" for choice in row.choices()))
    elif row.option.bounds:
        least, most = row.option.bounds
        facts.append(f"{least:,} to {most:,} {row.option.unit}".rstrip())
    elif row.notation is not None and row.notation.name:
        facts.append(row.notation.name)
    default = "not set" if row.default is None else f"`{as_toml(row.show(row.default))}`"
    facts.append(f"default: {default}")
    facts.append("a reload applies it" if row.option.reload else "needs a restart")
    if with_variable:
        facts.append(f"`{environment_name(row.name)}`")
    yield from (f"#### {row.name}", "", f"{row.option.help} *{'; '.join(facts)}.*", "")


def _pgbouncer() -> Iterator[str]:
    for section, title in SECTIONS.items():
        rows = sorted((row for row in OPTIONS if row.section == section), key=lambda row: row.name)
        lines = [(f"`{row.name}`", row.becomes().value, _what(row.becomes(), row.why)) for row in rows]
        yield from ("", f"### {title}", "")
        yield from _table(("option", "becomes", ""), lines)


def _what(fate: Fate, why: str) -> str:
    return "" if fate is Fate.CARRIED else why


def _errors() -> Iterator[str]:
    lines = []
    for refusal in Refusal:
        sqlstate, severity, message, hint = refusal.value
        lines.append((f"`{sqlstate}`", severity, f"`{message}`", hint))
    yield from _table(("SQLSTATE", "severity", "message", "what to do"), sorted(lines))


def _alarms() -> Iterator[str]:
    yield from _table(
        ("name in `--json`", ""), [(f"`{check.name}`", _first_line(check.look)) for check in CHECKS]
    )


def _first_line(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


def _panels() -> Iterator[str]:
    for panel in PANELS:
        yield from ("", f"### {panel.title}", "")
        yield from _table(("column", ""), [(f"`{column.name}`", column.help) for column in panel.columns])


def _commands() -> Iterator[str]:
    rows = [
        (f"`{command.word} {command.arguments}`".replace(" `", "`"), command.help)
        for command in COMMANDS.values()
    ]
    yield from _table(("command", ""), rows)


def _shows() -> Iterator[str]:
    yield from _table(("SHOW", ""), [(f"`{show.name}`", show.help) for show in SHOWS.values()])


def _columns() -> Iterator[str]:
    for show in SHOWS.values():
        rows = [(f"`{column.name}`", column.help) for column in show.columns if column.help]
        if rows:
            yield from ("", f"### SHOW {show.name}", "")
            yield from _table(("column", ""), rows)


def _metrics() -> Iterator[str]:
    rows = [
        (
            f"`{metric.series[0]}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in METRICS
    ]
    yield from _table(("series", "kind", "labels", ""), rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    for at, row in enumerate(cells):
        yield f"| {' | '.join(row)} |"
        if at == 0:
            yield "|" + "---|" * len(row)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "options": _options,
    "pgbouncer": _pgbouncer,
    "errors": _errors,
    "alarms": _alarms,
    "panels": _panels,
    "commands": _commands,
    "shows": _shows,
    "columns": _columns,
    "metrics": _metrics,
}
