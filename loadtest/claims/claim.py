"""What a claim is: a sentence, how it is measured, its table and its plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from loadtest.machine import Circumstances
from pgmux.errors import PgmuxError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from loadtest.claims.stage import Stage

_HERE = Path(__file__).parent
RESULTS = _HERE.parent / "results" / "claims"
PLOTS = _HERE.parent.parent / "docs" / "claims"

Row = dict[str, Any]  # one measurement: numbers and names
Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # its header, its lines


class Recorded(msgspec.Struct, frozen=True):
    """What a claim's file holds."""

    circumstances: Circumstances
    rows: list[Row]


@dataclass(frozen=True)
class Claim:
    """One of the seven. Its table and its plot are made from its rows alone, so they can be made anew."""

    number: int
    name: str  # of its files
    says: str  # what is claimed, in a sentence
    measure: Callable[[Stage], list[Row]]
    table: Callable[[list[Row]], Table]
    plot: Callable[[list[Row], Figure], None]
    remark: str = ""  # how to read it, and what is not as claimed
    size: tuple[float, float] = (10, 4)  # of the plot, inches

    @property
    def results(self) -> Path:
        """Where its rows are kept."""
        return RESULTS / f"{self.number}-{self.name}.json"

    @property
    def picture(self) -> Path:
        """Its plot."""
        return PLOTS / f"{self.number}-{self.name}.png"

    def record(self, recorded: Recorded) -> None:
        """Writes the rows down."""
        self.results.parent.mkdir(parents=True, exist_ok=True)
        self.results.write_bytes(msgspec.json.format(msgspec.json.encode(recorded), indent=1) + b"\n")

    def recorded(self) -> Recorded:
        """What was written down last. Raises PgmuxError where nothing was."""
        try:
            return msgspec.json.decode(self.results.read_bytes(), type=Recorded)
        except FileNotFoundError:
            raise PgmuxError(
                f"claim {self.number} was never measured here: python -m loadtest.claims {self.number}"
            ) from None

    def draw(self, rows: list[Row]) -> None:
        """Writes its plot. Raises PgmuxError without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise PgmuxError('plots need matplotlib: pip install "pgmux[bench]"') from error
        figure = Figure(figsize=self.size, dpi=110, layout="constrained")
        self.plot(rows, figure)
        self.picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.picture, metadata={"Software": None})
