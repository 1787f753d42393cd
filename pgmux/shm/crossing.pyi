"""The crossing: what goes over from one segment into another, when a successor has another layout."""

from typing import Any

from pgmux.shm.pools import Pools

class Crossing:
    """One segment's side of it."""

    def __init__(self, pools: Pools) -> None: ...
    @property
    def regent(self) -> int: ...
    def leave(self) -> None:
        """From now on no backend is opened but in a slot that was ceded."""

    def history(self) -> tuple[int, int]:
        """(moment of the last change to what statements mean, moment of the last ALTER or DROP)."""

    def seize_empty(self, slot: int) -> bool:
        """Whether the slot was EMPTY and is the regent's now."""

    def cede(self, slot: int, pool: int) -> bool:
        """The other segment has given a slot back: any of our workers may open a backend of the pool there."""

    def take_ceded(self, slot: int) -> bool:
        """Whether the slot was ceded, and nobody has used it."""

    def shelve(self, slot: int) -> None:
        """Nobody here may use a slot of the regent's any more: its backend has gone over."""

    def seize_free(self, slot: int) -> bool:
        """Whether the slot was FREE, or granted to the regent, and is leased to it now."""

    def introduced(self, slot: int) -> int:
        """The generation that a slot had when its socket was introduced."""

    def describe(self, slot: int) -> dict[str, Any]:
        """Who a backend of the regent's is, and what sessions have left there: what `introduce` wants to know."""

    def keep_history(self, plans: int, definitions: int) -> None:
        """Statements are named, and relied upon, as of these moments, if they are later than what is known here."""

    def set_aside(self, slot: int, pool: int, private: int, expires_s: int) -> bool:
        """An EMPTY slot is in use in the other segment, by that pool. `expires_s`: as in Slot."""

    def introduce(self, slot: int, cargo: Any, digest: int, home: int | None = None) -> None:
        """Write down what `describe` has told of a backend that has come. `digest`: of its settings."""

    def open_to_all(self, slot: int, pool: int) -> None:
        """A backend that has come is the pool's: whoever waits longest has it, or the first who takes it."""

    def leave_to_bury(self, slot: int, undertaker: int) -> None:
        """A backend has come whose client was lost: that worker is to end it."""

    def vacate(self, slot: int) -> bool:
        """A slot that was set aside is EMPTY. Whether it was."""
