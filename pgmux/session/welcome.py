"""The ParameterStatus messages that greet a client: a real backend's, with the client's own wishes in them.

A backend that pgmux opened reports its settings once; `Welcome` keeps the messages ready, and puts a client's
start-up settings in where PostgreSQL would report them: in PostgreSQL's spelling, and only where that
spelling is certain. Where it is not, the backend's value stands, until a backend that has the client's
setting reports it.

Manual: "Message Flow, Asynchronous Operations" (what is reported), "Client Connection Defaults" (spellings).
"""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final

from pgmux.protocol.messages import build_parameter_status

_TRUE: Final = frozenset({"on", "true", "yes", "1"})
_FALSE: Final = frozenset({"off", "false", "no", "0"})
_DATE_STYLES: Final = {"iso": "ISO", "sql": "SQL", "postgres": "Postgres", "german": "German"}
_DATE_ORDERS: Final = {"mdy": "MDY", "dmy": "DMY", "ymd": "YMD", "us": "MDY", "european": "DMY"}
_INTERVAL_STYLES: Final = frozenset({"postgres", "postgres_verbose", "sql_standard", "iso_8601"})
_ENCODINGS: Final = {  # letters and digits of a name, in lower case: PostgreSQL's spelling
    "".join(c for c in name if c.isalnum()).lower(): name
    for name in (
        *("BIG5", "EUC_CN", "EUC_JIS_2004", "EUC_JP", "EUC_KR", "EUC_TW", "GB18030", "GBK", "JOHAB", "UHC"),
        *("ISO_8859_5", "ISO_8859_6", "ISO_8859_7", "ISO_8859_8", "KOI8R", "KOI8U", "SHIFT_JIS_2004", "SJIS"),
        *("LATIN1", "LATIN2", "LATIN3", "LATIN4", "LATIN5", "LATIN6", "LATIN7", "LATIN8", "LATIN9"),
        *("SQL_ASCII", "UTF8", "WIN866", "WIN874", "WIN1250", "WIN1251", "WIN1252", "WIN1253", "WIN1254"),
        *("WIN1255", "WIN1256", "WIN1257", "WIN1258", "LATIN10"),
    )
} | {"unicode": "UTF8", "iso88591": "LATIN1", "iso885915": "LATIN9", "windows1252": "WIN1252"}

# A spelling takes the client's value and the backend's, gives what PostgreSQL would report (None: uncertain).
Spelling = Callable[[str, str], str | None]


def _spell_application_name(value: str, current: str) -> str | None:
    is_plain = value.isascii() and value.isprintable()  # others are spelt by version
    return value[:63] if is_plain else None


def _spell_client_encoding(value: str, current: str) -> str | None:
    return _ENCODINGS.get("".join(c for c in value if c.isalnum()).lower())


def _spell_date_style(value: str, current: str) -> str | None:
    style, _, current_order = current.partition(", ")
    order = ""
    for word in value.lower().split(","):
        word = word.strip()
        if word in _DATE_STYLES:
            style = _DATE_STYLES[word]
            current_order = "DMY" if style == "German" else current_order
        elif word in _DATE_ORDERS:
            order = _DATE_ORDERS[word]
        else:
            return None
    return f"{style}, {order or current_order}"


def _spell_time_zone(value: str, current: str) -> str | None:
    if value.lower() == current.lower():
        return current
    if value.lower() in ("utc", "gmt"):
        return value.upper()
    area, slash, place = value.partition("/")  # other short names may be abbreviations, spelt otherwise
    return value if slash and area[:1].isupper() and place[:1].isupper() and value.isascii() else None


def _spell_interval_style(value: str, current: str) -> str | None:
    return value.lower() if value.lower() in _INTERVAL_STYLES else None


def _spell_boolean(value: str, current: str) -> str | None:
    value = value.lower()
    return "on" if value in _TRUE else "off" if value in _FALSE else None


def _spell_as_given(value: str, current: str) -> str | None:
    return value if value.isascii() and value.isprintable() else None


SPELLINGS: Final[Mapping[str, Spelling]] = {  # reported parameters that a client may set, names in lower case
    "application_name": _spell_application_name,
    "client_encoding": _spell_client_encoding,
    "datestyle": _spell_date_style,
    "default_transaction_read_only": _spell_boolean,
    "intervalstyle": _spell_interval_style,
    "search_path": _spell_as_given,  # reported since PostgreSQL 18
    "standard_conforming_strings": _spell_boolean,
    "timezone": _spell_time_zone,
}


@lru_cache(maxsize=256)  # thousands of clients ask for the same few values
def _build_spelt(name: str, value: str, current: str) -> bytes | None:
    spelt = SPELLINGS[name.lower()](value, current)
    return None if spelt is None else build_parameter_status(name, spelt)


class Welcome:
    """The greeting of one pool; it never changes: when backends report something new, a new one is made."""

    __slots__ = ("_base", "_messages", "_parameters", "_reported", "_standard")

    def __init__(
        self,
        parameters: Mapping[str, str],
        own: Mapping[str, str],
        promised: Collection[str] = SPELLINGS.keys(),
    ) -> None:
        """`parameters`: as a backend reported them at log-in, in its order; `own`: those of pgmux itself.

        `promised`: the settings, in lower case, that a backend will have when it works for a client that
        asked for them. Of others the greeting must not say so.
        """
        self._base = dict(parameters)
        self._parameters = {**parameters, **own}
        if "application_name" in self._parameters:
            self._parameters["application_name"] = ""  # what a session has that does not name itself
        self._messages = {
            name: build_parameter_status(name, value) for name, value in self._parameters.items()
        }
        known = SPELLINGS.keys() & promised
        self._reported = {name.lower(): name for name in self._parameters if name.lower() in known}
        self._standard = b"".join(self._messages.values())

    def build(self, settings: Mapping[str, str]) -> bytes:
        """Give the messages for a client that asked for these settings, names in lower case."""
        wanted = settings.keys() & self._reported.keys()
        if not wanted:
            return self._standard
        messages = self._messages.copy()
        for setting in wanted:
            name = self._reported[setting]
            message = _build_spelt(name, settings[setting], self._parameters[name])
            if message is not None:
                messages[name] = message
        return b"".join(messages.values())

    def find_differing(self, settings: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
        """Those of a client's start-up settings that a backend does not have by itself, names in lower case;
        and the names of those which PostgreSQL will report in a spelling that the greeting could not know."""
        differing = {}
        unsure = set()
        for setting, value in settings.items():
            name = self._reported.get(setting)
            spelt = None if name is None else SPELLINGS[setting](value, self._base[name])
            if name is not None and spelt is None:
                unsure.add(setting)
            if spelt is None or spelt != self._base[name or ""]:
                differing[setting] = value
        return differing, frozenset(unsure)
