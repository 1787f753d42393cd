"""One connection's TLS, against Python's own: what comes in any pieces, what goes wrong, who is who."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from pgmux.relay.tls import Tls
from pgmux.relay.tls_context import TICKET_KEY_BYTES, TLS_1_2, TLS_1_3, TlsContext, TlsError
from tests.servers.certificates import Authority, Certificate


class Application:
    """A client, by Python's ssl module, without a socket."""

    def __init__(
        self, context: ssl.SSLContext, name: str = "localhost", session: ssl.SSLSession | None = None
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)

    def shake_hands(self, tls: Tls, piece: int = 1 << 20) -> None:
        """Both sides speak until all is said; at most `piece` bytes reach `tls` at a time."""
        for _ in range(4):
            with suppress(ssl.SSLWantReadError):
                self.ssl.do_handshake()
            self.hear(b"".join(answer for _, answer in self.say(tls, piece)))

    def is_turned_away(self, tls: Tls) -> None:
        """Shakes hands, in vain: with TLS 1.3 the client hears of it when it reads for the first time."""
        try:
            self.shake_hands(tls)
            self.ssl.read()
        except ssl.SSLError:
            return
        raise AssertionError("it was let in")

    def say(self, tls: Tls, piece: int = 1 << 20) -> list[tuple[bytes, bytes]]:
        """What `tls` makes of all that the application has to say."""
        data = self._outgoing.read()
        return [tls.unseal(data[at : at + piece]) for at in range(0, len(data), piece)]

    def hear(self, data: bytes) -> None:
        self._incoming.write(data)

    def read_all(self) -> bytes:
        received = b""
        while True:
            try:
                chunk = self.ssl.read(65536)
            except ssl.SSLWantReadError:
                return received
            if not chunk:
                return received
            received += chunk


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.certify()


def for_clients(certificate: Certificate, **more: Any) -> TlsContext:
    return TlsContext(True, cert_file=certificate.cert_file, key_file=certificate.key_file, **more)


def pair(
    authority: Authority, context: TlsContext, client: Certificate | None = None, **more: Any
) -> tuple[Application, Tls]:
    """Both ends of a connection whose handshake is done."""
    application, tls = Application(authority.trusting(client, **more)), Tls(context)
    application.shake_hands(tls)
    return application, tls


@pytest.mark.parametrize("is_in_file", [True, False])
def test_what_lies_between_our_certificate_and_its_authority_is_shown(
    tmp_path: Path, is_in_file: bool
) -> None:
    """From the certificate's file, or else from that of the authorities."""
    root = trustme.CA()
    between = root.create_child_ca()
    ours = between.issue_cert("localhost")
    cert_file, key_file, ca_file = (tmp_path / name for name in ("our.crt", "our.key", "authorities.crt"))
    chain = ours.cert_chain_pems if is_in_file else ours.cert_chain_pems[:1]
    cert_file.write_bytes(b"".join(blob.bytes() for blob in chain))
    key_file.write_bytes(ours.private_key_pem.bytes())
    ca_file.write_bytes(between.cert_pem.bytes() + root.cert_pem.bytes())
    context = TlsContext(
        True, cert_file=str(cert_file), key_file=str(key_file), ca_file="" if is_in_file else str(ca_file)
    )
    trusting = ssl.create_default_context()
    root.configure_trust(trusting)
    application, tls = Application(trusting), Tls(context)
    application.shake_hands(tls)
    assert tls.is_secured


@pytest.mark.parametrize(("newest", "name"), [(TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")])
def test_both_versions_carry_bytes_both_ways(
    authority: Authority, certificate: Certificate, newest: int, name: str
) -> None:
    application, tls = pair(authority, for_clients(certificate, newest=newest))
    assert tls.is_secured
    assert tls.describe().startswith(f"{name}/")
    application.ssl.write(b"hello")
    assert application.say(tls) == [(b"hello", b"")]
    application.hear(tls.seal_bytes(b"x" * 100_000))
    assert application.read_all() == b"x" * 100_000


@pytest.mark.parametrize("piece", [1, 2, 5, 7, 100, 1000])
def test_a_handshake_may_come_in_any_pieces(
    authority: Authority, certificate: Certificate, piece: int
) -> None:
    application, tls = Application(authority.trusting()), Tls(for_clients(certificate))
    application.shake_hands(tls, piece)
    assert tls.is_secured
    application.ssl.write(b"a" * 40_000)
    assert b"".join(plain for plain, _ in application.say(tls, piece * 97)) == b"a" * 40_000


def test_half_a_record_gives_nothing_yet(authority: Authority, certificate: Certificate) -> None:
    application, tls = pair(authority, for_clients(certificate))
    application.ssl.write(b"hello")
    data = application._outgoing.read()
    assert [tls.unseal(data[:1]), tls.unseal(data[1:-1]), tls.unseal(data[-1:])] == [
        (b"", b""), (b"", b""), (b"hello", b""),
    ]  # fmt: skip


def test_several_connections_share_the_buffers_and_nothing_else(
    authority: Authority, certificate: Certificate
) -> None:
    context = for_clients(certificate)
    pairs = [pair(authority, context) for _ in range(5)]
    halves = []
    for number, (application, _) in enumerate(pairs):
        application.ssl.write(b"%d" % number * 5000)
        halves.append(application._outgoing.read())
    for (_, tls), data in zip(pairs, halves, strict=True):
        assert tls.unseal(data[:3000]) == (b"", b"")
    for number, ((_, tls), data) in enumerate(zip(pairs, halves, strict=True)):
        assert tls.unseal(data[3000:]) == (b"%d" % number * 5000, b"")


def test_a_byte_changed_on_the_way_ends_the_connection(
    authority: Authority, certificate: Certificate
) -> None:
    application, tls = pair(authority, for_clients(certificate))
    application.ssl.write(b"hello")
    data = bytearray(application._outgoing.read())
    data[-1] ^= 1
    plain, alert = tls.unseal(bytes(data))
    assert plain == b""
    assert alert
    assert tls.has_ended
    assert tls.trouble
    with pytest.raises(TlsError):
        tls.seal_bytes(b"anything")


def test_the_peers_goodbye_is_an_end_and_no_trouble(authority: Authority, certificate: Certificate) -> None:
    application, tls = pair(authority, for_clients(certificate))
    application.ssl.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        application.ssl.unwrap()
    assert b"".join(plain for plain, _ in application.say(tls)) == b"last words"
    assert tls.has_ended
    assert tls.trouble == ""
    application.hear(tls.seal_bytes(b"still answered"))
    assert application.ssl.read() == b"still answered"


def test_our_goodbye_is_heard_as_one(authority: Authority, certificate: Certificate) -> None:
    application, tls = pair(authority, for_clients(certificate))
    application.hear(tls.close())
    assert application.ssl.read() == b""
    assert tls.close() == b""


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"A" * 99, b"\0" * 50])
def test_what_is_no_handshake_ends_with_a_reason(certificate: Certificate, junk: bytes) -> None:
    tls = Tls(for_clients(certificate))
    tls.unseal(junk)
    assert tls.has_ended
    assert not tls.is_secured
    assert tls.trouble


def test_nothing_can_be_said_before_the_handshake_is_done(certificate: Certificate) -> None:
    tls = Tls(for_clients(certificate))
    with pytest.raises(TlsError):
        tls.seal_bytes(b"a secret")
    assert tls.close() == b""


def test_an_old_client_is_turned_away(authority: Authority, certificate: Certificate) -> None:
    context = authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    application, tls = Application(context), Tls(for_clients(certificate, oldest=TLS_1_3))
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"):
        application.shake_hands(tls)
    assert "protocol" in tls.trouble


# ---- ALPN


def test_postgresqls_protocol_is_agreed_on(authority: Authority, certificate: Certificate) -> None:
    context = authority.trusting()
    context.set_alpn_protocols(["h2", "postgresql"])
    application, tls = Application(context), Tls(for_clients(certificate))
    application.shake_hands(tls)
    assert (application.ssl.selected_alpn_protocol(), tls.protocol) == ("postgresql", "postgresql")


@pytest.mark.parametrize("offered", [["h2"], ["http/1.1", "postgresq"], ["postgresql2"]])
def test_who_offers_only_other_protocols_is_turned_away(
    authority: Authority, certificate: Certificate, offered: list[str]
) -> None:
    context = authority.trusting()
    context.set_alpn_protocols(offered)
    application, tls = Application(context), Tls(for_clients(certificate))
    with pytest.raises(ssl.SSLError):
        application.shake_hands(tls)
    assert tls.has_ended


# ---- certificates


def test_a_clients_certificate_tells_who_it_is(authority: Authority, certificate: Certificate) -> None:
    alice = authority.certify("alice@example.org", common_name="alice")
    _, tls = pair(authority, for_clients(certificate, ca_file=authority.ca_file, verifies=True), alice)
    is_good, common_name, distinguished_name = tls.identify_peer()
    assert (is_good, common_name) == (True, "alice")
    assert distinguished_name.startswith("CN=alice,")


def test_without_a_certificate_nobody_is_verified(authority: Authority, certificate: Certificate) -> None:
    application = Application(authority.trusting())
    tls = Tls(for_clients(certificate, ca_file=authority.ca_file, verifies=True))
    application.is_turned_away(tls)
    assert tls.trouble == "peer did not return a certificate"


def test_a_strangers_certificate_is_refused_where_one_is_demanded(
    authority: Authority, stranger: Authority, certificate: Certificate
) -> None:
    mallory = stranger.certify("mallory@example.org", common_name="alice")
    application = Application(authority.trusting(mallory))
    tls = Tls(for_clients(certificate, ca_file=authority.ca_file, verifies=True))
    application.is_turned_away(tls)
    assert tls.trouble.startswith("certificate verify failed: ")


def test_and_is_worth_nothing_where_none_is(
    authority: Authority, stranger: Authority, certificate: Certificate
) -> None:
    mallory = stranger.certify("mallory@example.org", common_name="alice")
    _, tls = pair(authority, for_clients(certificate, ca_file=authority.ca_file), mallory)
    assert tls.is_secured
    assert tls.identify_peer() == (False, "", "")


def test_scram_binds_itself_to_the_hash_of_our_certificate(
    authority: Authority, certificate: Certificate
) -> None:
    application, tls = pair(authority, for_clients(certificate))
    der = application.ssl.getpeercert(binary_form=True)
    assert der is not None
    assert tls.context.end_point == hashlib.sha256(der).digest()


# ---- in the role of a client


def connect(context: TlsContext, host: str, server: Certificate) -> tuple[Tls, Tls]:
    ours, theirs = Tls(context, host), Tls(for_clients(server))
    said = ours.begin()
    for _ in range(4):
        _, answer = theirs.unseal(said)
        _, said = ours.unseal(answer)
    return ours, theirs


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "db.example.org"])
def test_the_server_is_who_we_meant(authority: Authority, host: str) -> None:
    context = TlsContext(False, ca_file=authority.ca_file, verifies=True, checks_names=True)
    ours, theirs = connect(context, host, authority.certify("localhost", "127.0.0.1", "*.example.org"))
    assert ours.is_secured
    assert theirs.is_secured
    assert ours.protocol == "postgresql"


@pytest.mark.parametrize(
    ("host", "trouble"),
    [
        ("other", "hostname mismatch"),
        ("127.0.0.2", "IP address mismatch"),
        ("a.b.example.org", "hostname mismatch"),
    ],
)
def test_a_server_of_another_name_is_refused(authority: Authority, host: str, trouble: str) -> None:
    server = authority.certify("localhost", "127.0.0.1", "*.example.org")
    context = TlsContext(False, ca_file=authority.ca_file, verifies=True, checks_names=True)
    ours, theirs = connect(context, host, server)
    assert trouble in ours.trouble.lower().replace("ip address", "IP address")
    assert not theirs.is_secured
    ours, _ = connect(TlsContext(False, ca_file=authority.ca_file, verifies=True), host, server)
    assert ours.is_secured


def test_a_server_that_nobody_vouches_for_is_refused(authority: Authority, stranger: Authority) -> None:
    server = stranger.certify()
    ours, _ = connect(TlsContext(False, ca_file=authority.ca_file, verifies=True), "localhost", server)
    assert ours.trouble.startswith("certificate verify failed: ")
    ours, _ = connect(TlsContext(False), "localhost", server)
    assert ours.is_secured


# ---- tickets


def resumed(authority: Authority, first: TlsContext, second: TlsContext, newest: ssl.TLSVersion) -> bool:
    """Whether a session that began under one context goes on under another."""
    context = authority.trusting()
    context.maximum_version = newest
    application, tls = Application(context), Tls(first)
    application.shake_hands(tls)
    assert not tls.is_resumed
    application.read_all()
    again, tls = Application(context, session=application.ssl.session), Tls(second)
    again.shake_hands(tls)
    assert tls.is_secured
    assert again.ssl.session_reused == tls.is_resumed
    return tls.is_resumed


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_in_another_worker(
    authority: Authority, certificate: Certificate, newest: ssl.TLSVersion
) -> None:
    one, other = for_clients(certificate), for_clients(certificate)
    for worker in (one, other):
        worker.set_ticket_key(b"k" * TICKET_KEY_BYTES)
    assert resumed(authority, one, other, newest)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_and_does_not_where_keys_or_files_differ(
    authority: Authority, stranger: Authority, certificate: Certificate, newest: ssl.TLSVersion
) -> None:
    first, other_key, other_authority = (
        for_clients(certificate, ca_file=each.ca_file) for each in (authority, authority, stranger)
    )
    first.set_ticket_key(b"k" * TICKET_KEY_BYTES)
    other_key.set_ticket_key(b"l" * TICKET_KEY_BYTES)
    other_authority.set_ticket_key(b"k" * TICKET_KEY_BYTES)
    assert not resumed(authority, first, other_key, newest)
    assert not resumed(authority, first, other_authority, newest)


def test_a_ticket_key_of_another_length_is_refused(certificate: Certificate) -> None:
    with pytest.raises(ValueError, match="80 bytes"):
        for_clients(certificate).set_ticket_key(b"short")
