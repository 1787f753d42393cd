"""What must hold between the options of TLS and the files that they name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgmux.config.certificates import find_certificate
from tests.config.texts import read, refusal, refusals, warnings
from tests.servers.certificates import Authority, Certificate

TRUST = "auth_type = 'trust'\n"


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    return authority.certify()


def text(certificate: Certificate | None = None, **options: str) -> str:
    """A configuration with these options, and a certificate for clients."""
    if certificate is not None:
        options |= {
            "client_tls_cert_file": certificate.cert_file,
            "client_tls_key_file": certificate.key_file,
        }
    lines = "".join(f"{key} = '{value}'\n" for key, value in options.items())
    return f"[pgmux]\n{TRUST}{lines}[databases.app]\n"


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_tls_for_clients_needs_a_certificate_and_its_key(mode: str, certificate: Certificate) -> None:
    problems = refusals(text(client_tls_sslmode=mode))
    assert [problem.key for problem in problems] == ["client_tls_key_file", "client_tls_cert_file"]
    assert all(mode in problem.message and problem.hint for problem in problems)
    assert read(text(certificate, client_tls_sslmode=mode)).warnings == ()


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_clients_certificates_need_an_authority(
    mode: str, certificate: Certificate, authority: Authority
) -> None:
    problem = refusal(text(certificate, client_tls_sslmode=mode))
    assert problem.key == "client_tls_ca_file"
    options = {"client_tls_sslmode": mode, "client_tls_ca_file": authority.ca_file}
    assert read(text(certificate, **options)).warnings == ()


def test_a_key_is_not_enough(certificate: Certificate) -> None:
    problem = refusal(text(server_tls_key_file=certificate.key_file))
    assert (problem.key, problem.hint) == ("server_tls_key_file", "set server_tls_cert_file")
    problem = refusal(text(server_tls_cert_file=certificate.cert_file))
    assert (problem.key, problem.hint) == ("server_tls_cert_file", "set server_tls_key_file")


def test_files_without_tls_are_warned_of(certificate: Certificate) -> None:
    assert warnings(text(certificate)) == ["client_tls_key_file", "client_tls_cert_file"]


def test_verify_ca_needs_an_authority_and_verify_full_takes_the_systems() -> None:
    problem = refusal(text(server_tls_sslmode="verify-ca"))
    assert problem.key == "server_tls_ca_file"
    assert "verify-full" in problem.hint
    assert read(text(server_tls_sslmode="verify-full")).warnings == ()


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_direct_tls_must_be_demanded(mode: str) -> None:
    problem = refusal(text(server_tls_sslmode=mode, server_tls_negotiation="direct"))
    assert problem.key == "server_tls_negotiation"
    assert "require" in problem.hint
    assert read(text(server_tls_sslmode="require", server_tls_negotiation="direct")).warnings == ()


def test_a_missing_file_is_refused_with_its_path(certificate: Certificate, tmp_path: Path) -> None:
    missing = Certificate(certificate.cert_file, str(tmp_path / "none.key"))
    problem = refusal(text(missing, client_tls_sslmode="require"))
    assert problem.message == f"{tmp_path}/none.key cannot be read: No such file or directory"


def test_key_and_certificate_confused_are_told_apart(certificate: Certificate) -> None:
    confused = Certificate(certificate.key_file, certificate.cert_file)
    problems = refusals(text(confused, client_tls_sslmode="require"))
    assert [problem.message.partition(" ")[2] for problem in problems] == [
        "holds no certificate in PEM",
        "holds no private key in PEM",
    ]


def test_a_key_with_a_passphrase_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    for label, body in (
        ("ENCRYPTED PRIVATE KEY", "MII="),
        ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMII="),
    ):
        key = tmp_path / "locked.key"
        key.touch(0o600)
        key.write_text(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        problem = refusal(text(Certificate(certificate.cert_file, str(key)), client_tls_sslmode="require"))
        assert "passphrase" in problem.message


def test_a_key_that_everybody_can_read_is_warned_of(authority: Authority) -> None:
    certificate = authority.certify()
    Path(certificate.key_file).chmod(0o644)
    assert warnings(text(certificate, client_tls_sslmode="require")) == ["client_tls_key_file"]


@pytest.mark.parametrize(("days", "said"), [(-1, "has expired on"), (7, "expires on")])
def test_a_certificate_that_ends_is_warned_of(authority: Authority, days: int, said: str) -> None:
    ends = datetime.now(UTC) + timedelta(days=days)
    certificate = authority.certify(not_after=ends)
    [warning] = read(text(certificate, client_tls_sslmode="require")).warnings
    assert f"{said} {ends:%Y-%m-%d %H:%M} UTC" in warning.message
    assert "reload" in warning.hint


def test_the_time_of_a_certificate_beyond_2049_is_read_too(authority: Authority) -> None:
    ends = datetime(2087, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert find_certificate(authority.certify(not_after=ends).cert_file).ends == ends


@pytest.mark.parametrize("body", ["", "AAAA", "MIIB", "MAMCAQA=", "!!!!"])
def test_a_certificate_that_is_none_is_said_to_be_none(body: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.crt"
    file.write_text(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="holds a certificate that cannot be read"):
        find_certificate(str(file))
