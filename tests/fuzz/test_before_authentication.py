"""Everything that is parsed before it is clear who speaks, fed with what is nearly right.

A run is bounded: so many examples of each test. PGMUX_FUZZ=100000 has it try more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgmux.errors import ConfigError
from pgmux.protocol import messages
from pgmux.protocol.errors import BackendProtocolError, ClientProtocolError, OptionsError
from pgmux.protocol.messages import split_messages
from pgmux.protocol.scram import NONCE_BYTES, ScramClient, ScramKeysError, make_nonce
from pgmux.protocol.scram_server import ScramServer, forget_stock
from pgmux.protocol.startup import MAX_PACKET_BYTES, parse_options
from pgmux.session.auth_file import parse_auth_file
from pgmux.session.backend_login import BackendLogin
from pgmux.session.client_login import ClientLogin, Step
from pgmux.session.hba import parse_hba_file
from pgmux.session.ident_map import parse_ident_file
from pgmux.session.introduction import introduce
from pgmux.session.proof import MAX_PASSWORD_BYTES
from tests.fuzz.mutations import cut, mutated
from tests.session.connection_pair import PASSWORD, VERIFIER, make_doors

EXAMPLES = int(os.environ.get("PGMUX_FUZZ", "200"))
bounded = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NONCE_TEXT = make_nonce(bytes(NONCE_BYTES))
STARTUP = messages.build_startup_message(
    {"user": "scram", "database": "app", "options": "-c a=b --c=d", "application_name": "x", "_pq_.y": "z"}
)
REQUESTS = messages.build_ssl_request() + messages.build_gssenc_request()
CANCEL = messages.build_cancel_request(1, b"1234")


@pytest.fixture(autouse=True, scope="module")
def _no_randomness() -> Iterator[None]:
    """So that a conversation with a server's nonce in it can be written down before it happens."""
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "urandom", bytes)
    forget_stock()
    yield
    patch.undo()
    forget_stock()


def conversation(auth_type: str, password: bytes = PASSWORD) -> bytes:
    """All that a client says that gets in as `scram`."""
    if auth_type == "password":
        return STARTUP + messages.build_password_message(password)
    client = ScramClient(password, b"client-nonce")
    server = ScramServer(VERIFIER, NONCE_TEXT)
    first = client.begin()
    final = client.respond(server.challenge(first))
    return (
        STARTUP
        + messages.build_sasl_initial_response("SCRAM-SHA-256", first)
        + messages.build_sasl_response(final)
    )


def feed(auth_type: str, pieces: list[bytes]) -> ClientLogin:
    """A log-in that hears the pieces, and what must be true of it after each."""
    login = ClientLogin(make_doors(auth_type))
    for piece in pieces:
        login.feed(piece)
        split_messages(login.take_outgoing().lstrip(b"N"))
        assert len(login._buffer) <= max(MAX_PASSWORD_BYTES, MAX_PACKET_BYTES) + len(piece)
    return login


@pytest.mark.parametrize("auth_type", ["password", "scram-sha-256"])
def test_the_conversation_is_right_before_it_is_changed(auth_type: str) -> None:
    assert feed(auth_type, [conversation(auth_type)]).step is Step.AUTHENTICATED


@pytest.mark.parametrize("auth_type", ["password", "scram-sha-256", "md5"])
@given(data=st.data())
@bounded
def test_a_changed_conversation_never_raises_and_lets_in_nobody_else(
    auth_type: str, data: st.DataObject
) -> None:
    right = conversation("password" if auth_type == "password" else "scram-sha-256")
    changed = data.draw(mutated(right))
    login = feed(auth_type, data.draw(cut(changed)))
    if login.step is Step.AUTHENTICATED:
        assert login.user == "scram"  # whose proof it was
        assert login.database == "app"


@pytest.mark.parametrize("auth_type", ["password", "scram-sha-256"])
@given(data=st.data())
@bounded
def test_a_wrong_password_never_lets_in_whatever_is_changed(auth_type: str, data: st.DataObject) -> None:
    wrong = data.draw(mutated(conversation(auth_type, b"guessed")))
    assert feed(auth_type, data.draw(cut(wrong))).step is not Step.AUTHENTICATED


@given(data=st.data(), before=st.sampled_from([b"", REQUESTS, CANCEL]))
@bounded
def test_where_the_bytes_are_cut_makes_no_difference(data: st.DataObject, before: bytes) -> None:
    changed = data.draw(mutated(before + conversation("password")))
    pieces = data.draw(cut(changed))
    one, many = ClientLogin(make_doors("password")), ClientLogin(make_doors("password"))
    one.feed(changed)
    for piece in pieces:
        many.feed(piece)
    assert (one.step, one.user, one.reason, one.take_outgoing()) == (
        many.step,
        many.user,
        many.reason,
        many.take_outgoing(),
    )


@given(data=st.data())
@bounded
def test_a_start_up_packet_is_understood_or_malformed(data: st.DataObject) -> None:
    with suppress(ClientProtocolError):
        introduce(data.draw(mutated(data.draw(st.sampled_from([STARTUP, REQUESTS[:8], CANCEL])))))


@given(st.text(st.sampled_from("-c=\\ \t\nab_,'\""), max_size=200))
@bounded
def test_options_are_settings_or_none(options: str) -> None:
    """CVE-2026-107349 of another pooler was an endless loop here."""
    with suppress(OptionsError):
        parsed = parse_options(options)
        assert "" not in parsed
        assert sum(map(len, parsed.values())) <= len(options)


@given(data=st.data())
@bounded
def test_a_server_is_believed_or_not_and_never_raises(data: st.DataObject) -> None:
    """What PostgreSQL, or whoever listens there, says to us when we log in."""
    server = ScramServer(VERIFIER, NONCE_TEXT)
    challenge = server.challenge(b"n,,n=,r=" + NONCE_TEXT)
    asked = messages.build_authentication_sasl(["SCRAM-SHA-256"])
    right = asked + messages.build_authentication_sasl_continue(challenge)
    login = BackendLogin("app", "open sesame", "app", {})
    login.start()
    for piece in data.draw(cut(data.draw(mutated(right)))):
        login.feed(piece)
    assert not login.is_done


@given(data=st.data())
@bounded
def test_scram_s_client_takes_a_challenge_or_refuses_it(data: st.DataObject) -> None:
    client = ScramClient(b"open sesame", b"client-nonce")
    client.begin()
    with suppress(BackendProtocolError, ScramKeysError):
        client.respond(
            data.draw(mutated(b"r=client-nonce" + NONCE_TEXT + b",s=MDEyMzQ1Njc4OWFiY2RlZg==,i=8"))
        )
    with suppress(BackendProtocolError):
        client.check(data.draw(mutated(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")))


Parse = Callable[[str, str], object]
FILES: dict[str, tuple[Parse, str]] = {
    "auth_file": (
        parse_auth_file,
        '"alice" "SCRAM-SHA-256$8:MDEyMzQ1Njc4OWFiY2RlZg==$AAAA:AAAA"\n; no\n"bob" "md5x""y"\n',
    ),
    "auth_hba_file": (
        lambda text, file: parse_hba_file(text, file, {}),
        'host all,"a""b" c 10.0.0.0/8 md5 \\\n # x\nlocal all all peer\n',
    ),
    "auth_ident_file": (parse_ident_file, 'm /^(.*)@x$ \\1\nm "a b" all\n'),
}


@pytest.mark.parametrize("option", FILES)
@given(data=st.data())
@bounded
def test_a_file_is_read_or_its_lines_are_named(option: str, data: st.DataObject) -> None:
    parse, text = FILES[option]
    changed = data.draw(mutated(text.encode())).decode("utf-8", "surrogateescape")
    with suppress(ConfigError):
        parse(changed, "file")
