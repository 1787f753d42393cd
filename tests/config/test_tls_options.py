"""Versions and ciphers of TLS as users write them."""

import pytest

from pgmux.config.tls_options import VERSIONS, expand_ciphers, parse_protocols, show_protocols
from tests.config.texts import read, refusal


@pytest.mark.parametrize(
    ("written", "versions"),
    [
        ("secure", VERSIONS),
        ("tlsv1.2", ("tlsv1.2",)),
        ("TLSv1.3", ("tlsv1.3",)),
        ("tlsv1.3, tlsv1.2", VERSIONS),
        (["tlsv1.3"], ("tlsv1.3",)),
    ],
)
def test_versions_are_read_and_written(written: object, versions: tuple[str, ...]) -> None:
    assert parse_protocols(written) == versions
    assert parse_protocols(show_protocols(versions)) == versions


@pytest.mark.parametrize("written", ["all", "legacy", "tlsv1.0", "tlsv1.1,tlsv1.2"])
def test_old_versions_are_refused_with_the_reason(written: str) -> None:
    problem = refusal(f"[pgmux]\nclient_tls_protocols = '{written}'\n")
    assert "TLS 1.0 or 1.1" in problem.message
    assert '"secure"' in problem.message


@pytest.mark.parametrize("written", ["''", "'ssl3'", "3", "[]", "[2]"])
def test_what_is_no_version_is_refused(written: str) -> None:
    assert "tlsv1.3" in refusal(f"[pgmux]\nserver_tls_protocols = {written}\n").message


def test_versions_can_come_from_the_environment() -> None:
    config = read("", PGMUX_CLIENT_TLS_PROTOCOLS="tlsv1.3")
    assert config.pgmux.client_tls_protocols == ("tlsv1.3",)


def test_pgbouncers_names_for_lists_of_ciphers_are_understood() -> None:
    assert expand_ciphers("default") == ""
    assert "AEAD" in expand_ciphers("secure")
    assert expand_ciphers("ECDHE-RSA-AES128-GCM-SHA256") == "ECDHE-RSA-AES128-GCM-SHA256"
