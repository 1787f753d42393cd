"""The log-in to PostgreSQL: what it answers, whom it does not believe, and what it says when it is stuck."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.protocol import messages
from pgmux.protocol.scram_server import ScramServer
from pgmux.session.backend_login import MAX_LOGIN_BYTES, TRANSITIONS, BackendLogin, Step
from pgmux.session.secret import Password, Secret, hash_md5
from tests.session.connection_pair import PASSWORD, REPORTED, VERIFIER

OK = messages.build_authentication_ok()
ASK_CLEARTEXT = messages.build_authentication_cleartext_password()
ASK_MD5 = messages.build_authentication_md5_password(b"salt")
ASK_SCRAM = messages.build_authentication_sasl(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
READY = messages.build_ready_for_query(b"I")
GREETING = b"".join(
    [
        *(messages.build_parameter_status(name, value) for name, value in REPORTED.items()),
        messages.build_backend_key_data(4711, b"key!"),
        READY,
    ]
)
NOTICE = messages.build_notice_response("NOTICE", "00000", "hello")
REFUSAL = (
    b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0"
    b"Dd\0Hh\0Fproc.c\0L353\0RInitProcess\0zlater\0\0"
)


def start(password: str | Secret | None = "open sesame", version: tuple[int, int] = (3, 0)) -> BackendLogin:
    login = BackendLogin("alice", password, "app", {"application_name": "pgmux"}, version)
    login.start()
    return login


def trouble_of(login: BackendLogin) -> dict[str, str]:
    assert login.step is Step.FAILED
    assert not login.is_done
    assert login.error is not None
    return login.error


def begin_scram(login: BackendLogin) -> tuple[ScramServer, bytes]:
    """Play the server up to its challenge; give it and the client's proof."""
    first, _ = messages.split_messages(login.feed(ASK_SCRAM))
    mechanism, client_first = messages.parse_sasl_initial_response(first[0].body)
    assert mechanism == "SCRAM-SHA-256"
    server = ScramServer(VERIFIER, b"server-nonce")
    challenge = messages.build_authentication_sasl_continue(server.challenge(client_first))
    proof = messages.split_messages(login.feed(challenge))[0][0].body
    return server, proof


# ---- the table


def test_every_step_has_a_way_in_and_only_the_ends_have_no_way_out() -> None:
    assert set(Step) - {step for step, _ in TRANSITIONS} == {Step.DONE, Step.FAILED}
    assert {Step.NEW} | set(TRANSITIONS.values()) == set(Step)


EVENTS = {
    "AuthenticationOk": OK,
    "AuthenticationCleartextPassword": ASK_CLEARTEXT,
    "AuthenticationMD5Password": ASK_MD5,
    "AuthenticationSASL": ASK_SCRAM,
    "AuthenticationSASLContinue": messages.build_authentication_sasl_continue(b"r=x"),
    "AuthenticationSASLFinal": messages.build_authentication_sasl_final(b"v=x"),
    "BackendKeyData": messages.build_backend_key_data(1, b"1234"),
    "ErrorResponse": messages.build_message(b"E", REFUSAL),
    "NegotiateProtocolVersion": messages.build_negotiate_protocol_version((3, 0), []),
    "NoticeResponse": NOTICE,
    "ParameterStatus": messages.build_parameter_status("a", "b"),
    "ReadyForQuery": READY,
    "DataRow": messages.build_message(b"D", b"\0\0"),
    "CopyInResponse": messages.build_message(b"G", b"\0\0\0"),
    "nothing known": messages.build_message(b"?", b""),
    "Authentication request 99": messages.build_message(b"R", b"\0\0\0\x63"),
}


def test_every_message_of_the_table_is_tried() -> None:
    assert {event for _, event in TRANSITIONS} - {"StartupMessage"} <= set(EVENTS)


@pytest.mark.parametrize(
    ("step", "event"), list(itertools.product(set(Step) - {Step.NEW, Step.DONE, Step.FAILED}, EVENTS))
)
def test_message_that_cannot_come_now_ends_the_log_in(step: Step, event: str) -> None:
    login = start()
    login.step = step
    login.feed(EVENTS[event])
    if (step, event) not in TRANSITIONS:
        error = trouble_of(login)
        assert error["sqlstate"] == "08P01"
        assert step.name in error["message"]
    elif login.error is not None:  # a right message at a right time, but with an untrue SCRAM inside
        assert "cannot come" not in login.error["message"]


# ---- all goes well


def test_start_up_message_names_user_database_and_parameters() -> None:
    login = BackendLogin("alice", None, "app", {"options": "-c a=b"}, (3, 2))
    parameters = {"user": "alice", "database": "app", "options": "-c a=b"}
    assert login.start() == messages.build_startup_message(parameters, (3, 2))


def test_trusted_log_in_keeps_what_the_backend_reports() -> None:
    login = start(None)
    assert login.feed(OK + GREETING) == b""
    assert login.is_done
    assert login.error is None
    assert list(login.welcome.items()) == list(REPORTED.items())
    assert (login.pid, login.key) == (4711, b"key!")


def test_greeting_cut_at_every_byte_is_the_same_greeting() -> None:
    stream = NOTICE + OK + NOTICE + GREETING
    for cut in range(len(stream)):
        login = start(None)
        login.feed(stream[:cut])
        assert not login.is_done
        login.feed(stream[cut:])
        assert (login.is_done, login.welcome, login.pid) == (True, REPORTED, 4711)
        assert [notice["message"] for notice in login.notices] == ["hello", "hello"]


@pytest.mark.parametrize(
    ("secret", "answer"),
    [
        ("open sesame", b"open sesame"),
        (Password(PASSWORD), b"open sesame"),
        ("pä\udcff", b"p\xc3\xa4\xff"),
    ],
)
def test_cleartext_password_is_sent_when_asked_for(secret: str | Secret, answer: bytes) -> None:
    login = start(secret)
    assert login.feed(ASK_CLEARTEXT) == messages.build_password_message(answer)
    login.feed(OK + GREETING)
    assert login.is_done


@pytest.mark.parametrize("secret", ["open sesame", Password(PASSWORD), hash_md5("alice", PASSWORD)])
def test_md5_is_answered_with_the_password_or_its_hash(secret: str | Secret) -> None:
    # md5(md5("open sesame" "alice") "salt"), computed with PostgreSQL's md5()
    answer = b"md530d0bf945bab08a0b6abffc52a179f8a"
    assert start(secret).feed(ASK_MD5) == messages.build_password_message(answer)


def test_scram_is_spoken_and_the_server_has_to_prove_itself() -> None:
    login = start()
    server, proof = begin_scram(login)
    outcome = server.verify(proof)
    assert outcome is not None
    login.feed(messages.build_authentication_sasl_final(outcome) + OK + GREETING)
    assert login.is_done


@pytest.mark.parametrize("length", [4, 32, 256])
def test_cancel_keys_of_protocol_3_2_are_kept_whole(length: int) -> None:
    login = start(None, version=(3, 2))
    key = bytes(range(256))[:length]
    login.feed(OK + messages.build_backend_key_data(1, key) + READY)
    assert (login.is_done, login.key) == (True, key)


@pytest.mark.parametrize("body", [b"\0\3\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0"])
def test_older_server_negotiates_the_version_down(body: bytes) -> None:
    login = start(None, version=(3, 2))
    login.feed(messages.build_message(b"v", body) + OK + GREETING)
    assert login.is_done


@pytest.mark.parametrize(
    ("offered", "unknown"), [((3, 3), []), ((4, 0), []), ((2, 0), []), ((3, 0), ["_pq_.x"])]
)
def test_server_cannot_negotiate_what_was_not_asked_for(offered: tuple[int, int], unknown: list[str]) -> None:
    login = start(None, version=(3, 2))
    login.feed(messages.build_negotiate_protocol_version(offered, unknown))
    assert trouble_of(login)["sqlstate"] == "08P01"


TOO_NEW = messages.build_error_response("FATAL", "0A000", "unsupported frontend protocol 3.2")
NOT_FOR_YOU = messages.build_error_response("FATAL", "28000", "no pg_hba.conf entry")


@pytest.mark.parametrize(
    ("version", "said", "refuses"),
    [
        ((3, 2), b"", True),
        ((3, 2), TOO_NEW, True),
        ((3, 2), NOT_FOR_YOU, False),
        ((3, 2), ASK_CLEARTEXT, False),
        ((3, 2), ASK_CLEARTEXT + TOO_NEW, False),
        ((3, 2), messages.build_negotiate_protocol_version((3, 0), []) + TOO_NEW, False),
        ((3, 0), b"", False),
        ((3, 0), TOO_NEW, False),
    ],
)
def test_a_server_that_does_not_know_the_version_is_told_from_others(
    version: tuple[int, int], said: bytes, refuses: bool
) -> None:
    login = start(version=version)
    login.feed(said)
    assert login.refuses_version is refuses


# ---- the server refuses


@pytest.mark.parametrize("before", [b"", ASK_CLEARTEXT, ASK_SCRAM, OK, OK + GREETING[:-6]])
def test_refusal_of_the_server_is_kept_whole(before: bytes) -> None:
    login = start()
    login.feed(before)
    stream = messages.build_message(b"E", REFUSAL)
    login.feed(stream[:9])
    login.feed(stream[9:] + READY)
    assert trouble_of(login) == {
        "severity": "FATAL",
        "severity_nonlocalized": "FATAL",
        "sqlstate": "53300",
        "message": "sorry, too many clients already",
        "detail": "d",
        "hint": "h",
        "file": "proc.c",
        "line": "353",
        "routine": "InitProcess",
        "z": "later",
    }
    assert login.feed(OK + GREETING) == b""
    assert not login.is_done


# ---- we cannot go on


@pytest.mark.parametrize("ask", [ASK_CLEARTEXT, ASK_MD5, ASK_SCRAM])
@pytest.mark.parametrize("secret", [None, "", Password(b"")])
def test_missing_password_is_told_with_user_and_database(ask: bytes, secret: str | Secret | None) -> None:
    login = start(secret)
    assert login.feed(ask) == b""
    error = trouble_of(login)
    assert error["sqlstate"] == "28P01"
    assert error["message"] == (
        'PostgreSQL asked for a password, none is configured for user "alice" at database "app"'
    )
    assert "auth_file" in error["hint"]


@pytest.mark.parametrize(
    ("ask", "secret", "wanted"),
    [
        (ASK_CLEARTEXT, VERIFIER, "the password as it is"),
        (ASK_CLEARTEXT, hash_md5("alice", PASSWORD), "the password as it is"),
        (ASK_MD5, VERIFIER, "md5"),
        (ASK_SCRAM, VERIFIER, "SCRAM"),
        (ASK_SCRAM, hash_md5("alice", PASSWORD), "SCRAM"),
    ],
)
def test_secret_of_the_wrong_form_is_told(ask: bytes, secret: Secret, wanted: str) -> None:
    login = start(secret)
    assert login.feed(ask) == b""
    error = trouble_of(login)
    assert f"asks for {wanted}, but all that is known" in error["message"]


@pytest.mark.parametrize(
    ("code", "name"), [(2, "AuthenticationKerberosV5"), (7, "AuthenticationGSS"), (9, "AuthenticationSSPI")]
)
def test_unsupported_method_is_told_by_its_name(code: int, name: str) -> None:
    login = start()
    login.feed(messages.build_message(b"R", code.to_bytes(4, "big")))
    error = trouble_of(login)
    assert name in error["message"]
    assert "pg_hba.conf" in error["hint"]


def test_server_that_insists_on_channel_binding_is_told_apart() -> None:
    login = start()
    assert login.feed(messages.build_authentication_sasl(["SCRAM-SHA-256-PLUS"])) == b""
    assert "SCRAM-SHA-256-PLUS" in trouble_of(login)["message"]


# ---- servers that lie


def test_server_that_skips_its_proof_is_not_believed() -> None:
    login = start()
    _, _ = begin_scram(login)
    login.feed(OK + GREETING)
    assert trouble_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("outcome", [b"", b"v=", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", b"e=x"])
def test_server_with_a_false_proof_is_not_believed(outcome: bytes) -> None:
    login = start()
    begin_scram(login)
    login.feed(messages.build_authentication_sasl_final(outcome) + OK + GREETING)
    assert "prove" in trouble_of(login)["message"]


def test_huge_iteration_count_is_refused_before_it_is_computed() -> None:
    login = start()
    first = messages.split_messages(login.feed(ASK_SCRAM))[0][0].body
    nonce = first[first.rindex(b"r=") :]
    for count in (b"1000001", b"4294967295", b"9" * 400):
        again = start()
        again.feed(ASK_SCRAM)
        assert again._scram is not None
        again._scram._nonce = nonce[2:]
        challenge = nonce + b"x,s=AAAA,i=" + count
        assert again.feed(messages.build_authentication_sasl_continue(challenge)) == b""
        assert "iteration count" in trouble_of(again)["message"]


@pytest.mark.parametrize("rest", [b"x", NOTICE, READY])
def test_nothing_may_follow_ready_for_query(rest: bytes) -> None:
    for pieces in ([OK + GREETING + rest], [OK + GREETING, rest]):
        login = start(None)
        for piece in pieces:
            login.feed(piece)
        assert trouble_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("status", [b"T", b"E", b"", b"II"])
def test_backend_must_be_idle_when_it_is_ready(status: bytes) -> None:
    login = start(None)
    login.feed(OK + messages.build_message(b"Z", status))
    assert "ReadyForQuery" in trouble_of(login)["message"]


def test_endless_talk_ends_the_log_in() -> None:
    login = start(None)
    login.feed(OK)
    talk = messages.build_parameter_status("name", "x" * 1000)
    for _ in range(MAX_LOGIN_BYTES // len(talk) + 1):
        login.feed(talk)
    assert "bytes during a log-in" in trouble_of(login)["message"]


@pytest.mark.parametrize("length", [b"\0\0\0\3", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
def test_impossible_length_ends_the_log_in(length: bytes) -> None:
    login = start()
    login.feed(b"R" + length)
    assert trouble_of(login)["sqlstate"] == "08P01"


def test_answer_of_something_else_than_postgresql_is_no_protocol() -> None:
    login = start()
    login.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "PostgreSQL" in trouble_of(login)["hint"]


@given(
    st.sampled_from([b"", ASK_MD5, ASK_SCRAM, OK]),
    st.lists(st.binary(max_size=60), max_size=4),
    st.booleans(),
)
@settings(deadline=None)
def test_random_bytes_never_raise_and_never_finish_a_log_in(
    before: bytes, data: list[bytes], is_framed: bool
) -> None:
    login = start()
    login.feed(before)
    for piece in data:
        login.feed(messages.build_message(piece[:1] or b"R", piece[1:]) if is_framed else piece)
    assert (login.error is not None) == (login.step is Step.FAILED)
    if before != OK:
        assert not login.welcome
