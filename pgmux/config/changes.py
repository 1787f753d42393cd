"""Options that are changed while pgmux runs, by the command SET, and hold until the next reload or restart.

A change is a key and a text, written as in the environment. Several are kept as lines key=value, in the
order in which they were made.
"""

import dataclasses
import os

import msgspec

from pgmux.config.checks import check_config
from pgmux.config.configuration import Config
from pgmux.config.findings import Findings
from pgmux.config.nearest import did_you_mean, hint_for_key
from pgmux.config.not_yet import refuse_what_is_not_yet
from pgmux.config.option import rows_of
from pgmux.config.settings import Settings
from pgmux.errors import ConfigError, Problem

COMMAND = "SET"  # what messages name in place of a file


def change(config: Config, key: str, text: str) -> Config:
    """What `config` becomes when the option `key` of [pgmux] is set to `text`.

    Raises ConfigError for an unknown key, one that needs a restart, and a value that cannot be used.
    """
    rows = rows_of(Settings)
    if key not in rows:
        raise _refusal(key, "no option is called so", hint_for_key(key, rows, {}))
    row = rows[key]
    if not row.option.reload:
        raise _refusal(key, "needs a restart", "change it in the configuration, then restart pgmux")
    try:
        value = row.read(text, from_text=True)
    except ValueError as error:
        raise _refusal(key, str(error), did_you_mean(text, row.choices())) from None
    if row.notation is not None and row.notation.is_path and value:
        directory = os.path.dirname(os.path.abspath(config.path)) if config.path else os.getcwd()
        value = os.path.normpath(os.path.join(directory, value))
    settings = msgspec.structs.replace(config.pgmux, **{key: value})
    changed = dataclasses.replace(config, pgmux=settings)
    findings = Findings(COMMAND, {})
    refuse_what_is_not_yet(settings, ("pgmux",), findings)
    check_config(changed, findings)
    findings.raise_problems()
    return changed


def change_all(config: Config, changes: str) -> Config:
    """What `config` becomes by changes as `note_change` keeps them. Raises ConfigError."""
    for line in changes.splitlines():
        key, _, text = line.partition("=")
        config = change(config, key, text)
    return config


def note_change(changes: str, key: str, text: str) -> str:
    """The changes with one more; an earlier one of the same key is forgotten.

    Raises ConfigError for a text with line breaks.
    """
    if "\n" in text or "\r" in text:
        raise _refusal(key, "a value has no line breaks", "")
    kept = [line for line in changes.splitlines() if line.partition("=")[0] != key]
    return "".join(f"{line}\n" for line in [*kept, f"{key}={text}"])


def _refusal(key: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(COMMAND, None, key, message, hint)])
