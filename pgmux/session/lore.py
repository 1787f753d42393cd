"""Lore: which functions of a database leave something behind in the session that calls them.

A statement's text says `SELECT login('x')` and not that login() ends in set_config or pg_advisory_lock. The catalog
does: it is asked for the functions whose source may do so, and for those whose source names one of these. Their
names are then words like SET: a text that says one is looked at and its backend asked. Too many cost a question.

The names of settings that they set and that are one's own, with a dot in them, are told by the same question.

What has no source in the catalog (a library's function) or is not called by name (a trigger's) is left to the audit.
Manual: "pg_proc".
"""

from typing import Final

from pgmux.session.settings import quote_literal

MOST: Final = 1000  # functions

# In source in small letters. A set_config that is local leaves nothing; nor does SET LOCAL.
_LEAVES: Final = (
    r"set_config\s*\((?![^;]*,\s*(is_local\s*=>\s*)?true\s*\))"
    r"|pg_(try_)?advisory_lock"
    r"|\m(create|into)\s+((local|global)\s+)?temp(orary)?\M"
    r"|\mwith\s+hold\M"
    r"|(^|[;']|\m(begin|then|else|loop)\M)\s*(set|reset|listen|unlisten|discard|load)\s+"
    r"(?!local\M|constraints\M|transaction\M)[a-z_\"'*]"
)
# PostgreSQL lists no settings of one's own (a.b): whoever wants to know their values must know their names.
_OWN_SETTING: Final = r"""(?:set_config\s*\(\s*'|\mset\s+)([a-z_][\w$]*\.[\w$.]+)(?='|\s*=|\s+to\M)"""
QUESTION: Final = f"""\
(WITH RECURSIVE own AS (
    SELECT pg_catalog.lower(proname) AS name, pg_catalog.lower(prosrc) AS source
    FROM pg_catalog.pg_proc JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) pronamespace
    WHERE nspname OPERATOR(pg_catalog.<>) 'pg_catalog' AND nspname OPERATOR(pg_catalog.<>) 'information_schema'),
leaving AS (
    SELECT name FROM own WHERE source OPERATOR(pg_catalog.~) {quote_literal(_LEAVES)}
    UNION
    SELECT own.name FROM own JOIN leaving ON pg_catalog.strpos(source, leaving.name) OPERATOR(pg_catalog.>) 0)
(SELECT '+', name FROM leaving LIMIT {MOST})
UNION ALL
(SELECT DISTINCT '+', found[1] FROM own
    CROSS JOIN LATERAL pg_catalog.regexp_matches(source, {quote_literal(_OWN_SETTING)}, 'g') AS found LIMIT {MOST}))"""
