from pathlib import Path

import msgspec
import pytest

from loadtest.arms import Pgmux, Place
from loadtest.client import Address
from loadtest.figures import FIGURES, Measured, judge
from loadtest.measure import LoadRun
from loadtest.options import parse_options
from loadtest.report import Result
from loadtest.run import main
from loadtest.scenarios import CANNOT, SCENARIOS, why_not
from loadtest.summary import summarise
from pgmux.config import load


def load_run(arm: str, round_number: int, total_us: float | None) -> LoadRun:
    return LoadRun(
        scenario="select",
        arm=arm,
        round=round_number,
        transactions=1000,
        tps=1000.0,
        p50_us=1.0,
        p99_us=2.0,
        connect_us=None,
        errors=0,
        first_error="",
        user_us=None if total_us is None else 0.0,
        system_us=total_us,
        total_us=total_us,
        backend_us=1.0,
        pgbench_us=1.0,
        strangers_share=0.0,
        processes=1,
        workers_that_served=0,
    )


def test_ratios_are_formed_within_a_round() -> None:
    runs = [
        *(load_run("pgbouncer", number, total) for number, total in [(1, 10.0), (2, 20.0), (3, 40.0)]),
        *(load_run("pgmux-1", number, total) for number, total in [(1, 8.0), (2, 14.0), (3, 36.0)]),
        load_run("direct", 1, None),
    ]
    reference, ours, direct = summarise(runs)
    assert reference.ratio == 1
    assert (ours.ratio, ours.ratio_low, ours.ratio_high) == (0.8, 0.7, 0.9)
    assert direct.ratio is None


def test_a_figure_is_reached_missed_or_not_measured() -> None:
    pairs = [("pgbouncer", 10.0), ("pgmux-1", 8.0), ("pgmux-2", 9.6)]
    verdicts = judge(Measured(summarise([load_run(arm, 1, total) for arm, total in pairs]), []))
    assert [verdict.reached for verdict in verdicts] == [True, False, *[None] * (len(FIGURES) - 2)]


def test_a_pgbouncer_that_is_too_old_sits_out_prepared_statements() -> None:
    assert why_not("pgbouncer", "1.18.0", "prepared") is not None
    assert why_not("pgbouncer", "1.21.0", "prepared") is None
    assert why_not("pgbouncer", "1.18.0", "select") is None


def test_who_cannot_is_said_only_of_scenarios_that_exist() -> None:
    assert {scenario for _, scenario in CANNOT} <= set(SCENARIOS)


def test_the_configuration_of_a_pgmux_arm_is_one_that_pgmux_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pgmux").touch()
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    place = Place(Address("127.0.0.1", 5432), 7, tmp_path)
    arm = Pgmux(place, workers=3)
    config = load(str(arm.write_configuration(place, 6432)), {})
    assert (config.worker_count(), config.pgmux.max_backends) == (3, 7)
    assert config.segment_path == str(arm.segment)
    pool = config.pool_settings("bench", "bench")
    assert (pool.pool_size, pool.port) == (7, 5432)


@pytest.mark.parametrize("arguments", [["--scenario", "selct"], ["--arms", "pgmux-3"], ["--rounds", "0"]])
def test_wrong_usage_exits_with_2_and_names_the_mistake(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_options(arguments)
    assert exit_.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_a_bench_of_one_second_leaves_a_complete_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    arguments = ["--scenario", "select", "--arms", "direct", "--rounds", "1", "--seconds", "1"]
    assert main([*arguments, "--output", str(output)]) == 0
    result = msgspec.json.decode(output.read_bytes(), type=Result)
    assert [(run.scenario, run.arm, run.errors) for run in result.loads] == [("select", "direct", 0)]
    assert result.loads[0].backend_us > 0
    assert result.circumstances.versions["pgbench"]
    assert "SELECT 1" in capsys.readouterr().out
