"""What a SHOW is: a name, a sentence, columns, and how each is made.

Everything that needs to know what can be shown is made from these: the console's and the control socket's
answers, SHOW HELP, `pgmux ctl --help`, the manual, and the tests.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgmux.protocol.results import Type, Value

if TYPE_CHECKING:
    from pgmux.control.figures import Figures

TEXT: Final = Type.TEXT
INT: Final = Type.INT4
BIG: Final = Type.INT8
NUMERIC: Final = Type.NUMERIC

_LARGEST: Final = {INT: (1 << 31) - 1, BIG: (1 << 63) - 1}


class Column(NamedTuple):
    """A column, and how its value is made of what the row is about."""

    name: str
    kind: Type
    of: Callable[[Any], Value]
    help: str = ""  # for columns that PgBouncer does not have


class Show(NamedTuple):
    """A table that can be shown."""

    name: str  # in upper case
    help: str  # one sentence
    columns: tuple[Column, ...]
    things: Callable[["Figures"], Iterable[Any]]  # what there is a row for
    console: Callable[["Figures"], Mapping[str, Value]] | None = None  # a last row, for the console itself

    def rows(self, figures: "Figures") -> Iterator[tuple[Value, ...]]:
        """Its rows now. Made one by one, so that who reads them may do something else in between."""
        for thing in self.things(figures):
            yield tuple(_fit(column.of(thing), column.kind) for column in self.columns)
        if self.console is not None:
            told = self.console(figures)
            yield tuple(told.get(name, None if kind is TEXT else 0) for name, kind, *_ in self.columns)


def item(name: str, kind: Type, help: str = "") -> Column:
    """A column that the row's thing has as an attribute of the same name."""
    return Column(name, kind, lambda thing: getattr(thing, name), help)


def constant(name: str, kind: Type, value: Value) -> Column:
    """A column that PgBouncer has, and that is always the same here."""
    return Column(name, kind, lambda _: value)


def _fit(value: Value, kind: Type) -> Value:
    """A number that its type can hold: at its limit it stays, as a wrong sign would be worse."""
    if isinstance(value, int) and kind in _LARGEST:
        return min(value, _LARGEST[kind])
    return value
