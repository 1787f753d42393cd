"""Which line of a TOML text each key stands on.

`tomllib` gives values without their places, and an error message without a line is half a
message. The text given here is one that tomllib has accepted, so this walker need not judge
it: it steps over values and notes where keys and table headers are (TOML 1.0, "Keys",
"Table", "Inline Table").
"""

import bisect
import re
import tomllib

KeyPath = tuple[str, ...]

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'  # up to two quotes may stand right before the closing three
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


def find_key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, on which each key and each table of a valid TOML text first appears."""
    return _Walker(text).walk()


class _Walker:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.line_ends = [match.start() for match in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {}

    def walk(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip(_BLANK_LINES):
            if self.text[self.position] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)
        return self.lines

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Step over what matches; whether any text is left."""
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
        return self.position < len(self.text)

    def _skip_character(self, character: str) -> bool:
        """Step over this character if it comes next; whether it did."""
        is_next = self.text.startswith(character, self.position)
        self.position += is_next
        return is_next

    def _read_header(self) -> KeyPath:
        while self._skip_character("["):
            pass
        table = self._read_key(())
        while self._skip_character("]"):
            pass
        return table

    def _read_pair(self, table: KeyPath) -> None:
        key = self._read_key(table)
        self._skip_character("=")
        self._skip(_BLANK)
        self._skip_value(key)

    def _read_key(self, table: KeyPath) -> KeyPath:
        """Read a possibly dotted key inside `table`, note the line of each of its parts, give its path."""
        path = table
        while True:
            self._skip(_BLANK)
            part = _KEY_PART.match(self.text, self.position)
            if part is None:
                raise ValueError(f"no key at character {self.position}: the text is not valid TOML")
            path = (*path, _plain(part.group()))
            self.lines.setdefault(path, bisect.bisect_left(self.line_ends, self.position) + 1)
            self.position = part.end()
            self._skip(_BLANK)
            if not self._skip_character("."):
                return path

    def _skip_value(self, path: KeyPath) -> None:
        if string := _STRING.match(self.text, self.position):
            self.position = string.end()
        elif self._skip_character("["):
            self._skip_items("]", path)
        elif self._skip_character("{"):
            self._skip_items("}", path)
        else:
            self._skip(_SCALAR)

    def _skip_items(self, end: str, path: KeyPath) -> None:
        """Step over the rest of an array or inline table; keys of inline tables are noted."""
        while self._skip(_BLANK_LINES) and not self._skip_character(end):
            if self._skip_character(","):
                continue
            if end == "}":
                self._read_pair(path)
            else:
                self._skip_value(path)


def _plain(part: str) -> str:
    """A part of a key without its quotes and escapes."""
    return str(tomllib.loads(f"key = {part}")["key"]) if part[0] in "\"'" else part
