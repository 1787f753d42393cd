"""The manual says what the code does: its tables, its commands, its links, its man pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generated import MARK, TABLES, on_page_markdown
from docs.man import escape, write_pages
from pgmux.cli.main import build_parser
from pgmux.config.option import rows_of
from pgmux.config.overrides import Database, User
from pgmux.config.settings import Settings
from pgmux.control.clerk import SHOWS
from pgmux.control.commands import COMMANDS
from pgmux.control.metrics import METRICS
from pgmux.doctor.alarms import CHECKS
from pgmux.pgbouncer.options import OPTIONS
from pgmux.session.refusals import Refusal

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "systemd" / "README.md", ROOT / "container" / "README.md"]


def page(name: str) -> str:
    """A page with its tables in."""
    return on_page_markdown((ROOT / "docs" / name).read_text())


def test_every_table_stands_on_one_page() -> None:
    marks = [mark for each in PAGES for mark in MARK.findall(each.read_text())]
    assert sorted(marks) == sorted(TABLES)


def test_every_option_is_explained() -> None:
    said = page("options.md")
    for table in (Settings, Database, User):
        for name, row in rows_of(table).items():
            assert f"\n#### {name}\n\n{row.option.help}" in said
    assert "`PGMUX_MAX_BACKENDS`" in said


def test_every_option_of_pgbouncer_is_accounted_for() -> None:
    said = page("migrating.md")
    for row in OPTIONS:
        assert f"| `{row.name}` | {row.becomes().value} |" in said


def test_every_error_is_listed_with_its_remedy() -> None:
    said = page("errors.md")
    for refusal in Refusal:
        assert f"| `{refusal.value[0]}` | {refusal.value[1]} |" in said


def test_every_command_show_and_metric_is_listed() -> None:
    said = page("console.md")
    for command in COMMANDS.values():
        assert f"| `{command.word}" in said
    for show in SHOWS.values():
        assert f"| `{show.name}` | {show.help} |" in said
    said = page("metrics.md")
    for metric in METRICS:
        assert f"| `{metric.series[0]}` | {metric.kind} |" in said


def test_every_alarm_is_listed() -> None:
    said = page("doctor.md")
    for check in CHECKS:
        assert re.search(rf"\| `{check.name}` \| \S.+\. \|", said)


@pytest.mark.parametrize("path", [*PAGES, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_page_names_is_there(path: Path) -> None:
    [commands] = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    named = re.findall(r"(?:^ {4}|`)(?:\.venv/bin/)?pgmux ([a-z][a-z-]+)", path.read_text(), re.MULTILINE)
    assert set(named) <= set(commands)


@pytest.mark.parametrize("path", [*PAGES, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+?)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_manual_becomes_html_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert {each.stem for each in PAGES} <= {each.stem for each in tmp_path.glob("*.html")}
    assert 'id="max_backends"' in (tmp_path / "options.html").read_text()


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed here")
def test_man_pages_are_well_formed(tmp_path: Path) -> None:
    for path in write_pages(tmp_path):
        said = subprocess.run(["groff", "-man", "-ww", "-Tutf8", path], capture_output=True, text=True)
        assert (said.returncode, said.stderr) == (0, "")
        assert "pgmux" in said.stdout


@pytest.mark.parametrize(
    ("text", "escaped"),
    [(".profile", "\\&.profile"), ("a-b", "a\\-b"), ("a\\b", "a\\eb"), ("'tis", "\\&'tis")],
)
def test_roff_takes_text_as_it_stands(text: str, escaped: str) -> None:
    assert escape(text) == escaped
