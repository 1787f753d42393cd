"""What the view asks before it has anything done."""

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static

Command = tuple[str, ...]


class Question(ModalScreen[Command | None]):
    """A question with an answer for some keys; every other key means no."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "No", show=False)]

    def __init__(self, text: str, answers: Mapping[str, tuple[str, Command]]) -> None:
        """`answers`: by key, what it says and the command that it gives."""
        super().__init__()
        self._text = text
        self._answers = answers

    def compose(self) -> ComposeResult:
        """The question, and its answers a line each."""
        lines = [f"  {key}  {said}" for key, (said, _) in self._answers.items()]
        yield Static("\n".join([self._text, "", *lines, "  any other key: no"]), markup=False)

    def on_key(self, event: Key) -> None:
        """The answer."""
        event.stop()
        self.dismiss(self._answers[event.key][1] if event.key in self._answers else None)


def ask_to_kill(address: str, application: str, number: int) -> Question:
    """Whether a client is to be disconnected."""
    name = f' "{application}"' if application else ""
    text = f"Disconnect the client {address}{name}? Its transaction is rolled back."
    return Question(text, {"y": ("yes, disconnect it", ("kill-client", str(number)))})


def ask_to_pause(database: str | None) -> Question:
    """Whether all pools, or a database's, are to lend no more backends."""
    answers: dict[str, tuple[str, Command]] = {"a": ("all databases", ("pause",))}
    if database is not None:
        answers["d"] = (f"only {database}", ("pause", database))
    return Question("Pause? Clients wait from their next transaction on, until it is resumed.", answers)


def ask_to_resume(database: str | None) -> Question:
    """Whether backends are to be lent again."""
    answers: dict[str, tuple[str, Command]] = {"a": ("all databases", ("resume",))}
    if database is not None:
        answers["d"] = (f"only {database}", ("resume", database))
    return Question("Resume? Clients that wait are served at once.", answers)
