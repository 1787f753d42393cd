"""A pgbouncer.ini becomes a pgmux.toml, line by line, comments and all."""

from pgmux.pgbouncer.draft import Draft, Entry, as_comment
from pgmux.pgbouncer.globals import begin_table, translate_option
from pgmux.pgbouncer.in_force import InForce
from pgmux.pgbouncer.ini import Kind, Line, parse_connect_string, take_setting
from pgmux.pgbouncer.options import BY_PLACE, DATABASE, GLOBAL, PEER, USER, Fate
from pgmux.pgbouncer.tables import translate_table

WORKED_OUT = (  # prose, when commented out
    "listen_addr",
    "listen_port",
    "max_db_connections",
    "max_db_client_connections",
    "verbose",
)


def translate(lines: list[Line], users: int) -> Draft:
    """A draft of the whole file, which pgmux has not judged yet; `users`: that its auth_file names, or 1."""
    draft, ini = Draft(), InForce(lines, users)
    sections = list(dict.fromkeys(line.section for line in lines))  # TOML wants each in one piece
    for section in sections if GLOBAL in sections else [*sections, GLOBAL]:
        of_section = [line for line in lines if line.section == section]
        if section == GLOBAL:
            section_line = of_section[0] if of_section else lines[-1]._replace(kind=Kind.SECTION, key="")
            begin_table(draft, section_line, ini)
        for line in of_section:
            _translate_line(draft, line, ini)
    if PEER in sections:
        draft.notes.append(
            "[peers]: each of those PgBouncers had its own pools; pgmux's sizes count for all its workers"
        )
    return draft


def _translate_line(draft: Draft, line: Line, ini: InForce) -> None:
    if line.kind is Kind.BLANK:
        draft.add_blank()
    elif line.kind is Kind.COMMENT:
        _translate_comment(draft, line, ini)
    elif line.kind is Kind.SETTING:
        in_force = ini.line(line.section, line.key)
        if line is in_force:
            _translate_setting(draft, line, ini)
        else:
            why = f"line {in_force.number} gives it again" if in_force else "a later [pgbouncer] begins anew"
            draft.leave_out(line, line.key, f"{line.key} = …", Fate.NOT_NEEDED, why)


def _translate_setting(draft: Draft, line: Line, ini: InForce) -> None:
    if not line.key.isprintable():  # of bytes that are no UTF-8
        draft.leave_out(
            line, as_comment(line.key)[2:], "…", Fate.NOT_CARRIED, "TOML is UTF-8, and this is not"
        )
    elif line.section == GLOBAL:
        translate_option(draft, line, ini)
    elif line.section in (DATABASE, USER):
        translate_table(draft, line, ini)
    elif line.section == PEER:
        why = BY_PLACE[PEER, "host"].why
        draft.leave_out(line, f"peer {line.key}", f"{line.key} = {line.value}", Fate.NOT_NEEDED, why)
    else:
        shown = f"[{line.section}] {line.key} = {line.value}"
        draft.leave_out(line, line.key, shown, Fate.NOT_CARRIED, f"unknown section [{line.section}]")


def _translate_comment(draft: Draft, line: Line, ini: InForce) -> None:
    """An option that is commented out stays so, in pgmux's words; prose stays prose."""
    if line.section in (DATABASE, USER):
        draft.add_space()
    hidden = _uncomment(line)
    if hidden is None:
        draft.add_comment(line.value.lstrip(";#"), is_prose=True)
        return
    made = Draft()
    _translate_setting(made, hidden, ini)
    for entry in made.entries:
        text = entry.text if entry.text.startswith("#") else f"#{entry.text}"
        draft.entries.append(Entry(text if entry.text else ""))


def _uncomment(line: Line) -> Line | None:
    """The setting that a comment hides behind a single sign, or None when it is prose."""
    text = line.value[1:]
    if text.startswith((";", "#")):
        return None
    setting = take_setting(text.strip())
    if setting is None:
        return None
    key, value = setting
    hidden = line._replace(kind=Kind.SETTING, key=key, value=value)
    if line.section == GLOBAL:
        return hidden if (GLOBAL, key) in BY_PLACE and key not in WORKED_OUT else None
    if line.section in (DATABASE, USER):
        return hidden if _is_connect_string(line.section, value) else None
    return None


def _is_connect_string(section: str, text: str) -> bool:
    try:
        pairs = parse_connect_string(text)
    except ValueError:
        return False
    return all((section, key) in BY_PLACE for key, _ in pairs)
