"""The table of notices."""

import string

import pytest

from pgmux.protocol.messages import parse_error_fields
from pgmux.session.notices import Notice


@pytest.mark.parametrize("notice", Notice)
def test_notice_is_built_with_every_name_filled_in(notice: Notice) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(notice.message + notice.hint) if name}
    message = notice.build(**{name: f"<{name}>" for name in names})
    assert message[:1] == b"N"
    fields = parse_error_fields(message[5:])
    assert (fields["severity"], fields["sqlstate"]) == (notice.severity, notice.sqlstate)
    assert fields["hint"].endswith(".")
    assert all(f"<{name}>" in fields["message"] + fields["hint"] for name in names)


def test_a_notice_is_no_error() -> None:
    assert {notice.severity for notice in Notice} <= {"WARNING", "NOTICE", "INFO"}
    assert all(notice.sqlstate.startswith(("00", "01")) for notice in Notice)
