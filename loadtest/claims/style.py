"""How the plots look: one colour for one competitor, few lines, numbers that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLOURS = {
    "direct": "#8a8f98",
    "pgbouncer": "#d98e2b",
    "pgmux": "#1f6feb",
    "postgres": "#336791",
    "lock": "#b5446e",
}


def colour_of(arm: str) -> str:
    """The colour of an arm, by the program's name."""
    return COLOURS.get(arm.split("-")[0], "#444444")


def tidy(axes: Any, title: str, x: str, y: str, legend: bool = True) -> None:
    """A title to the left, labels, a faint grid behind, no box."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, axis="y", color="#e4e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8.5)


def bars(axes: Any, names: Sequence[str], values: Sequence[float], labels: Sequence[str]) -> None:
    """One bar for each name, its value above it."""
    drawn = axes.bar(names, values, color=[colour_of(name) for name in names], width=0.62)
    axes.bar_label(drawn, labels=list(labels), padding=2, fontsize=8.5)
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def plain_log(axes: Any, which: str) -> None:
    """A logarithmic axis whose numbers are written out."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
