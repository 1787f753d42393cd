"""The live view, driven by textual's own pilot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pgmux.errors import PgmuxError
from pgmux.top.app import ColumnHelp, TopApp
from pgmux.top.questions import Question
from pgmux.top.steering import Steering
from pgmux.top.table import MOST_ROWS, PanelTable
from tests.top.control import Control
from tests.top.observations import Given, backend, client, observation, overview, pool

THREE_POOLS = [pool(0, "app", tps=5.0), pool(1, "billing", tps=50.0), pool(2, "cron", tps=20.0)]
Script = Callable[[TopApp, Any], Awaitable[None]]


def play(
    observer: Given, script: Script, size: tuple[int, int] = (190, 50), control: str = "/nowhere/control.sock"
) -> None:
    """Run the view on a terminal of this size, and the script beside it."""

    async def run() -> None:
        app = TopApp(observer, Steering(control), 60.0)  # type: ignore[arg-type]
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await script(app, pilot)

    asyncio.run(run())


def table(app: TopApp, name: str) -> PanelTable:
    return app.query_one(f"#{name}", PanelTable)


def column(app: TopApp, panel: str, name: str) -> list[str]:
    """The cells of one column, from the top."""
    found = table(app, panel)
    return [str(found.get_row_at(row)[_at(found, name)]) for row in range(found.row_count)]


def _at(found: PanelTable, name: str) -> int:
    return [each.name for each in found.panel.columns].index(name)


def headline(app: TopApp) -> str:
    return str(app.query_one("#headline").render())


def test_all_panels_show_what_there_is() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        assert "5,432 tps" in headline(app)
        assert column(app, "pools", "database") == ["billing", "cron", "app"]  # the busiest first
        assert column(app, "workers", "pid") == ["4000", "4001"]
        assert column(app, "clients", "address") == ["10.0.0.1:4312"]
        assert column(app, "backends", "pid") == ["901"]

    play(Given(observation(pools=THREE_POOLS, clients=[client(1)], backends=[backend(1)])), script)


def test_a_panel_is_sorted_by_keys() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        table(app, "pools").sort_by("user")
        await pilot.press("r")
        table(app, "pools").sort_by("database")
        assert column(app, "pools", "database") == ["app", "billing", "cron"]
        await pilot.press("r")
        assert column(app, "pools", "database") == ["cron", "billing", "app"]
        await pilot.press("s")
        assert table(app, "pools").sorted_by == "user"
        assert "▲" in str(table(app, "pools").ordered_columns[1].label)

    play(Given(observation(pools=THREE_POOLS)), script)


def test_a_click_on_a_head_sorts() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.click("#pools", offset=(3, 1))
        await pilot.pause()
        assert table(app, "pools").sorted_by == "database"

    play(Given(observation(pools=THREE_POOLS)), script)


def test_a_filter_is_typed_kept_and_ended() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("slash", *"BILL")
        assert column(app, "pools", "database") == ["billing"]
        assert table(app, "pools").border_subtitle == "1 of 3"
        await pilot.press("enter")
        await pilot.pause()
        assert app.focused is table(app, "pools")
        assert column(app, "pools", "database") == ["billing"]
        await pilot.press("escape")
        assert len(column(app, "pools", "database")) == 3
        await pilot.press("slash", *"cron", "escape")
        await pilot.pause()
        assert len(column(app, "pools", "database")) == 3

    play(Given(observation(pools=THREE_POOLS)), script)


def test_the_cursor_stays_on_its_line_when_lines_move() -> None:
    observer = Given(observation(clients=[client(1, since=3.0), client(2, since=2.0), client(3, since=1.0)]))

    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("tab", "tab", "down")
        assert table(app, "clients").chosen.key == 2
        observer.seen = observation(
            clients=[client(4, since=9.0), client(3, since=4.0), client(2, since=3.0)]
        )
        app.look()
        await pilot.pause()
        assert column(app, "clients", "address") == ["10.0.0.4:4312", "10.0.0.3:4312", "10.0.0.2:4312"]
        assert table(app, "clients").chosen.key == 2

    play(observer, script)


def test_a_changed_value_is_written_in_its_place() -> None:
    observer = Given(observation(pools=[pool(0, waiting=0)]))

    async def script(app: TopApp, pilot: Any) -> None:
        observer.seen = observation(pools=[pool(0, waiting=12, why="28P01 password authentication failed")])
        app.look()
        assert column(app, "pools", "waiting") == ["12"]
        assert column(app, "pools", "why") == ["28P01 password authentication failed"]

    play(observer, script)


def test_a_frozen_view_does_not_look() -> None:
    observer = Given(observation(pools=THREE_POOLS))

    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("space")
        looks = observer.looks
        app.look()
        assert observer.looks == looks
        await pilot.press("space")
        app.look()
        assert observer.looks == looks + 1

    play(observer, script)


def test_a_panel_can_have_the_whole_screen() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("tab", "z")
        assert app.screen.maximized is table(app, "workers")
        await pilot.press("z")
        assert app.screen.maximized is None

    play(Given(observation(pools=THREE_POOLS)), script)


def test_columns_are_explained() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, ColumnHelp)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, ColumnHelp)

    play(Given(observation(pools=THREE_POOLS)), script)


def test_the_pace_is_changed_by_keys_and_bounded() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press(*["plus"] * 12)
        assert app._seconds == 0.25
        await pilot.press(*["minus"] * 12)
        assert app._seconds == 60.0

    play(Given(observation()), script)


def test_a_pgmux_that_has_gone_is_told_and_looked_for_again() -> None:
    observer = Given(observation(pools=THREE_POOLS))

    async def script(app: TopApp, pilot: Any) -> None:
        observer.seen = PgmuxError("no pgmux runs here")
        app.look()
        assert "no pgmux runs here; looking again" in headline(app)
        assert table(app, "pools").row_count == 0
        observer.seen = observation(pools=THREE_POOLS, about=overview(is_paused=True))
        app.look()
        assert "PAUSED" in headline(app)
        assert table(app, "pools").row_count == 3

    play(observer, script)


def test_very_many_lines_are_cut() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        assert table(app, "clients").row_count == MOST_ROWS
        assert table(app, "clients").border_subtitle == f"{MOST_ROWS} of {3 * MOST_ROWS}"

    play(Given(observation(clients=[client(key) for key in range(3 * MOST_ROWS)])), script)


@pytest.mark.parametrize("size", [(80, 24), (120, 30), (220, 60)])
def test_it_fits_on_small_and_large_terminals(size: tuple[int, int]) -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        assert all(each.size.height >= 2 for each in app.query(PanelTable))

    play(Given(observation(pools=THREE_POOLS, clients=[client(1)], backends=[backend(1)])), script, size)


def test_text_from_clients_is_never_markup() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        assert column(app, "clients", "application") == ["[red]evil[/red] [/]"]

    play(Given(observation(clients=[client(1, application="[red]evil[/red] [/]")])), script)


def test_q_ends_it() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running

    play(Given(observation()), script)


# What needs the control socket


def test_without_a_control_socket_there_are_no_keys_for_it() -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("tab", "tab", "k", "p", "c")
        assert not isinstance(app.screen, Question)
        shown = {binding.binding.action for binding in app.screen.active_bindings.values()}
        assert not {"kill", "pause", "resume"} & shown

    play(Given(observation(clients=[client(1)])), script)


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        (["tab", "tab", "k", "y"], ["kill-client", "71"]),
        (["p", "a"], ["pause"]),
        (["p", "d"], ["pause", "app"]),
        (["c", "a"], ["resume"]),
        (["c", "d"], ["resume", "app"]),
    ],
)
def test_a_command_is_given_after_a_question(keys: list[str], command: list[str], tmp_path: Path) -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        *before, question, answer = keys
        await pilot.press(*before, question)
        await pilot.pause()
        assert isinstance(app.screen, Question)
        assert control.asked == []
        await pilot.press(answer)
        await app.workers.wait_for_complete()
        assert control.asked == [command]

    with Control(tmp_path / "control.sock", [{"type": "done", "tag": "PAUSE"}]) as control:
        play(Given(observation(pools=[pool(0)], clients=[client(1)])), script, control=control.path)


@pytest.mark.parametrize("answer", ["n", "escape", "enter", "k"])
def test_any_other_answer_means_no(answer: str, tmp_path: Path) -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("tab", "tab", "k", answer)
        await pilot.pause()
        assert not isinstance(app.screen, Question)

    with Control(tmp_path / "control.sock", []) as control:
        play(Given(observation(clients=[client(1)])), script, control=control.path)
        assert control.asked == []


def test_what_pgmux_answers_is_told(tmp_path: Path) -> None:
    replies = [
        {"type": "progress", "message": "waiting for 2 backends"},
        {"type": "error", "message": "no such client", "hint": "it has gone", "sqlstate": "42704"},
    ]

    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("tab", "tab", "k", "y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        told = [notification.message for notification in app._notifications]
        assert told == ["waiting for 2 backends", "no such client (it has gone)"]

    with Control(tmp_path / "control.sock", replies) as control:
        play(Given(observation(clients=[client(1)])), script, control=control.path)


def test_nobody_is_killed_where_no_client_is_chosen(tmp_path: Path) -> None:
    async def script(app: TopApp, pilot: Any) -> None:
        await pilot.press("k")
        await pilot.pause()
        assert not isinstance(app.screen, Question)

    with Control(tmp_path / "control.sock", []) as control:
        play(Given(observation(pools=[pool(0)], clients=[client(1)])), script, control=control.path)
