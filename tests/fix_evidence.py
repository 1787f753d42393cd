"""What a failed test shows besides its traceback: servers' logs, conversations."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

Evidence = Callable[[str, Callable[[], str]], None]

_EVIDENCE = pytest.StashKey[list[tuple[str, Callable[[], str]]]]()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Call it with a title and a function; if the test fails, its report has what the function then gives."""
    collected = request.node.stash.setdefault(_EVIDENCE, [])
    return lambda title, text: collected.append((title, text))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the evidence to the report of a failure."""
    report = yield
    if report.failed:
        for title, text in item.stash.get(_EVIDENCE, []):
            if told := text():
                report.sections.append((title, told))
    return report
