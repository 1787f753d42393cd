"""Lore: what in a database leaves something behind in the session whose text names it.

A statement's text says `SELECT login('x')` and not that login() ends in set_config or pg_advisory_lock. The catalog
does: it is asked for the functions whose source may do so, and for those whose source names one of these. And a text
says `INSERT INTO t`, not that a trigger calls one: so the relations belong to it whose triggers, defaults, checks,
policies or rules do, those that lead to one of them (views, parents of a partition, what refers to it with CASCADE
and the like), and the functions that name one of all these. Their names are then words like SET: a text that says
one is looked at and its backend asked. Too many cost a question.

The names of settings that they set and that are one's own, with a dot in them, are told by the same question.

What has no source in the catalog (a library's function) is left to the audit.
Manual: "pg_proc", "pg_depend", "pg_inherits", "pg_constraint".
"""

from typing import Final

from pgmux.session.settings import quote_literal

MOST: Final = 1000  # names
WITHIN_MS: Final = 5000  # the answer must be there; of five thousand long functions it takes two seconds
# A question that is asked once a minute is not worth a compiler. PostgreSQL 10 has none.
UNCOMPILED: Final = (
    "SELECT NULL, NULL WHERE pg_catalog.current_setting('jit', true) IS NOT NULL"
    " AND pg_catalog.set_config('jit', 'off', true) IS NULL"
)

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

# Who names a relation reaches what depends on its triggers, defaults, checks, policies and rules: of what kind of
# object the dependency is recorded, and whose relation that is. A view is a rule, which depends on what it selects.
_REACHING: Final = {
    "pg_trigger": "tgrelid",
    "pg_attrdef": "adrelid",
    "pg_constraint": "CASE WHEN contype = 'c' THEN conrelid END",
    "pg_policy": "polrelid",
    "pg_rewrite": "ev_class",
}
_DEPENDING: Final = " UNION ALL ".join(
    f"SELECT refclassid, refobjid, {relation} AS relation FROM pg_catalog.{catalog} AS o"
    f" JOIN pg_catalog.pg_depend ON classid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND objid = o.oid"
    for catalog, relation in _REACHING.items()
)
_ONCE: Final = (
    "pg_catalog.clock_timestamp() IS NOT NULL"  # volatile: so PostgreSQL computes it once, not per row
)
_FUNCTIONS: Final = "'pg_catalog.pg_proc'::pg_catalog.regclass"
_RELATIONS: Final = "'pg_catalog.pg_class'::pg_catalog.regclass"


def _qualified(query: str) -> str:
    """A query with its operators named with their schema: the session's search_path may be anybody's."""
    for operator in (" = ", " <> ", " ~ ", " > "):
        query = query.replace(operator, f" OPERATOR(pg_catalog.{operator.strip()}) ")
    return query


_OWN: Final = """\
    SELECT p.oid, pg_catalog.lower(proname) AS name, pg_catalog.lower(prosrc) AS source
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = pronamespace
    WHERE nspname <> 'pg_catalog' AND nspname <> 'information_schema'"""
_FOUND: Final = f"pg_catalog.regexp_matches(source, {quote_literal(_OWN_SETTING)}, 'g') AS found"
# The settings of one's own that functions set, with their values.
OWN_VALUES: Final = (
    f"SELECT DISTINCT found[1], pg_catalog.current_setting(found[1], true) FROM ({_qualified(_OWN)}) AS own"
    f" CROSS JOIN LATERAL {_FOUND}"
)
QUESTION: Final = (
    _qualified(f"""\
(WITH RECURSIVE own AS ({_OWN}),
words AS (
    SELECT DISTINCT own.oid, name, word FROM own CROSS JOIN LATERAL @words@ AS word
    WHERE word = ANY (SELECT name FROM own UNION SELECT pg_catalog.lower(relname) FROM pg_catalog.pg_class)
        AND {_ONCE}),
depending AS (SELECT * FROM ({_DEPENDING}
    UNION ALL SELECT {_RELATIONS}, inhrelid, inhparent FROM pg_catalog.pg_inherits
    UNION ALL SELECT {_RELATIONS}, conrelid, confrelid FROM pg_catalog.pg_constraint
    WHERE contype = 'f' AND NOT (confdeltype = ANY ('{{a,r}}') AND confupdtype = ANY ('{{a,r}}'))) AS d WHERE {_ONCE}),
leaving(class, object, name) AS (
    SELECT {_FUNCTIONS}::pg_catalog.oid, oid, name FROM own WHERE source ~ @leaves@
    UNION
    SELECT more.* FROM leaving CROSS JOIN LATERAL (
        SELECT {_FUNCTIONS}::pg_catalog.oid, words.oid, words.name FROM words WHERE word = leaving.name
        UNION ALL
        SELECT {_RELATIONS}::pg_catalog.oid, c.oid, pg_catalog.lower(c.relname)
        FROM depending JOIN pg_catalog.pg_class AS c ON c.oid = relation
        WHERE refclassid = class AND refobjid = object) AS more)
(SELECT DISTINCT '+', name FROM leaving LIMIT {MOST})
UNION ALL
(SELECT DISTINCT '+', found[1] FROM own
    CROSS JOIN LATERAL @found@ LIMIT {MOST}))""")
    .replace("@leaves@", quote_literal(_LEAVES))
    .replace("@found@", _FOUND)
    .replace("@words@", r"pg_catalog.regexp_split_to_table(source, E'\\W+')")
)
