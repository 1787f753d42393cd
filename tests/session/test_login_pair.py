"""The two log-in machines talk to each other: every method, right and wrong, whole and byte by byte."""

import pytest

from pgmux.session.client_login import Step
from pgmux.session.refusals import Refusal
from pgmux.session.secret import Password, Secret, hash_md5
from tests.session.connection_pair import PASSWORD, REPORTED, SECRETS, ConnectionPair, make_doors

PIECES = (1 << 20, 7, 1)

MAY_ENTER = [
    ("trust", "anybody", None),
    ("password", "plain", PASSWORD),
    ("password", "md5", PASSWORD),
    ("password", "scram", PASSWORD),
    ("md5", "plain", PASSWORD),
    ("md5", "md5", PASSWORD),
    ("md5", "scram", PASSWORD),  # by SCRAM, as PostgreSQL does it
    ("scram-sha-256", "plain", PASSWORD),
    ("scram-sha-256", "scram", PASSWORD),
]

MAY_NOT_ENTER = [
    (auth_type, user, password)
    for auth_type in ("password", "md5", "scram-sha-256")
    for user, password in (
        ("plain", b"wrong"),
        ("md5", b"wrong"),
        ("scram", b"wrong"),
        ("nobody", PASSWORD),
        ("empty", PASSWORD),
    )
] + [("scram-sha-256", "md5", PASSWORD)]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(("auth_type", "user", "password"), MAY_ENTER)
def test_right_password_is_let_in(auth_type: str, user: str, password: bytes | None, piece: int) -> None:
    secret = None if password is None else Password(password)
    pair = ConnectionPair.join(make_doors(auth_type), user, secret, piece=piece)
    assert pair.run() is Step.AUTHENTICATED
    assert (pair.server.user, pair.server.database) == (user, "app")
    pair.admit()
    assert pair.client.is_done
    assert pair.client.error is None
    assert (pair.client.pid, pair.client.key) == (7, b"key!")
    assert pair.client.welcome == REPORTED | {"application_name": "", "pgmux.version": "0.1.0"}
    assert pair.server.rest == b""


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(("auth_type", "user", "password"), MAY_NOT_ENTER)
def test_wrong_password_is_refused(auth_type: str, user: str, password: bytes, piece: int) -> None:
    pair = ConnectionPair.join(make_doors(auth_type), user, Password(password), piece=piece)
    assert pair.run() is Step.REFUSED
    assert pair.server.refusal is Refusal.AUTHENTICATION_FAILED
    assert pair.client.error is not None
    assert pair.client.error["sqlstate"] == "28P01"
    assert pair.client.error["message"] == f'password authentication failed for user "{user}"'
    assert pair.client.error["severity"] == "FATAL"


@pytest.mark.parametrize("user", ["plain", "md5"])
def test_md5_hash_is_enough_to_log_in_by_md5(user: str) -> None:
    pair = ConnectionPair.join(make_doors("md5"), user, hash_md5(user, PASSWORD))
    assert pair.run() is Step.AUTHENTICATED


REASONS = {
    "plain": "wrong password",
    "nobody": "no such user, or one without a secret",
    "empty": "no such user, or one without a secret",
    "md5": "the secret of this user is an md5 hash, which SCRAM cannot use",
}


def test_reason_is_for_the_log_and_never_sent() -> None:
    for user, reason in REASONS.items():
        pair = ConnectionPair.join(make_doors("scram-sha-256"), user, "wrong")
        pair.run()
        assert pair.server.reason == reason
        assert reason.encode() not in pair.to_client


@pytest.mark.parametrize("auth_type", ["password", "md5", "scram-sha-256"])
@pytest.mark.parametrize("kind", ["plain", "md5", "scram"])
def test_unknown_user_meets_the_same_exchange_as_a_known_one(auth_type: str, kind: str) -> None:
    """Whatever most users of the file have is what an unknown user seems to have."""
    doors = make_doors(auth_type, {kind: SECRETS[kind]})
    shapes = []
    for user in (kind, "x" * len(kind)):
        pair = ConnectionPair.join(doors, user, "wrong")
        assert pair.run() is Step.REFUSED
        shapes.append([(message.kind, len(message.body)) for message in pair.heard_by_client()])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("auth_type", ["password", "md5"])
def test_who_knows_what_stands_in_for_an_unknown_user_is_not_let_in_with_it(auth_type: str) -> None:
    doors = make_doors(auth_type, {"plain": SECRETS["plain"]})
    pair = ConnectionPair.join(doors, "nobody", doors.stand_in("nobody"))
    assert pair.run() is Step.REFUSED
    assert pair.server.reason == REASONS["nobody"]


@pytest.mark.parametrize("user", ["plain", "scram", "nobody", "md5"])
def test_salt_of_a_user_is_the_same_each_time_and_in_every_worker(user: str) -> None:
    def challenge() -> bytes:
        pair = ConnectionPair.join(make_doors("scram-sha-256"), user, "wrong")
        pair.run()
        server_first = pair.heard_by_client()[1].body
        return server_first[server_first.index(b",s=") :]

    assert challenge() == challenge()


def test_salts_of_unknown_users_differ() -> None:
    doors = make_doors("scram-sha-256")
    salts = {doors.stand_in_verifier(user).salt for user in ("a", "b", "c")}
    other_key = make_doors("scram-sha-256", mock_key=b"another key 16 b")
    assert len(salts | {other_key.stand_in_verifier("a").salt}) == 4


@pytest.mark.parametrize(("auth_type", "user", "password"), MAY_ENTER)
def test_unknown_database_is_told_only_after_authentication(
    auth_type: str, user: str, password: bytes | None
) -> None:
    secret: Secret | None = None if password is None else Password(password)
    pair = ConnectionPair.join(make_doors(auth_type), user, secret, "nowhere")
    assert pair.run() is Step.REFUSED
    assert pair.client.error is not None
    assert pair.client.error["sqlstate"] == "3D000"
    assert pair.client.error["message"] == 'database "nowhere" does not exist'
    if auth_type != "trust":
        pair = ConnectionPair.join(make_doors(auth_type), user, "wrong", "nowhere")
        pair.run()
        assert pair.client.error is not None
        assert pair.client.error["sqlstate"] == "28P01"


def test_refusal_after_scram_still_proves_the_server_first() -> None:
    pair = ConnectionPair.join(make_doors("scram-sha-256"), "scram", Password(PASSWORD), "nowhere")
    pair.run()
    assert [message.kind for message in pair.heard_by_client()] == [b"R", b"R", b"R", b"E"]
