"""`pgmux doctor`: examine PostgreSQL, print the report, and say by the exit code whether it is alarming."""

import argparse
import getpass
import os
import sys

import msgspec

from pgmux.cli.output import print_answer
from pgmux.config import Config, Settings, load
from pgmux.doctor.connection import ServerError
from pgmux.doctor.examination import Examination
from pgmux.doctor.facts import Report
from pgmux.doctor.report import render_report
from pgmux.doctor.target import Target, UsageError, choose_targets
from pgmux.errors import ConfigError

ALARMING = 1
LONGEST_WATCH_S = 3600.0


def examine(chosen: argparse.Namespace) -> int:
    """Run the command; gives 1 when something is alarming, else 0.

    Raises ServerError, UsageError, ConfigError.
    """
    if not 0 <= chosen.seconds <= LONGEST_WATCH_S:
        raise UsageError(f"--seconds must be between 0 and {LONGEST_WATCH_S:.0f}")
    config = _load(chosen.config)
    given = {name: getattr(chosen, name) for name in ("host", "port", "user", "dbname")}
    targets = choose_targets({name: value for name, value in given.items() if value}, config)
    segment = config.segment_path if config is not None else f"{Settings().runtime_dir}/pgmux.shm"
    reports = [_examine(target, segment, chosen.seconds) for target in targets]
    if chosen.json:
        print_answer(msgspec.json.format(msgspec.json.encode({"servers": reports}), indent=2).decode())
    else:
        print_answer("\n\n\n".join(map(render_report, reports)))
    return ALARMING if any(report.alarms for report in reports) else 0


def _load(path: str | None) -> Config | None:
    """pgmux's configuration; without one, when none was named, the doctor works all the same."""
    try:
        return load(path)
    except ConfigError:
        if path is not None:
            raise
        return None


def _examine(target: Target, segment: str, seconds: float) -> Report:
    try:
        return Examination(target, segment, seconds, _tell).run()
    except ServerError as error:
        _tell("")
        if not error.wants_password or target.password or not sys.stdin.isatty():
            raise
        password = getpass.getpass(f"Password for user {target.user}: ")
        return Examination(target._replace(password=password), segment, seconds, _tell).run()
    finally:
        _tell("")


def _tell(what: str) -> None:
    """Say on a terminal what is being done, in place of what was said before; "" takes it away."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        print(f"\r\x1b[K{what}{' …' if what else ''}", end="", file=sys.stderr, flush=True)
