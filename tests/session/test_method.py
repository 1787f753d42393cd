"""What is judged of a connection at once: its peer, its certificate."""

from __future__ import annotations

import pytest

from pgmux.session.arrival import Arrival, Encryption
from pgmux.session.ident_map import parse_ident_file
from pgmux.session.method import Method

ADMINS = parse_ident_file('admins root postgres\nadmins "CN=Alice,O=Us" alice', "pg_ident.conf")["admins"]
ACCOUNTS = {0: "root", 1000: "alice"}
ALICE = Encryption(has_certificate=True, common_name="alice", distinguished_name="CN=Alice,O=Us")
NAMELESS = Encryption(has_certificate=True)


def allowed(method: Method, user: str, *, uid: int = -1, encryption: Encryption | None = None) -> bool:
    arrival = Arrival(is_unix=uid >= 0, peer_uid=uid, encryption=encryption)
    return method.objection(arrival, user, ACCOUNTS.get) == ""


def test_a_peer_may_be_the_user_that_its_account_is_called_like() -> None:
    peer = Method("peer")
    assert allowed(peer, "alice", uid=1000)
    assert not allowed(peer, "bob", uid=1000)
    assert not allowed(peer, "alice", uid=1001)
    assert not allowed(peer, "alice")


def test_a_map_says_who_a_peer_may_be_and_then_nothing_else_does() -> None:
    peer = Method("peer", ADMINS)
    assert allowed(peer, "postgres", uid=0)
    assert not allowed(peer, "root", uid=0)


@pytest.mark.parametrize("method", [Method("cert"), Method("scram-sha-256", certificate="verify-full")])
def test_a_certificate_is_for_the_user_of_its_name(method: Method) -> None:
    assert allowed(method, "alice", encryption=ALICE)
    assert not allowed(method, "bob", encryption=ALICE)
    assert not allowed(method, "", encryption=NAMELESS)
    assert not allowed(method, "alice", encryption=Encryption(common_name="alice"))
    assert not allowed(method, "alice")


def test_a_map_may_be_asked_about_the_whole_subject() -> None:
    assert allowed(Method("cert", ADMINS, is_by_subject=True), "alice", encryption=ALICE)
    assert not allowed(Method("cert", ADMINS), "alice", encryption=ALICE)


def test_any_certificate_of_ours_will_do_where_the_name_is_not_asked_for() -> None:
    method = Method("md5", certificate="verify-ca")
    assert allowed(method, "bob", encryption=ALICE)
    assert allowed(method, "bob", encryption=NAMELESS)
    assert not allowed(method, "bob", encryption=Encryption())
    assert not allowed(method, "bob")


def test_a_connection_has_nothing_to_do_with_a_password() -> None:
    for name in ("trust", "password", "md5", "scram-sha-256"):
        assert allowed(Method(name), "alice")
    assert not allowed(Method("reject"), "alice")
