"""What an option is: the row that a field of a table of options carries in its annotation.

`Annotated[int, Option("Worker processes.", bounds=(0, 250))] = 0` declares everything about
an option in one place. `rows_of` reads a whole table; loading, the environment, the sample
file, the help and SHOW CONFIG are all made from its rows.
"""

import functools
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Option:
    """All that is to be said about one option besides its name, type and default."""

    help: str  # one sentence
    unit: str = ""
    bounds: tuple[int, int] | None = None  # both included
    reload: bool = True  # a reload applies it; otherwise a restart does
    heading: str = ""  # begins a new paragraph of the sample file
    example: object = None  # what the sample file shows in place of the default
    is_secret: bool = False  # never shown


@dataclass(frozen=True, slots=True)
class Notation:
    """How a value is written, where that is more than its type says."""

    read: Callable[[Any], object]  # raises ValueError with a message for the user
    show: Callable[[Any], object]  # its inverse: gives a value that TOML can hold
    name: str = ""  # of what is written, for the sample file
    is_path: bool = False  # a relative path is meant from the configuration file's directory


@dataclass(frozen=True, slots=True)
class Row:
    """One option, complete."""

    name: str
    type: Any
    default: Any
    option: Option
    notation: Notation | None

    def read(self, value: object, *, from_text: bool = False) -> Any:
        """The option's value for `value` as TOML gave it, or, `from_text`, as the environment did.

        Raises ValueError, with a message for the user.
        """
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a text cannot hold a zero byte")
        if self.notation is not None:
            return self.notation.read(value)
        if from_text and isinstance(value, str) and typing.get_origin(self.type) is tuple:
            value = [part.strip() for part in value.split(",") if part.strip()]
        try:
            read = msgspec.convert(value, self.type, strict=not from_text)
        except msgspec.ValidationError:
            got = "" if self.option.is_secret else f", got {_as_toml(value)}"
            raise ValueError(f"expected {self.expected()}{got}") from None
        self._check_bounds(read)
        return read

    def _check_bounds(self, value: object) -> None:
        if self.option.bounds is None or not isinstance(value, int):
            return
        least, most = self.option.bounds
        if not least <= value <= most:
            raise ValueError(f"must be between {least} and {most}, got {value}")

    def show(self, value: Any) -> object:
        """`value` as it would be written in the configuration."""
        return value if self.notation is None or value is None else self.notation.show(value)

    def choices(self) -> tuple[str, ...]:
        """The words this option accepts; () when it is not a choice among words."""
        for kind in self._kinds():
            if typing.get_origin(kind) is Literal:
                return typing.get_args(kind)
        return ()

    def expected(self) -> str:
        """What may be written, in words."""
        choices = self.choices()
        if choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in choices)
        words = {int: "a whole number", str: "a text in quotes", bool: "true or false"}
        return next((words[kind] for kind in self._kinds() if kind in words), 'a list such as ["a", "b"]')

    def _kinds(self) -> tuple[Any, ...]:
        is_union = isinstance(self.type, UnionType) or typing.get_origin(self.type) is typing.Union
        return typing.get_args(self.type) if is_union else (self.type,)


@functools.cache
def rows_of(table: type[msgspec.Struct]) -> dict[str, Row]:
    """The options of a table by name, in the order in which they are declared."""
    hints = typing.get_type_hints(table, include_extras=True)
    rows = {}
    for field in msgspec.structs.fields(table):
        kind, *said = typing.get_args(hints[field.name])
        [option] = (word for word in said if isinstance(word, Option))
        notation = next((word for word in said if isinstance(word, Notation)), None)
        rows[field.name] = Row(field.name, kind, field.default, option, notation)
    return rows


def _as_toml(value: object) -> str:
    """A value as it may stand in a message: in TOML's spelling where that is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {json.dumps(value, ensure_ascii=False)}"
    if isinstance(value, dict):
        return "a table"
    return repr(value)
