"""crowd, our many clients, against nullpg."""

from pathlib import Path

import pytest

from loadtest.client import Address
from loadtest.crowd import Crowd, Told
from loadtest.load import Load
from loadtest.nullpg import NullBackend
from pgmux.errors import PgmuxError

SECONDS = 0.3


def play(load: Load, address: Address, seconds: float = SECONDS) -> Told:
    with Crowd().gathered(load, address, seconds) as run:
        told, cpu_s = run()
    assert cpu_s >= 0
    return told


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["select.sql", "parameter.sql", "tpcb.sql"])
def test_every_client_gets_its_answers(nullpg: NullBackend, script: str, protocol: str) -> None:
    told = play(Load(script, protocol, clients=7), nullpg.address)
    assert (told.errors, told.unfinished, told.first_error) == (0, 0, "")
    assert 7 * told.fewest <= told.transactions <= 7 * told.most
    assert told.fewest > 0
    assert 0 < told.p50_us <= told.p99_us <= told.p999_us <= told.highest_us


def test_a_connection_for_each_transaction_is_timed_apart(nullpg: NullBackend) -> None:
    told = play(Load("select.sql", clients=3, connects_each_time=True), nullpg.address)
    assert told.errors == 0
    assert told.transactions > 3
    assert 0 < told.connect_p50_us <= told.highest_us


@pytest.mark.parametrize("script", ["copy_in.sql", "copy_out.sql", "megabyte.sql"])
def test_much_is_moved_both_ways(nullpg: NullBackend, script: str) -> None:
    told = play(Load(script, clients=2, copy_bytes=1_000_000), nullpg.address)
    assert (told.errors, told.unfinished) == (0, 0)
    assert told.transactions >= 2


def test_thinking_clients_ask_less(nullpg: NullBackend) -> None:
    told = play(Load("select.sql", clients=50, think_ms=50), nullpg.address)
    assert told.errors == 0
    assert 0 < told.most <= SECONDS * 1000 / 25 + 1


def test_a_thousand_log_in_before_the_first_asks(nullpg: NullBackend) -> None:
    nullpg.take_peak()
    with Crowd().gathered(Load("select.sql", clients=1000), nullpg.address, SECONDS) as run:
        assert nullpg.take_peak() == 1000
        told, _ = run()
    assert told.fewest > 0


def test_errors_are_counted_and_the_first_is_told(nullpg: NullBackend, tmp_path: Path) -> None:
    script = tmp_path / "refused.sql"
    script.write_text("BEGIN;\nDO $$ $$;\nEND;\n")
    told = play(Load(str(script), clients=2), nullpg.address)
    assert told.transactions == 0
    assert told.errors > 2
    assert told.first_error == "nullpg does not know this statement"


def test_a_server_that_is_not_there_is_named_as_the_reason() -> None:
    with pytest.raises(PgmuxError, match="connect: Connection refused"):
        play(Load("select.sql"), Address("127.0.0.1", 1))


def test_a_script_beyond_crowd_is_refused_with_its_line(nullpg: NullBackend, tmp_path: Path) -> None:
    script = tmp_path / "beyond.sql"
    script.write_text("\\sleep 1\nSELECT 1;\n")
    with pytest.raises(PgmuxError, match=r"only \\set NAME random"):
        play(Load(str(script)), nullpg.address)
