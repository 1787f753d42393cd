"""The instruments of the claims, and that each claim's table and plot can be made from what was recorded."""

import mmap
import os
from pathlib import Path

import pytest

from loadtest.claims.__main__ import CLAIMS, main
from loadtest.claims.claim import Claim
from loadtest.crowd import Crowd
from loadtest.load import Load
from loadtest.nullpg import NullBackend
from loadtest.snapshots.compiled import race
from loadtest.snapshots.racing import PLACES, TAKEN, race_leases, race_model
from loadtest.snapshots.simulation import simulate_array, simulate_leases

ALL = pytest.mark.parametrize("claim", CLAIMS.values(), ids=[claim.name for claim in CLAIMS.values()])


@ALL
def test_a_claim_was_measured_and_its_table_is_whole(claim: Claim) -> None:
    recorded = claim.recorded()
    header, lines = claim.table(recorded.rows)
    assert lines
    assert {len(line) for line in lines} == {len(header)}
    assert recorded.circumstances.machine.cores > 0


@ALL
def test_a_plot_is_drawn_from_what_was_recorded(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("loadtest.claims.claim.PLOTS", tmp_path)
    claim.draw(claim.recorded().rows)
    assert claim.picture.parent == tmp_path
    assert claim.picture.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_claim_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["8"])
    assert exit_.value.code == 2
    assert "invalid choice: 8" in capsys.readouterr().err


def test_clients_in_the_background_tell_when_they_have_ended(nullpg: NullBackend) -> None:
    load = Load("select.sql", clients=2)
    with (
        Crowd().background(load, nullpg.address, 0.3) as told,
        Crowd().ready(load, nullpg.address, 0.1) as run,
    ):
        assert run().transactions > 0
    assert told().transactions > 0


def test_processes_race_on_both_tables() -> None:
    for raced in (race_leases(2, 2, 0.5), race_model(2, 2, 0.5)):
        assert raced.changes_per_s > 0
        assert raced.snapshots_per_s > 0
        assert 0 < raced.p50_ns <= raced.p99_ns <= raced.p999_ns


def test_the_model_excludes_writers_from_each_other_and_from_readers() -> None:
    module = race()
    memory = mmap.mmap(-1, module.MODEL_BYTES)
    model = module.Model(memory)
    model.prepare(TAKEN)
    until = module.now_ns() + 300_000_000
    children = []
    for number in range(4):
        pid = os.fork()
        if not pid:
            model.churn(number, TAKEN + number, until, 0)
            os._exit(0)
        children.append(pid)
    sizes = model.sizes_seen(4, until)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    assert model.places() == list(range(TAKEN))  # sorted, none lost, none twice
    assert sizes <= set(range(TAKEN, TAKEN + 5))


def test_a_simulation_repeats_and_has_the_lock_saturate() -> None:
    assert simulate_array(4, 4, 1e5) == simulate_array(4, 4, 1e5)
    few, many = (simulate_array(cores // 2, cores // 2, 3e5).snapshots_per_s for cores in (64, 256))
    assert many < 1.5 * few
    few, many = (simulate_leases(cores // 2, cores // 2, 3e5).snapshots_per_s for cores in (64, 256))
    assert many > 2 * few
    assert PLACES >= TAKEN
