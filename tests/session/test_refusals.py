"""The table of refusals against the contract's."""

import string

import pytest

from pgmux.protocol.messages import parse_error_fields
from pgmux.session.refusals import Refusal, explain_trouble

CONTRACT = {
    Refusal.NO_SUCH_DATABASE: "3D000",
    Refusal.AUTHENTICATION_FAILED: "28P01",
    Refusal.CLIENT_LIMIT: "53300",
    Refusal.POOL_LIMIT: "53300",
    Refusal.WAITED_TOO_LONG: "53300",
    Refusal.CANCELLED: "57014",
    Refusal.NO_POSTGRESQL: "57P03",
    Refusal.POSTGRESQL_HAS_NO_SUCH_DATABASE: "3D000",
    Refusal.BACKEND_DIED: "08006",
    Refusal.NO_TRANSACTIONS: "0A000",
    Refusal.IDLE_IN_TRANSACTION: "25P03",
    Refusal.CLIENT_IDLE: "57P05",
    Refusal.TRANSACTION_TIMEOUT: "25P04",
    Refusal.SHUTTING_DOWN: "57P01",
    Refusal.NOTIFICATIONS_OVERRUN: "54000",
    Refusal.MALFORMED: "08P01",
    Refusal.TRANSACTION_FAILED: "25P02",
    Refusal.QUERY_TIMEOUT: "57014",
}
SESSION_GOES_ON = {
    Refusal.CANCELLED,
    Refusal.NO_TRANSACTIONS,
    Refusal.TRANSACTION_FAILED,
    Refusal.QUERY_TIMEOUT,
    Refusal.PIN_REJECTED,
    Refusal.TOO_MANY_PINNED,
}


def names_in(refusal: Refusal) -> dict[str, str]:
    texts = (refusal.message, refusal.hint)
    return {name: f"<{name}>" for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize(("refusal", "sqlstate"), CONTRACT.items())
def test_case_of_the_contract_has_its_sqlstate(refusal: Refusal, sqlstate: str) -> None:
    assert refusal.sqlstate == sqlstate


@pytest.mark.parametrize("refusal", Refusal)
def test_refusal_is_built_with_every_name_filled_in(refusal: Refusal) -> None:
    values = names_in(refusal)
    fields = parse_error_fields(refusal.build("detail", **values)[5:])
    assert fields["sqlstate"] == refusal.sqlstate
    assert fields["message"] == refusal.describe(**values)
    assert fields["detail"] == "detail"
    assert fields["hint"].endswith(".")
    assert "{" not in fields["message"] + fields["hint"]
    assert all(value in fields["message"] for value in values.values())


def test_only_where_the_contract_says_so_the_session_goes_on() -> None:
    assert {refusal for refusal in Refusal if refusal.severity == "ERROR"} == SESSION_GOES_ON
    assert {refusal.severity for refusal in Refusal} == {"ERROR", "FATAL"}


def test_no_two_cases_are_one() -> None:
    assert len({(refusal.sqlstate, refusal.message) for refusal in Refusal}) == len(Refusal.__members__)


def test_name_without_a_value_is_a_defect_and_not_a_message() -> None:
    with pytest.raises(KeyError):
        Refusal.NO_SUCH_DATABASE.build()


def test_that_a_database_is_not_there_is_told_in_postgresqls_words() -> None:
    refusal, detail, values = explain_trouble('3D000: database "oops: {x}" does not exist', "localhost:5432")
    fields = parse_error_fields(refusal.build(detail, **values)[5:])
    assert (fields["sqlstate"], fields["message"]) == ("3D000", 'database "oops: {x}" does not exist')
    assert "detail" not in fields


def test_any_other_trouble_is_told_as_the_reason_why_postgresql_cannot_be_used() -> None:
    trouble = "57P03: the database system is starting up"
    assert explain_trouble(trouble, "localhost:5432") == (
        Refusal.NO_POSTGRESQL,
        trouble,
        {"server": "localhost:5432"},
    )
