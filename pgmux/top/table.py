"""One panel on the screen: a table that changes in place, keeps its cursor, and sorts by any column."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable

from pgmux.top.panels import Column, Panel, order

MOST_ROWS = 200  # more than anybody scrolls through; the title says how many there are
_ASCENDING, _DESCENDING = " ▲", " ▼"
_RIGHT = 1  # a blank more than the widest cell, between columns


class PanelTable(DataTable[Text]):
    """The lines of one panel. `show` gives it new ones, as often as one likes."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(id=panel.name, cursor_type="row", zebra_stripes=True, cell_padding=_RIGHT)
        self.panel = panel
        self.sorted_by = panel.sorted_by
        self.is_descending = panel.is_descending
        self.filter = ""
        self._lines: Sequence[Any] = ()
        self._keys: list[int] = []  # of the line in each row
        self._cells: list[list[str]] = []  # what stands in each row
        self._widest: dict[str, int] = {}  # of each column's cells so far: columns only grow

    def on_mount(self) -> None:
        """The heads, which never change but for the mark of the sorting."""
        self.border_title = self.panel.title
        self.show_cursor = self.has_focus
        for column in self.panel.columns:
            self.add_column(self._head(column), key=column.name)

    def on_focus(self) -> None:
        """Only the panel that keys are for shows a cursor."""
        self.show_cursor = True

    def on_blur(self) -> None:
        """See on_focus."""
        self.show_cursor = False

    def show(self, lines: Sequence[Any]) -> None:
        """Put these lines in place of the ones before, where the cursor stays on its line."""
        before = self.chosen
        self._lines = lines
        wanted = order(self.panel, lines, self.sorted_by, is_descending=self.is_descending, text=self.filter)
        shown = wanted[:MOST_ROWS]
        self._write([[each.cell(line) for each in self.panel.columns] for line in shown])
        self._keys = [line.key for line in shown]
        if before is not None and before.key in self._keys:
            self.move_cursor(row=self._keys.index(before.key), scroll=False)
        some = f"{len(shown)} of " if len(shown) < len(lines) else ""
        self.border_subtitle = f"{some}{len(lines)}"

    def sort_by(self, name: str) -> None:
        """Sort by a column: the largest number first, texts from A to Z; once more, the other way round."""
        if name == self.sorted_by:
            self.is_descending = not self.is_descending
        else:
            [column] = [column for column in self.panel.columns if column.name == name]
            self.sorted_by, self.is_descending = name, not column.is_text
        self._mark()
        self.show(self._lines)

    def sort_by_next(self) -> None:
        """Sort by the column to the right of the present one."""
        names = [column.name for column in self.panel.columns]
        self.sort_by(names[(names.index(self.sorted_by) + 1) % len(names)])

    @property
    def chosen(self) -> Any:
        """The line that the cursor is on, or None."""
        if not 0 <= self.cursor_row < len(self._keys):
            return None
        key = self._keys[self.cursor_row]
        return next((line for line in self._lines if line.key == key), None)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a head sorts by it."""
        event.stop()
        self.sort_by(str(event.column_key.value))

    # --- rows

    def _write(self, rows: list[list[str]]) -> None:
        """Make the rows say this. A row is a place and not a line: lines that change places every second
        cost only the cells that differ, and no new layout.
        """
        columns = self.panel.columns
        for place, (old, new) in enumerate(zip(self._cells, rows, strict=False)):
            for column, before, after in zip(columns, old, new, strict=True):
                if before != after:
                    widens = len(after) > self._widest.get(column.name, 0)
                    self._widest[column.name] = max(len(after), self._widest.get(column.name, 0))
                    self.update_cell(str(place), column.name, _cell(column, after), update_width=widens)
        for place in range(len(self._cells), len(rows)):
            texts = [_cell(column, text) for column, text in zip(columns, rows[place], strict=True)]
            self.add_row(*texts, key=str(place))
        for place in range(len(rows), len(self._cells)):
            self.remove_row(str(place))
        self._cells = rows

    def _mark(self) -> None:
        for column in self.panel.columns:
            self.columns[self._column_key(column)].label = self._head(column)
        self.refresh()

    def _column_key(self, column: Column) -> Any:
        return next(key for key in self.columns if key.value == column.name)

    def _head(self, column: Column) -> Text:
        mark = ""
        if column.name == self.sorted_by:
            mark = _DESCENDING if self.is_descending else _ASCENDING
        return Text(column.name + mark, justify="left" if column.is_text else "right")


def _cell(column: Column, text: str) -> Text:
    style = "bold red" if column.name in ("why", "waiting", "maxwait") and text not in ("", "0") else ""
    return Text(text, style=style, justify="left" if column.is_text else "right")
