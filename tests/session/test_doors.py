"""What a log-in may ask of the configuration."""

import pytest

from pgmux.errors import PgmuxError
from pgmux.protocol.scram import DEFAULT_ITERATIONS, ScramVerifier
from pgmux.session.secret import Md5Hash, Password, check_password
from tests.session.connection_pair import PASSWORD, SECRETS, VERIFIER, make_doors


@pytest.mark.parametrize("auth_type", ["peer", "hba", "", "SCRAM"])
def test_method_that_cannot_be_used_is_told(auth_type: str) -> None:
    with pytest.raises(PgmuxError, match="cannot be used, use one of trust"):
        make_doors(auth_type)


def test_databases_are_those_of_the_configuration_and_the_consoles_names() -> None:
    doors = make_doors("trust", databases=["app"])
    assert [doors.has_database(name) for name in ("app", "nowhere", "pgmux", "pgbouncer")] == [
        True,
        False,
        True,
        True,
    ]


def test_unknown_user_seems_to_have_what_most_have() -> None:
    kinds = {
        ScramVerifier: make_doors("md5", {}),
        Md5Hash: make_doors("md5", {"a": SECRETS["md5"], "b": SECRETS["md5"], "c": SECRETS["plain"]}),
        Password: make_doors("md5", {"a": SECRETS["plain"]}),
    }
    for kind, doors in kinds.items():
        assert type(doors.stand_in("nobody")) is kind
        assert not check_password("nobody", doors.stand_in("nobody"), PASSWORD)


def test_stand_in_counts_as_many_iterations_as_the_verifiers_of_the_file() -> None:
    assert make_doors("scram-sha-256", {}).stand_in_verifier("x").iterations == DEFAULT_ITERATIONS
    doors = make_doors("scram-sha-256", {"a": VERIFIER, "b": SECRETS["plain"]})
    assert doors.stand_in_verifier("x").iterations == VERIFIER.iterations
    derived = doors.find_verifier("b", SECRETS["plain"])
    assert derived is not None
    assert derived.iterations == VERIFIER.iterations


def test_stand_in_looks_like_a_derived_verifier() -> None:
    doors = make_doors("scram-sha-256")
    real = doors.find_verifier("plain", doors.find_secret("plain"))
    mock = doors.stand_in_verifier("plain")
    assert real is not None
    assert (real.salt, real.iterations) == (mock.salt, mock.iterations)
    assert [len(part) for part in real[1:]] == [len(part) for part in mock[1:]]
    assert real.stored_key != mock.stored_key


def test_empty_password_is_no_secret() -> None:
    doors = make_doors("password")
    assert doors.find_secret("empty") is None
    assert doors.find_secret("plain") == Password(PASSWORD)
