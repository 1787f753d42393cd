"""SCRAM-SHA-256 against the example of RFC 7677, the library scramp, and liars at either end."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any

import pytest
import scramp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scramp.utils import saslprep as scramp_saslprep

from pgmux.protocol.errors import BackendProtocolError, ClientProtocolError
from pgmux.protocol.saslprep import prepare_password, saslprep
from pgmux.protocol.scram import (
    MAX_ITERATIONS,
    MECHANISM,
    MECHANISM_PLUS,
    ScramClient,
    ScramKeysError,
    ScramVerifier,
    derive_verifier,
    format_verifier,
    make_nonce,
    parse_verifier,
)
from pgmux.protocol.scram_server import ScramServer

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
VERIFIER = derive_verifier(b"pencil", SALT, 4096)  # RFC 7677 section 3
CLIENT_NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def quick_verifier(password: bytes) -> ScramVerifier:
    return derive_verifier(password, b"0123456789abcdef", 1)


def run(client: ScramClient, server: ScramServer) -> bytes | None:
    return server.verify(client.respond(server.challenge(client.begin())))


# ---- both sides, right and wrong


def test_server_follows_the_example_of_the_rfc() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    assert server.challenge(CLIENT_FIRST) == SERVER_FIRST
    assert server.verify(CLIENT_FINAL) == SERVER_FINAL


def test_client_and_server_agree_and_the_server_is_trusted() -> None:
    client = ScramClient(b"pencil", CLIENT_NONCE)
    outcome = run(client, ScramServer(VERIFIER, SERVER_NONCE))
    assert outcome is not None
    client.check(outcome)


def test_wrong_password_is_an_answer_and_no_error() -> None:
    assert run(ScramClient(b"Pencil", CLIENT_NONCE), ScramServer(VERIFIER, SERVER_NONCE)) is None


def test_client_that_thinks_we_lack_channel_binding_is_right() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    server.challenge(b"y,,n=,r=abc")
    with pytest.raises(ClientProtocolError, match="channel binding"):
        server.verify(b"c=biws,r=abc" + SERVER_NONCE + b",p=" + b64encode(bytes(32)))


# ---- channel binding


END_POINT = hashlib.sha256(b"a certificate").digest()
BOTH = (MECHANISM_PLUS, MECHANISM)


def run_bound(client: ScramClient, server: ScramServer) -> bytes | None:
    return server.verify(client.respond(server.challenge(client.begin(), client.mechanism)))


def test_both_sides_bind_the_exchange_to_their_tls_connection() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, END_POINT)
    assert server.mechanisms == BOTH
    client = ScramClient(b"pencil", CLIENT_NONCE, server.mechanisms, END_POINT)
    assert client.mechanism == MECHANISM_PLUS
    assert client.begin().startswith(b"p=tls-server-end-point,,")
    outcome = run_bound(client, server)
    assert outcome is not None
    client.check(outcome)


def test_scramps_client_binds_itself_as_ours_does() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, END_POINT)
    client = scramp.ScramClient(
        list(server.mechanisms), "user", "pencil", channel_binding=("tls-server-end-point", END_POINT)
    )
    assert client.mechanism_name == MECHANISM_PLUS
    first = client.get_client_first().encode()
    client.set_server_first(server.challenge(first, MECHANISM_PLUS).decode())
    outcome = server.verify(client.get_client_final().encode())
    assert outcome is not None
    client.set_server_final(outcome.decode())


def test_an_exchange_passed_on_by_somebody_in_between_fails() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, END_POINT)
    client = ScramClient(b"pencil", CLIENT_NONCE, BOTH, hashlib.sha256(b"another certificate").digest())
    with pytest.raises(ClientProtocolError, match="channel binding does not match"):
        run_bound(client, server)


def test_hiding_channel_binding_from_a_client_that_could_is_noticed() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, END_POINT)
    client = ScramClient(b"pencil", CLIENT_NONCE, (MECHANISM,), END_POINT)
    assert client.begin().startswith(b"y,,")
    with pytest.raises(ClientProtocolError, match="hidden"):
        run_bound(client, server)


def test_a_client_that_cannot_bind_itself_need_not() -> None:
    assert run_bound(
        ScramClient(b"pencil", CLIENT_NONCE, BOTH), ScramServer(VERIFIER, SERVER_NONCE, END_POINT)
    )


@pytest.mark.parametrize(
    ("mechanism", "first", "end_point"),
    [
        (MECHANISM_PLUS, b"p=tls-server-end-point,,n=,r=abc", b""),
        (MECHANISM, b"p=tls-server-end-point,,n=,r=abc", END_POINT),
        (MECHANISM_PLUS, b"n,,n=,r=abc", END_POINT),
        (MECHANISM_PLUS, b"y,,n=,r=abc", END_POINT),
        (MECHANISM_PLUS, b"p=tls-unique,,n=,r=abc", END_POINT),
        ("SCRAM-SHA-1", b"n,,n=,r=abc", END_POINT),
    ],
)
def test_a_choice_that_does_not_suit_the_message_is_refused(
    mechanism: str, first: bytes, end_point: bytes
) -> None:
    with pytest.raises(ClientProtocolError):
        ScramServer(VERIFIER, SERVER_NONCE, end_point).challenge(first, mechanism)


# ---- keys


def test_a_good_proof_yields_keys_that_log_in_where_the_same_verifier_is_kept() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    assert run(ScramClient(b"pencil", CLIENT_NONCE), server)
    assert server.keys is not None
    elsewhere = ScramServer(VERIFIER, b"another-nonce")
    client = ScramClient(server.keys, b"mine")
    outcome = run(client, elsewhere)
    assert outcome is not None
    client.check(outcome)


def test_a_wrong_proof_yields_no_keys() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    assert run(ScramClient(b"guessed", CLIENT_NONCE), server) is None
    assert server.keys is None


def test_keys_are_of_no_use_with_another_salt_or_count() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    run(ScramClient(b"pencil", CLIENT_NONCE), server)
    assert server.keys is not None
    for other in (quick_verifier(b"pencil"), derive_verifier(b"pencil", SALT, 4097)):
        with pytest.raises(ScramKeysError):
            run(ScramClient(server.keys, b"mine"), ScramServer(other, SERVER_NONCE))


def test_keys_do_not_show_themselves() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    run(ScramClient(b"pencil", CLIENT_NONCE), server)
    assert repr(server.keys) == "ScramKeys(...)"


def test_optional_extensions_are_ignored_and_part_of_the_proof() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    first = server.challenge(CLIENT_FIRST + b",x=1")
    without_proof = b"c=biws,r=" + CLIENT_NONCE + SERVER_NONCE + b",y=2"
    assert server.verify(without_proof + b",p=" + proof_of(first, b",x=1", without_proof)) is not None


def proof_of(server_first: bytes, extension: bytes, without_proof: bytes) -> bytes:
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    message = CLIENT_FIRST[3:] + extension + b"," + server_first + b"," + without_proof
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    return b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))


# ---- another implementation at the other end

PASSWORDS = ["pencil", "p a s s", "pass,word=", "Zürich", "Ⅸ", "I\u00adX", "\u00a0x", "x" * 500]


@pytest.mark.parametrize("password", PASSWORDS)
def test_scramps_client_logs_in_at_our_server(password: str) -> None:
    verifier = derive_verifier(password.encode(), SALT, 4096)
    client: Any = scramp.ScramClient(["SCRAM-SHA-256"], "user", password)
    server = ScramServer(verifier, make_nonce(bytes(18)))
    client.set_server_first(server.challenge(client.get_client_first().encode()).decode())
    outcome = server.verify(client.get_client_final().encode())
    assert outcome is not None
    client.set_server_final(outcome.decode())


@pytest.mark.parametrize("password", PASSWORDS)
def test_scramp_derives_the_same_verifier(password: str) -> None:
    mechanism: Any = scramp.ScramMechanism("SCRAM-SHA-256")
    salt, stored_key, server_key, iterations = mechanism.make_auth_info(password, salt=SALT)
    assert derive_verifier(password.encode(), SALT, 4096) == (iterations, salt, stored_key, server_key)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
@example("\u05d0\u05d1")
@example("\u05d0a")
@example("a\u05d0")
@example("\u05d01")
@settings(deadline=None, max_examples=300)
def test_saslprep_agrees_with_scramps(text: str) -> None:
    try:
        expected = scramp_saslprep(text)
    except scramp.ScramException:
        with pytest.raises(ValueError):
            saslprep(text)
    else:
        assert saslprep(text) == expected


def test_password_without_a_prepared_form_is_taken_as_it_is() -> None:
    assert prepare_password(b"\x07bell") == b"\x07bell"  # ASCII never changes
    assert prepare_password(b"\xff\xfe") == b"\xff\xfe"  # not UTF-8
    assert prepare_password("\u00ad".encode()) == "\u00ad".encode()  # nothing would be left
    assert prepare_password("\u200b\ue000".encode()) == "\u200b\ue000".encode()  # private use is forbidden
    assert prepare_password("Ⅸ".encode()) == b"IX"


# ---- a client that lies

FULL_NONCE = CLIENT_NONCE + SERVER_NONCE
SOME_PROOF = b",p=" + b64encode(bytes(32))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,r=abc",
        b"n,,n=,",
        b"n,,n=",
        b"n,,n=,r=",
        b"n,,n=,r=a b",
        b"n,,n=,r=a\0b",
        b"n,,n=,r=\xc3\xa4",
        b"n,,m=ext,n=,r=abc",
        b"n,a=bob,n=,r=abc",
        b"p=tls-server-end-point,,n=,r=abc",
        b"p=,,n=,r=abc",
        b"x,,n=,r=abc",
        b"N,,n=,r=abc",
        b"\0" * 40,
    ],
)
def test_malformed_first_message_is_the_clients_error(message: bytes) -> None:
    with pytest.raises(ClientProtocolError):
        ScramServer(VERIFIER, SERVER_NONCE).challenge(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=" + FULL_NONCE,
        b"c=biws,r=" + FULL_NONCE + b",p=",
        b"c=biws,r=" + FULL_NONCE + b",p=!!!!",
        b"c=biws,r=" + FULL_NONCE + b",p=" + b64encode(bytes(31)),
        b"c=biws,r=" + FULL_NONCE + b",p=" + b64encode(bytes(33)),
        b"c=biws,r=" + FULL_NONCE + SOME_PROOF + b",x=1",
        b"c=biws,r=" + CLIENT_NONCE + SOME_PROOF,
        b"c=biws,r=" + SERVER_NONCE + SOME_PROOF,
        b"c=biws,r=" + FULL_NONCE + b"x" + SOME_PROOF,
        b"c=biws,r=" + SOME_PROOF,
        b"c=eSws,r=" + FULL_NONCE + SOME_PROOF,
        b"c=,r=" + FULL_NONCE + SOME_PROOF,
        b"r=" + FULL_NONCE + b",c=biws" + SOME_PROOF,
        b"r=" + FULL_NONCE + SOME_PROOF,
        b",p=",
    ],
)
def test_malformed_final_message_is_the_clients_error(message: bytes) -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    server.challenge(CLIENT_FIRST)
    with pytest.raises(ClientProtocolError):
        server.verify(message)


def test_proof_of_zeros_convinces_nobody() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    server.challenge(CLIENT_FIRST)
    assert server.verify(b"c=biws,r=" + FULL_NONCE + SOME_PROOF) is None


def test_proof_of_another_exchange_convinces_nobody() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE)
    server.challenge(CLIENT_FIRST + b"X")
    replayed = CLIENT_FINAL.replace(FULL_NONCE, CLIENT_NONCE + b"X" + SERVER_NONCE)
    assert server.verify(replayed) is None


@given(st.binary(max_size=120), st.binary(max_size=200))
@settings(deadline=None)
def test_random_messages_of_a_client_raise_nothing_but_its_error(first: bytes, final: bytes) -> None:
    for opening in (first, b"n,,n=,r=" + first):
        server = ScramServer(quick_verifier(b"x"), SERVER_NONCE)
        try:
            nonce = server.challenge(opening).split(b",")[0]
        except ClientProtocolError:
            continue
        for closing in (
            final,
            b"c=biws," + nonce + b"," + final,
            b"c=biws," + nonce + b",p=" + b64encode(final),
        ):
            with suppress(ClientProtocolError):
                assert server.verify(closing) is None


# ---- a server that lies


def respond_to(challenge: bytes) -> bytes:
    client = ScramClient(b"pencil", b"abc")
    client.begin()
    return client.respond(challenge)


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"e=other-error",
        b"r=abcdef",
        b"r=abcdef,s=AAAA",
        b"s=AAAA,r=abcdef,i=1",
        b"m=x,r=abcdef,s=AAAA,i=1",
        b"r=abc,s=AAAA,i=1",
        b"r=xyzabc,s=AAAA,i=1",
        b"r=abc\xff,s=AAAA,i=1",
        b"r=abcdef,s=,i=1",
        b"r=abcdef,s=A!AA,i=1",
        b"r=abcdef,s=AAAA,i=0",
        b"r=abcdef,s=AAAA,i=-1",
        b"r=abcdef,s=AAAA,i=",
        b"r=abcdef,s=AAAA,i=1e3",
        b"r=abcdef,s=AAAA,i=%d" % (MAX_ITERATIONS + 1),
        b"r=abcdef,s=AAAA,i=4294967296",
        b"r=abcdef,s=AAAA,i=" + b"9" * 5000,
    ],
)
def test_malformed_challenge_is_the_backends_error(challenge: bytes) -> None:
    with pytest.raises(BackendProtocolError):
        respond_to(challenge)


def test_one_iteration_is_enough_for_postgresql_and_so_for_us() -> None:
    client = ScramClient(b"pw", b"abc")
    outcome = run(client, ScramServer(quick_verifier(b"pw"), SERVER_NONCE))
    assert outcome is not None
    client.check(outcome)


@pytest.mark.parametrize("outcome", [b"", b"v=", b"v=AAAA", b"e=invalid-proof", SERVER_FINAL])
def test_server_that_cannot_prove_itself_is_not_trusted(outcome: bytes) -> None:
    client = ScramClient(b"pencil", b"abc")
    client.respond(b"r=abcdef,s=AAAA,i=1")
    with pytest.raises(BackendProtocolError, match="prove"):
        client.check(outcome)


def test_server_is_not_trusted_before_it_was_challenged() -> None:
    with pytest.raises(BackendProtocolError):
        ScramClient(b"pencil", b"abc").check(b"v=")


@given(st.binary(max_size=100), st.binary(max_size=60))
@settings(deadline=None)
def test_random_messages_of_a_server_raise_nothing_but_its_error(challenge: bytes, outcome: bytes) -> None:
    for opening in (challenge, b"r=abc" + challenge + b",s=AAAA,i=1"):
        client = ScramClient(b"pencil", b"abc")
        with suppress(BackendProtocolError):
            client.respond(opening)
        with pytest.raises(BackendProtocolError):
            client.check(outcome)


# ---- verifiers


def test_verifier_is_read_as_postgresql_writes_it() -> None:
    # ALTER ROLE ... PASSWORD 'pencil' with the salt of RFC 7677
    text = format_verifier(VERIFIER)
    assert text.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert parse_verifier(text) == VERIFIER


KEY = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256$",
        f"SCRAM-SHA-1$4096:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096${KEY}:{KEY}",
        f"SCRAM-SHA-256$:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$0:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$-1:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096x:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$٤:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256${MAX_ITERATIONS + 1}:AAAA${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:A*AA${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:äöü${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:AAAA${KEY}",
        f"SCRAM-SHA-256$4096:AAAA${KEY}:AAAA",
        f"SCRAM-SHA-256$4096:AAAA$AAAA:{KEY}",
        f"SCRAM-SHA-256$4096:AAAA${KEY}:{KEY}$",
        f"SCRAM-SHA-256$4096:AAAA${KEY}:{KEY}:{KEY}",
        f" SCRAM-SHA-256$4096:AAAA${KEY}:{KEY}",
    ],
)
def test_verifier_with_a_wrong_part_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_verifier(text)
    assert KEY not in str(caught.value)


def test_iteration_counts_up_to_the_bound_are_taken() -> None:
    for count in (1, 4095, MAX_ITERATIONS):
        assert parse_verifier(f"SCRAM-SHA-256${count}:AAAA${KEY}:{KEY}").iterations == count


def test_verifier_does_not_show_itself() -> None:
    assert "=" not in repr(VERIFIER)
    assert "=" not in f"{VERIFIER} {[VERIFIER]}"
