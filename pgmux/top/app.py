"""The view itself: a headline, four panels, and the keys."""

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from pgmux.errors import PgmuxError
from pgmux.top.headline import describe
from pgmux.top.lines import ClientLine, PoolLine
from pgmux.top.observer import Observer
from pgmux.top.panels import PANELS
from pgmux.top.questions import Command, ask_to_kill, ask_to_pause, ask_to_resume
from pgmux.top.steering import Steering
from pgmux.top.table import PanelTable

SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 60.0
WIDE = 150  # columns of the terminal from which on panels stand side by side


class TopApp(App[None]):
    """`TopApp(Observer(segment), Steering(socket), 1.0).run()` is `pgmux top`."""

    TITLE = "pgmux top"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 -- textual declares it so
        (0, "-narrow"),
        (WIDE, "-wide"),
    ]
    CSS = """
    #headline { height: auto; padding: 0 1; background: $panel; }
    Grid { grid-size: 1 4; grid-rows: 2fr auto 3fr 2fr; }
    Screen.-wide Grid { grid-size: 2 3; grid-columns: 3fr 2fr; grid-rows: 1fr auto 2fr; }
    Screen.-wide #pools, Screen.-wide #workers { column-span: 2; }
    PanelTable { border: round $primary 50%; border-title-color: $text; height: 1fr; }
    #workers { height: auto; max-height: 11; }
    PanelTable:focus { border: round $accent; }
    #filter { display: none; height: 3; }
    #filter.-open { display: block; }
    ColumnHelp, Question { align: center middle; }
    ColumnHelp Static, Question Static { width: 90; height: auto; max-height: 90%; padding: 1 2; }
    ColumnHelp Static { border: round $accent; background: $panel; }
    Question Static { border: round $warning; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("s", "sort", "Sort by next column"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "unfilter", "No filter", show=False),
        Binding("z", "zoom", "Zoom"),
        Binding("space", "freeze", "Freeze"),
        Binding("plus,equals_sign", "faster", "Faster", show=False),
        Binding("minus", "slower", "Slower", show=False),
        Binding("k", "kill", "Kill client"),
        Binding("p", "pause", "Pause"),
        Binding("c", "resume", "Resume"),
        Binding("question_mark", "columns", "Columns"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, observer: Observer, steering: Steering, seconds: float) -> None:
        """`seconds`: between two looks."""
        super().__init__()
        self._observer = observer
        self._steering = steering
        self._seconds = seconds
        self._is_frozen = False

    def compose(self) -> ComposeResult:
        """Headline, panels, the line for a filter, the keys."""
        yield Static(id="headline")
        with Grid():
            for panel in PANELS:
                yield PanelTable(panel)
        yield Input(
            placeholder="show only lines that hold this text; Enter keeps it, Esc ends it", id="filter"
        )
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, and then again and again."""
        self.query_one("#pools").focus()
        self.look()
        self._timer = self.set_interval(self._seconds, self.look)

    def look(self) -> None:
        """Show what there is now."""
        if self._is_frozen:
            return
        headline = self.query_one("#headline", Static)
        try:
            observation = self._observer.look()
        except PgmuxError as error:
            headline.update(f"[b]pgmux top[/b]  {error}; looking again every {self._seconds:g}s")
            for table in self.query(PanelTable):
                table.show(())
            return
        first, *others = describe(observation.overview)
        headline.update("\n".join([f"[b]pgmux top[/b]  {first}", *(f"           {line}" for line in others)]))
        for table in self.query(PanelTable):
            table.show(table.panel.lines(observation))

    @property
    def _panel(self) -> PanelTable:
        """The panel that has the focus; the first, when none has."""
        focused = self.focused
        return focused if isinstance(focused, PanelTable) else self.query(PanelTable).first()

    # --- keys

    def action_sort(self) -> None:
        """Sort the panel by its next column."""
        self._panel.sort_by_next()

    def action_reverse(self) -> None:
        """Sort the panel the other way round."""
        self._panel.sort_by(self._panel.sorted_by)

    def action_zoom(self) -> None:
        """Give the panel the whole screen, or take it back."""
        if self.screen.maximized is None:
            self.screen.maximize(self._panel, container=False)
        else:
            self.screen.minimize()

    def action_freeze(self) -> None:
        """Stop looking, or begin again."""
        self._is_frozen = not self._is_frozen
        self.notify("frozen: space goes on" if self._is_frozen else "going on", timeout=3)

    def action_faster(self) -> None:
        """Look twice as often."""
        self._pace(self._seconds / 2)

    def action_slower(self) -> None:
        """Look half as often."""
        self._pace(self._seconds * 2)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that need the control socket are not there without it."""
        return self._steering.is_possible if action in ("kill", "pause", "resume") else True

    def action_kill(self) -> None:
        """Ask whether the chosen client is to be disconnected."""
        line = self._panel.chosen
        if isinstance(line, ClientLine) and line.number is not None:
            self.push_screen(ask_to_kill(line.address, line.application, line.number), self._carry_out)
        else:
            self.notify("choose a client first: Tab goes to their panel", severity="warning", timeout=3)

    def action_pause(self) -> None:
        """Ask what is to be paused."""
        self.push_screen(ask_to_pause(self._chosen_database), self._carry_out)

    def action_resume(self) -> None:
        """Ask what is to be resumed."""
        self.push_screen(ask_to_resume(self._chosen_database), self._carry_out)

    @property
    def _chosen_database(self) -> str | None:
        line = self._panel.chosen
        return line.database if isinstance(line, PoolLine) else None

    def _carry_out(self, command: Command | None) -> None:
        """Give a command that the user has agreed to; the view goes on while pgmux carries it out."""
        if command is not None:
            self.run_worker(lambda: self._give(command), thread=True, exit_on_error=False)

    def _give(self, command: Command) -> None:
        """In a thread of its own: nothing here touches the screen but by call_from_thread."""

        def tell(text: str, severity: SeverityLevel = "information") -> None:
            self.call_from_thread(self.notify, text, severity=severity, timeout=5, markup=False)

        try:
            tell(f"{self._steering.give(command, tell)}: done")
        except PgmuxError as error:
            tell(str(error), "error")

    def _pace(self, seconds: float) -> None:
        self._seconds = min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
        self._timer.stop()
        self._timer = self.set_interval(self._seconds, self.look)
        self.notify(f"a look every {self._seconds:g}s", timeout=3)

    def action_columns(self) -> None:
        """Say what the panel's columns mean."""
        self.push_screen(ColumnHelp(self._panel))

    def action_filter(self) -> None:
        """Ask for a text that the panel's lines must hold."""
        box = self.query_one("#filter", Input)
        self._filtered = self._panel
        box.value = self._filtered.filter
        box.add_class("-open")
        box.focus()

    def action_unfilter(self) -> None:
        """End the filter, and close its line."""
        box = self.query_one("#filter", Input)
        if box.has_class("-open"):
            box.value = ""
            self._close_filter()
        else:
            self._panel.filter = ""
            self.look()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._filtered.filter = event.value
        self.look()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Keep the filter."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter").remove_class("-open")
        self._filtered.focus()


class ColumnHelp(ModalScreen[None]):
    """What the columns of one panel mean."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "Close")]

    def __init__(self, table: PanelTable) -> None:
        super().__init__()
        self._panel = table.panel

    def compose(self) -> ComposeResult:
        """One line a column."""
        lines = [f"[b]{column.name:<13}[/b] {column.help}" for column in self._panel.columns]
        keys = "Click a head, or press s and r, to sort. Tab: next panel. + and -: look more or less often."
        yield Static("\n".join([f"[b]{self._panel.title}[/b]", "", *lines, "", keys]))
