"""A client's log-in: what it answers and refuses, and that nothing a client sends does more than that."""

import itertools
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.config.notations import TlsMode
from pgmux.protocol import messages
from pgmux.protocol.messages import Message, parse_error_fields, split_messages
from pgmux.protocol.scram import ScramClient
from pgmux.session.arrival import Arrival
from pgmux.session.client_login import (
    TRANSITIONS,
    ClientLogin,
    Event,
    Step,
    StepError,
)
from pgmux.session.proof import MAX_MD5_BYTES, MAX_PASSWORD_BYTES, MAX_SASL_BYTES
from pgmux.session.refusals import Refusal
from tests.session.connection_pair import PASSWORD, REPORTED, WELCOME, make_doors

STARTUP = messages.build_startup_message({"user": "alice", "database": "app"})
QUERY = messages.build_query("select 1")


def log_in(auth_type: str, *pieces: bytes) -> ClientLogin:
    login = ClientLogin(make_doors(auth_type))
    for piece in pieces:
        login.feed(piece)
    return login


def start_as(user: str, auth_type: str = "scram-sha-256", **parameters: str) -> ClientLogin:
    parameters = {"user": user, "database": "app"} | parameters
    return log_in(auth_type, messages.build_startup_message(parameters))


def error_of(login: ClientLogin) -> dict[str, str]:
    assert login.step is Step.REFUSED
    last = split_messages(login.take_outgoing().lstrip(b"N"))[0][-1]
    assert last.kind == b"E"
    return parse_error_fields(last.body)


def sent_by(login: ClientLogin) -> list[Message]:
    return split_messages(login.take_outgoing())[0]


# ---- the table


def test_every_step_has_a_way_in_and_only_the_ends_have_no_way_out() -> None:
    ways_out = {step for step, _ in TRANSITIONS}
    assert set(Step) - ways_out == {Step.ADMITTED, Step.CANCEL, Step.REFUSED}
    assert {Step.STARTUP} | set(TRANSITIONS.values()) == set(Step)


def test_only_a_proof_or_trust_leads_to_authenticated() -> None:
    ways_in = {way for way, after in TRANSITIONS.items() if after is Step.AUTHENTICATED}
    assert ways_in == {
        (Step.STARTUP, Event.TRUSTED),
        (Step.LOOKUP, Event.TRUSTED),
        (Step.PASSWORD, Event.PROVED),
        (Step.SASL_FINAL, Event.PROVED),
    }


@pytest.mark.parametrize(("step", "event"), list(itertools.product(Step, Event)))
def test_what_the_table_does_not_have_cannot_happen(step: Step, event: Event) -> None:
    login = log_in("trust")
    login.step = step
    if (step, event) in TRANSITIONS:
        login._move(event)
        assert login.step is TRANSITIONS[step, event]
    else:
        with pytest.raises(StepError):
            login._move(event)
        assert login.step is step


# ---- the start-up packet


def test_trusted_client_is_greeted_in_one_go() -> None:
    login = log_in("trust", STARTUP)
    assert login.take_outgoing() == b""
    greeting, rest = split_messages(login.admit(WELCOME, 7, b"key!"))
    assert login.step is Step.ADMITTED
    assert rest == b""
    assert greeting[0] == (b"R", b"\0\0\0\0")
    assert greeting[-2:] == [(b"K", b"\0\0\0\x07key!"), (b"Z", b"I")]
    reported = dict(messages.parse_parameter_status(message.body) for message in greeting[1:-2])
    assert reported == REPORTED | {"application_name": "", "pgmux.version": "0.1.0"}


def test_database_is_by_default_named_like_the_user() -> None:
    for parameters in ({"user": "app"}, {"user": "app", "database": ""}):
        login = log_in("trust", messages.build_startup_message(parameters))
        assert (login.step, login.database) == (Step.AUTHENTICATED, "app")


def test_what_is_pipelined_behind_the_log_in_is_kept() -> None:
    login = log_in("trust", STARTUP + QUERY)
    login.feed(QUERY)
    login.admit(WELCOME, 1, b"key!")
    assert login.rest == QUERY + QUERY


@pytest.mark.parametrize("name", ["pgmux", "pgbouncer"])
def test_the_console_is_a_database_whether_or_not_one_is_declared(name: str) -> None:
    login = ClientLogin(make_doors("trust", databases=[]))
    login.feed(messages.build_startup_message({"user": "alice", "database": name}))
    assert login.step is Step.AUTHENTICATED


class Visitor:
    """A client of whom nothing but its arrival is known."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival

    def arrival(self) -> Arrival:
        return self._arrival


@pytest.mark.parametrize("name", ["pgmux", "pgbouncer"])
def test_the_owner_is_let_in_to_the_console_without_a_proof_and_nowhere_else(name: str) -> None:
    def step(user: str, database: str, *, is_owner: bool) -> Step:
        doors = make_doors("scram-sha-256", databases=["app"], owner_uids=(0, 999))
        arrival = Arrival(is_unix=True, peer_uid=999 if is_owner else 1000)
        login = ClientLogin(doors, Visitor(arrival))
        login.feed(messages.build_startup_message({"user": user, "database": database}))
        return login.step

    assert step(name, name, is_owner=True) is Step.AUTHENTICATED
    assert step(name, name, is_owner=False) is Step.SASL_INITIAL
    assert step("alice", name, is_owner=True) is Step.SASL_INITIAL
    assert step(name, "app", is_owner=True) is Step.SASL_INITIAL


def test_parameters_and_options_become_settings() -> None:
    login = start_as(
        "alice",
        "trust",
        options="-c search_path=a,b -c DateStyle=SQL --work-mem=1MB",
        application_name="psql",
        DateStyle="German",
        extra_float_digits="2",
    )
    assert login.options == "-c search_path=a,b -c DateStyle=SQL --work-mem=1MB"
    assert login.parameters["DateStyle"] == "German"
    assert login.settings == {
        "search_path": "a,b",
        "work_mem": "1MB",
        "application_name": "psql",
        "datestyle": "German",  # named by itself, it outweighs options
        "extra_float_digits": "2",
    }


@pytest.mark.parametrize("options", ["-c=", "-c", "-c =", "--", "x", "-c=" * 3000, "\\" * 9000])
def test_options_that_are_no_settings_are_refused_after_authentication(options: str) -> None:
    assert error_of(start_as("alice", "trust", options=options))["sqlstate"] == "42601"
    assert start_as("scram", options=options).step is Step.SASL_INITIAL


@pytest.mark.parametrize("value", ["true", "on", "1", "yes", "database", "maybe"])
def test_replication_is_told_from_an_ordinary_session(value: str) -> None:
    login = start_as("alice", "trust", replication=value)
    assert (login.step, login.is_replication) == (Step.AUTHENTICATED, True)
    assert login.settings == {}


@pytest.mark.parametrize("value", ["false", "off", "0", "no", "OFF", ""])
def test_no_replication_is_an_ordinary_session(value: str) -> None:
    login = start_as("alice", "trust", replication=value)
    assert (login.step, login.is_replication) == (Step.AUTHENTICATED, False)
    assert login.settings == {}


@pytest.mark.parametrize("parameters", [{}, {"user": ""}, {"database": "app"}])
def test_client_without_a_name_is_refused(parameters: dict[str, str]) -> None:
    assert error_of(log_in("trust", messages.build_startup_message(parameters)))["sqlstate"] == "28000"


@pytest.mark.parametrize("version", [(2, 0), (4, 0), (1234, 5681), (0, 0), (65535, 65535)])
def test_other_protocol_is_refused_by_its_name(version: tuple[int, int]) -> None:
    error = error_of(log_in("trust", messages.build_startup_message({"user": "alice"}, version)))
    assert error["sqlstate"] == "0A000"
    assert f"{version[0]}.{version[1]}" in error["message"]


@pytest.mark.parametrize(
    ("asked", "spoken", "is_told"),
    [
        ((3, 0), (3, 0), False),
        ((3, 1), (3, 1), False),
        ((3, 2), (3, 2), False),
        ((3, 3), (3, 2), True),
        ((3, 9999), (3, 2), True),
    ],
)
def test_newer_minor_version_is_negotiated_down(
    asked: tuple[int, int], spoken: tuple[int, int], is_told: bool
) -> None:
    login = log_in("trust", messages.build_startup_message({"user": "a", "database": "app"}, asked))
    assert login.protocol_version == spoken
    told = messages.build_negotiate_protocol_version(spoken, []) if is_told else b""
    assert login.take_outgoing() == told


def test_unknown_protocol_options_are_named_before_anything_else_is_said() -> None:
    login = start_as("scram", **{"_pq_.a": "1", "_pq_.b": "2"})
    negotiate, ask = sent_by(login)
    assert messages.parse_negotiate_protocol_version(negotiate.body) == ((3, 0), ["_pq_.a", "_pq_.b"])
    assert ask.kind == b"R"
    assert "_pq_.a" not in login.parameters


def test_long_cancel_key_is_only_for_protocol_3_2() -> None:
    new = log_in("trust", messages.build_startup_message({"user": "a", "database": "app"}, (3, 2)))
    assert b"K" + (8 + 256).to_bytes(4, "big") in new.admit(WELCOME, 1, bytes(256))
    old = log_in("trust", STARTUP)
    with pytest.raises(ValueError, match="4 bytes"):
        old.admit(WELCOME, 1, bytes(8))
    assert old.step is Step.AUTHENTICATED


# ---- requests for cancel and encryption


@pytest.mark.parametrize("key", [b"1234", bytes(32), bytes(256)])
def test_cancel_request_is_only_remembered(key: bytes) -> None:
    login = log_in("scram-sha-256", messages.build_cancel_request(42, key) + b"more")
    assert login.step is Step.CANCEL
    assert login.cancel_request == (42, key)
    login.feed(STARTUP)
    assert (login.step, login.take_outgoing()) == (Step.CANCEL, b"")


def test_requests_for_encryption_are_answered_once_each() -> None:
    login = log_in("trust")
    for request in (messages.build_gssenc_request(), messages.build_ssl_request()):
        login.feed(request)
        assert (login.step, login.take_outgoing()) == (Step.STARTUP, b"N")
    login.feed(STARTUP)
    assert login.step is Step.AUTHENTICATED


@pytest.mark.parametrize("request_packet", [messages.build_ssl_request(), messages.build_gssenc_request()])
def test_second_request_for_the_same_encryption_is_refused(request_packet: bytes) -> None:
    login = log_in("trust", request_packet)
    login.take_outgoing()
    login.feed(request_packet)
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("request_packet", [messages.build_ssl_request(), messages.build_gssenc_request()])
@pytest.mark.parametrize("rest", [STARTUP, messages.build_cancel_request(1, b"1234"), b"x"])
def test_bytes_sent_before_the_answer_to_a_request_for_encryption_are_refused(
    request_packet: bytes, rest: bytes
) -> None:
    assert "unencrypted" in error_of(log_in("trust", request_packet + rest))["message"]
    assert "unencrypted" in error_of(log_in("trust", request_packet, rest))["message"]


# ---- start-up packets that are none


@pytest.mark.parametrize(
    "packet",
    [
        b"\0\0\0\0",
        b"\0\0\0\x07",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\x27\x11",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        QUERY,
        b"\0\0\0\x10\0\3\0\0user\0a\0x",
        messages.build_startup_message({"user": "a"})[:-1] + b"x",
    ],
)
def test_malformed_start_up_is_refused(packet: bytes) -> None:
    for pieces in ([packet], [packet[index : index + 1] for index in range(len(packet))]):
        assert error_of(log_in("trust", *pieces))["sqlstate"] == "08P01"


def test_oversized_start_up_is_refused_at_its_length_and_nothing_is_kept() -> None:
    login = log_in("trust", (10_001).to_bytes(4, "big"))
    assert error_of(login)["sqlstate"] == "08P01"
    login.feed(b"x" * 100_000)
    assert not login._buffer


@pytest.mark.parametrize("user", ["alice", "nobody", "scram"])
def test_start_up_cut_short_waits_and_says_nothing(user: str) -> None:
    packet = messages.build_startup_message({"user": user, "database": "app"})
    for cut in range(len(packet)):
        login = log_in("scram-sha-256", packet[:cut])
        assert (login.step, login.take_outgoing()) == (Step.STARTUP, b"")
        login.feed(packet[cut:])
        assert login.step is Step.SASL_INITIAL


# ---- passwords


@pytest.mark.parametrize(
    ("auth_type", "user"),
    [("password", "plain"), ("md5", "plain"), ("scram-sha-256", "scram"), ("password", "nobody")],
)
@pytest.mark.parametrize(
    "second",
    [
        STARTUP,
        messages.build_startup_message({"user": "scram", "database": "nowhere"}),
        QUERY,
        b"X\0\0\0\x04",
        b"\xff",
    ],
)
def test_only_a_password_may_follow_the_question_for_it(auth_type: str, user: str, second: bytes) -> None:
    for pieces in ([second], [second[:1], second[1:]]):
        login = start_as(user, auth_type)
        assert sent_by(login)
        for piece in pieces:
            login.feed(piece)
        assert error_of(login)["sqlstate"] == "08P01"
        assert login.user == user


def test_second_start_up_in_the_middle_of_scram_does_not_change_who_it_is() -> None:
    """The case of CVE-2026-107350 in another pooler: there it led to the log-in of somebody else."""
    login = start_as("scram")
    client = ScramClient(PASSWORD, b"nonce")
    login.feed(messages.build_sasl_initial_response("SCRAM-SHA-256", client.begin()))
    assert login.step is Step.SASL_FINAL
    challenge = sent_by(login)[-1].body[4:]
    other = messages.build_startup_message({"user": "postgres", "database": "nowhere"})
    login.feed(other + messages.build_sasl_response(client.respond(challenge)))
    assert error_of(login)["message"] == "a second start-up packet"
    assert (login.user, login.step) == ("scram", Step.REFUSED)


@pytest.mark.parametrize(
    ("auth_type", "user", "limit"),
    [
        ("password", "plain", MAX_PASSWORD_BYTES),
        ("md5", "plain", MAX_MD5_BYTES),
        ("scram-sha-256", "scram", MAX_SASL_BYTES),
    ],
)
@pytest.mark.parametrize("over", [1, 1 << 30])
def test_oversized_password_is_refused_at_its_length(
    auth_type: str, user: str, limit: int, over: int
) -> None:
    login = start_as(user, auth_type)
    login.take_outgoing()
    login.feed(b"p" + limit.to_bytes(4, "big"))
    assert login.step is not Step.REFUSED
    login = start_as(user, auth_type)
    login.take_outgoing()
    login.feed(b"p" + (limit + over).to_bytes(4, "big"))
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("length", [-1, 0, 3])
@pytest.mark.parametrize("auth_type", ["password", "md5", "scram-sha-256"])
def test_impossible_length_of_a_password_is_refused(auth_type: str, length: int) -> None:
    login = start_as("plain", auth_type)
    login.feed(b"p" + length.to_bytes(4, "big", signed=True))
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("body", [b"", b"no terminator", b"two\0strings\0", PASSWORD + b"\0\0"])
def test_password_that_is_not_one_string_is_malformed(body: bytes) -> None:
    login = start_as("plain", "password")
    login.feed(messages.build_message(b"p", body))
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("auth_type", ["password", "md5"])
def test_empty_password_lets_nobody_in(auth_type: str) -> None:
    for user in ("plain", "md5", "empty", "nobody"):
        login = start_as(user, auth_type)
        login.feed(messages.build_password_message(b""))
        assert error_of(login)["sqlstate"] == "28P01"


def test_md5_salt_is_another_each_time() -> None:
    salts = {sent_by(start_as("plain", "md5"))[0].body for _ in range(20)}
    assert len(salts) > 15


def test_only_scram_is_offered_and_only_scram_is_accepted() -> None:
    login = start_as("scram")
    assert login.take_outgoing() == messages.build_authentication_sasl(["SCRAM-SHA-256"])
    login.feed(messages.build_sasl_initial_response("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abc"))
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize(
    "body", [b"SCRAM-SHA-256\0\xff\xff\xff\xff", b"SCRAM-SHA-256\0", b"SCRAM-SHA-256", b"", b"\0" * 20]
)
def test_malformed_sasl_initial_response_is_refused(body: bytes) -> None:
    login = start_as("scram")
    login.feed(messages.build_message(b"p", body))
    assert error_of(login)["sqlstate"] == "08P01"


@pytest.mark.parametrize("user", ["scram", "plain", "md5", "nobody"])
def test_malformed_scram_is_the_same_error_for_every_user(user: str) -> None:
    login = start_as(user)
    login.feed(messages.build_sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
    nonce = sent_by(login)[-1].body[4:].split(b",")[0]
    login.feed(messages.build_sasl_response(b"c=biws," + nonce[:-1] + b",p=" + b64encode(bytes(32))))
    assert error_of(login)["message"] == "invalid SCRAM response: the nonce does not match"


def test_derived_verifier_is_kept_for_the_next_log_in() -> None:
    doors = make_doors("scram-sha-256")
    secret = doors.find_secret("plain")
    assert doors.find_verifier("plain", secret) is doors.find_verifier("plain", secret)


# ---- refusals by the caller


def test_caller_refuses_an_authenticated_client_with_its_own_reason() -> None:
    login = log_in("trust", STARTUP)
    refused = login.refuse(Refusal.NO_POSTGRESQL, "the database system is starting up", server="/tmp:5432")
    fields = parse_error_fields(split_messages(refused)[0][0].body)
    assert fields["sqlstate"] == "57P03"
    assert fields["detail"] == "the database system is starting up"
    assert (login.step, login.refusal) == (Step.REFUSED, Refusal.NO_POSTGRESQL)
    assert login.reason == "PostgreSQL at /tmp:5432 cannot be used now"


@pytest.mark.parametrize("pieces", [[], [STARTUP[:5]], [STARTUP]])
def test_log_in_that_takes_too_long_is_refused_wherever_it_stands(pieces: list[bytes]) -> None:
    login = log_in("scram-sha-256", *pieces)
    assert b"C57014\0" in login.refuse(Refusal.LOGIN_TIMEOUT, timeout="60s")
    assert login.step is Step.REFUSED


def test_nothing_is_admitted_that_is_not_authenticated() -> None:
    for login in (log_in("trust"), log_in("scram-sha-256", STARTUP), log_in("trust", b"\0\0\0\0")):
        step = login.step
        with pytest.raises(StepError):
            login.admit(WELCOME, 1, b"key!")
        assert login.step is step


def test_ended_log_in_is_not_refused_again() -> None:
    login = log_in("trust", STARTUP)
    login.admit(WELCOME, 1, b"key!")
    with pytest.raises(StepError):
        login.refuse(Refusal.SHUTTING_DOWN)


def test_hostile_user_name_is_quoted_and_not_understood() -> None:
    user = '{secret}" \udcff\n%s'
    login = start_as(user, "password")
    login.feed(messages.build_password_message(b"x"))
    assert error_of(login)["message"] == 'password authentication failed for user "{secret}" ?\n%s"'


# ---- anything at all


@given(
    auth_type=st.sampled_from(["trust", "password", "md5", "scram-sha-256"]),
    user=st.sampled_from(["plain", "md5", "scram", "nobody"]),
    prefix=st.integers(0, 3),
    data=st.lists(st.binary(max_size=80), max_size=4),
)
@settings(deadline=None)
def test_random_bytes_never_raise_and_never_open_the_door(
    auth_type: str, user: str, prefix: int, data: list[bytes]
) -> None:
    start = messages.build_startup_message({"user": user, "database": "app"})
    begin = messages.build_sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc")
    login = ClientLogin(make_doors(auth_type))
    for piece in [b"", start, start, start][prefix : prefix + 1]:
        login.feed(piece)
    if prefix > 1 and login.step is Step.SASL_INITIAL:
        login.feed(begin)
    asked = login.step in (Step.PASSWORD, Step.SASL_INITIAL, Step.SASL_FINAL)
    for piece in data:
        login.feed(messages.build_message(b"p", piece) if prefix == 3 else piece)
        login.take_outgoing()
    assert isinstance(login.step, Step)
    if asked:
        assert login.step is not Step.AUTHENTICATED


@given(st.binary(max_size=60), st.data())
@settings(deadline=None)
def test_the_cut_makes_no_difference(tail: bytes, data: st.DataObject) -> None:
    stream = messages.build_startup_message({"user": "plain", "database": "app"})
    stream += messages.build_password_message(PASSWORD) + tail
    whole = log_in("password", stream)
    cut = data.draw(st.integers(0, len(stream)))
    halves = log_in("password", stream[:cut], stream[cut:])
    assert (whole.step, whole.take_outgoing()) == (halves.step, halves.take_outgoing())
    assert whole.step is Step.AUTHENTICATED
    assert whole.admit(WELCOME, 1, b"key!") == halves.admit(WELCOME, 1, b"key!")
    assert whole.rest == halves.rest == tail


# ---- TLS


def ask_for_tls(mode: TlsMode, *pieces: bytes) -> ClientLogin:
    login = ClientLogin(make_doors("trust"), tls_mode=mode)
    for piece in pieces:
        login.feed(piece)
    return login


SSL_REQUEST, GSSENC_REQUEST = messages.build_ssl_request(), messages.build_gssenc_request()
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"  # its beginning, which is all that is looked at
MODES: list[TlsMode] = ["allow", "prefer", "require", "verify-ca", "verify-full"]


@pytest.mark.parametrize("mode", MODES)
def test_tls_is_granted_and_the_log_in_goes_on_under_it(mode: TlsMode) -> None:
    login = ask_for_tls(mode, SSL_REQUEST)
    assert (login.step, login.take_outgoing(), login.take_ciphertext()) == (Step.ENCRYPTING, b"S", b"")
    login.secure("")
    assert (login.step, login.is_encrypted) == (Step.STARTUP, True)
    login.feed(STARTUP)
    assert login.step is Step.AUTHENTICATED


@pytest.mark.parametrize("mode", MODES)
def test_without_tls_only_the_lenient_modes_let_in(mode: TlsMode) -> None:
    login = ask_for_tls(mode, STARTUP)
    if mode in ("allow", "prefer"):
        assert login.step is Step.AUTHENTICATED
        return
    fields = error_of(login)
    assert fields["sqlstate"] == "28000"
    assert mode in fields["message"]
    assert "sslmode=require" in fields["hint"]


def test_a_cancel_request_needs_no_tls() -> None:
    assert ask_for_tls("verify-full", messages.build_cancel_request(1, b"1234")).step is Step.CANCEL


def test_gssapi_is_declined_and_tls_granted_after_it() -> None:
    login = ask_for_tls("require", GSSENC_REQUEST)
    assert login.take_outgoing() == b"N"
    login.feed(SSL_REQUEST)
    assert (login.step, login.take_outgoing()) == (Step.ENCRYPTING, b"S")


@pytest.mark.parametrize("more", [b"\x16", STARTUP, b"Q"])
def test_bytes_smuggled_in_behind_the_request_for_tls_are_refused(more: bytes) -> None:
    login = ask_for_tls("require", SSL_REQUEST + more)
    assert error_of(login)["message"] == "received unencrypted data after a request for encryption"


@pytest.mark.parametrize("request_packet", [SSL_REQUEST, GSSENC_REQUEST])
def test_under_tls_nothing_more_is_encrypted(request_packet: bytes) -> None:
    login = ask_for_tls("require", SSL_REQUEST)
    login.take_outgoing()
    login.secure("")
    login.feed(request_packet)
    assert error_of(login)["sqlstate"] == "08P01"


def test_direct_tls_is_known_by_its_first_byte_and_needs_its_protocol() -> None:
    login = ask_for_tls("require", CLIENT_HELLO)
    assert (login.step, login.is_direct) == (Step.ENCRYPTING, True)
    assert (login.take_outgoing(), login.take_ciphertext()) == (b"", CLIENT_HELLO)
    login.secure("postgresql")
    login.feed(STARTUP)
    assert login.step is Step.AUTHENTICATED


@pytest.mark.parametrize("protocol", ["", "h2"])
def test_direct_tls_without_its_protocol_is_refused(protocol: str) -> None:
    login = ask_for_tls("require", CLIENT_HELLO)
    login.take_ciphertext()
    login.secure(protocol)
    assert 'ALPN protocol "postgresql"' in error_of(login)["message"]


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_direct_tls_where_it_cannot_be_is_refused_by_its_name(mode: TlsMode) -> None:
    pieces = [CLIENT_HELLO] if mode == "disable" else [GSSENC_REQUEST, CLIENT_HELLO]
    login = ask_for_tls(mode, *pieces)
    assert "TLS, which is not offered here" in error_of(login)["message"]


def test_a_failed_handshake_is_told_to_the_log_alone() -> None:
    login = ask_for_tls("require", SSL_REQUEST)
    login.take_outgoing()
    login.lose("unknown ca")
    assert (login.step, login.reason, login.take_outgoing()) == (
        Step.REFUSED,
        "TLS handshake: unknown ca",
        b"",
    )
    login = ask_for_tls("require", SSL_REQUEST)
    login.lose("")
    assert login.reason == ""


def test_a_handshake_that_takes_too_long_is_refused() -> None:
    login = ask_for_tls("require", SSL_REQUEST)
    login.refuse(Refusal.LOGIN_TIMEOUT, timeout="60s")
    assert login.step is Step.REFUSED
