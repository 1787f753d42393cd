"""The panels' table of columns, how values are written, and how lines are sorted."""

from __future__ import annotations

import pytest

from pgmux.top.headline import describe
from pgmux.top.panels import PANELS, Panel, order, show_count, show_duration, show_size
from pgmux.top.plain import MOST_ROWS, render_plain
from tests.top.observations import backend, client, observation, overview, pool

CLIENTS = next(panel for panel in PANELS if panel.name == "clients")
POOLS = next(panel for panel in PANELS if panel.name == "pools")
FULL = observation(pools=[pool(0)], clients=[client(1)], backends=[backend(1)])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_a_panel_is_sorted_by_one_of_its_columns_and_explains_each(panel: Panel) -> None:
    names = [column.name for column in panel.columns]
    assert panel.sorted_by in names
    assert len(set(names)) == len(names)
    assert all(column.help for column in panel.columns)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_every_column_can_be_shown_and_sorted_by(panel: Panel) -> None:
    lines = panel.lines(FULL)
    assert lines
    for column in panel.columns:
        assert isinstance(column.cell(lines[0]), str)
        order(panel, [*lines, *lines], column.name, is_descending=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, ""),
        (0.000_82, "820µs"),
        (0.014, "14ms"),
        (3.24, "3.2s"),
        (45.4, "45s"),
        (720, "12m"),
        (18_000, "5h"),
        (300_000, "3d"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_sizes_and_counts_are_short() -> None:
    assert [show_size(count) for count in (812_000, 35_000_000, 1_200_000_000)] == ["812k", "35M", "1.2G"]
    assert show_count(1_234_567.8) == "1,234,568"


def test_lines_are_sorted_and_what_is_not_known_comes_last() -> None:
    lines = [client(1, since=2.0), client(2, since=9.0), client(3, since=1.0)]
    assert [line.key for line in order(CLIENTS, lines, "for", is_descending=True)] == [2, 1, 3]
    assert [line.key for line in order(CLIENTS, lines, "for", is_descending=False)] == [3, 1, 2]
    workers = next(panel for panel in PANELS if panel.name == "workers")
    assert [line.key for line in order(workers, FULL.workers, "cpu", is_descending=True)] == [0, 1]


def test_a_filter_looks_at_all_cells_and_minds_no_capitals() -> None:
    lines = [client(1, application="Checkout"), client(2, application="cron")]
    assert [line.key for line in order(CLIENTS, lines, "for", is_descending=True, text="checkOUT")] == [1]
    assert [line.key for line in order(CLIENTS, lines, "for", is_descending=True, text="10.0.0.2")] == [2]
    assert order(CLIENTS, lines, "for", is_descending=True, text="nobody") == []


def test_the_headline_says_how_pgmux_fares() -> None:
    first, second = describe(overview())
    assert first == "2 of 2 workers, 37% cpu, 51M rss   5,432 tps   9,876 qps"
    assert (
        second
        == "1,234 of 10,000 clients   0 waiting   7 of 80 backends   2 pinned   longest transaction 72s"
    )


@pytest.mark.parametrize(
    ("about", "said"),
    [(overview(is_moving=False), "No worker has moved for 12s"), (overview(is_paused=True), "PAUSED")],
)
def test_the_headline_says_what_is_wrong(about: object, said: str) -> None:
    assert said in describe(about)[2]  # type: ignore[arg-type]


def test_one_look_as_text_has_every_panel_and_cuts_long_ones() -> None:
    said = render_plain(observation(pools=[pool(0)], clients=[client(key) for key in range(25)]))
    for panel in PANELS:
        assert f"\n\n{panel.title}\n" in said
    assert f"and {25 - MOST_ROWS} more" in said
    assert [line for line in said.splitlines() if line != line.rstrip()] == []
