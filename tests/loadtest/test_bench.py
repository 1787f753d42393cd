from pathlib import Path

import msgspec
import pytest

from loadtest.arms import Pgmux, Place
from loadtest.baseline import compare, merged, read_baseline
from loadtest.client import Address
from loadtest.figures import FIGURES, Measured, judge
from loadtest.machine import look_around
from loadtest.measure import CountRun, LoadRun
from loadtest.options import parse_options
from loadtest.report import Method, Result
from loadtest.run import main
from loadtest.scenarios import CANNOT, SCENARIOS, why_not
from loadtest.summary import Summary, summarise
from pgmux.config import load
from pgmux.errors import PgmuxError


def load_run(arm: str, round_number: int, total_us: float | None) -> LoadRun:
    return LoadRun(
        scenario="simple",
        arm=arm,
        round=round_number,
        clients=40,
        transactions=1000,
        tps=1000.0,
        p50_us=1.0,
        p99_us=2.0,
        p999_us=3.0,
        connect_us=None,
        fewest=1,
        most=2,
        errors=0,
        first_error="",
        user_us=None if total_us is None else 0.0,
        system_us=total_us,
        total_us=total_us,
        backend_us=1.0,
        player_us=1.0,
        memory=None,
        peak_growth=None,
        bytes_per_second=None,
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
    pairs = [("pgbouncer", 10.0), ("pgmux-1", 7.5), ("pgmux-2", 8.4)]
    verdicts = judge(Measured(summarise([load_run(arm, 1, total) for arm, total in pairs]), []))
    judged = {verdict.name: verdict.reached for verdict in verdicts if verdict.reached is not None}
    assert judged == {
        "CPU, simple, 1 worker / PgBouncer": False,
        "CPU, simple, 2 workers / PgBouncer": True,
    }
    assert len(verdicts) == len(FIGURES)


def test_a_pgbouncer_that_is_too_old_sits_out_prepared_statements() -> None:
    assert why_not("pgbouncer", "1.18.0", "prepared") is not None
    assert why_not("pgbouncer", "1.21.0", "prepared") is None
    assert why_not("pgbouncer", "1.18.0", "simple") is None


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scenario", "selct"],
        ["--arms", "pgmux-3"],
        ["--rounds", "0"],
        ["--backend", "pg"],
        ["--odyssey", "/nowhere"],
    ],
)
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
    arguments = ["--scenario", "simple", "--arms", "direct", "--rounds", "1", "--seconds", "1"]
    assert main([*arguments, "--output", str(output)]) == 0
    result = msgspec.json.decode(output.read_bytes(), type=Result)
    assert [(run.scenario, run.arm, run.errors) for run in result.loads] == [("simple", "direct", 0)]
    assert result.loads[0].backend_us > 0
    assert result.circumstances.versions["pgbench"]
    assert "SELECT 1" in capsys.readouterr().out


def summary_of(arm: str, ratio: float, low: float, high: float) -> Summary:
    (summary,) = summarise([load_run(arm, number, 10.0) for number in range(5)])
    return msgspec.structs.replace(summary, ratio=ratio, ratio_low=low, ratio_high=high)


def result_of(*summaries: Summary, instructions: float = 2500) -> Result:
    count = CountRun(scenario="instructions", arm="pgmux-1", round=1, value=instructions, unit="instructions")
    return Result(
        circumstances=look_around({}),
        method=Method(
            target="nullpg", backend_transport="tcp", rounds={}, seconds=1, idle_clients=1, quick=True
        ),
        figures=[],
        summaries=list(summaries),
        loads=[],
        memories=[],
        counts=[count],
        left_out=[],
        failures=[],
    )


def test_a_ratio_is_worse_only_beyond_its_spread() -> None:
    before = result_of(summary_of("pgmux-1", 0.70, 0.68, 0.72), summary_of("pgmux-2", 0.80, 0.60, 1.00))
    now = result_of(summary_of("pgmux-1", 0.80, 0.78, 0.81), summary_of("pgmux-2", 0.90, 0.70, 1.00))
    (change,) = compare(before, now)
    assert change.is_worse
    assert change.what == "CPU ratio, simple, pgmux-1"


def test_few_rounds_on_a_busy_machine_prove_nothing() -> None:
    before, now = summary_of("pgmux-1", 0.70, 0.69, 0.71), summary_of("pgmux-1", 0.80, 0.80, 0.81)
    assert len(compare(result_of(before), result_of(now))) == 1
    for changed in ({"strangers_share": 0.4}, {"rounds": 1}):
        assert compare(result_of(before), result_of(msgspec.structs.replace(now, **changed))) == []


def test_what_was_measured_anew_takes_the_place_of_the_old_and_the_rest_stays() -> None:
    before = result_of(summary_of("pgmux-1", 0.70, 0.68, 0.72), instructions=3000)
    now = result_of(instructions=2400)
    now = msgspec.structs.replace(now, method=msgspec.structs.replace(now.method, rounds={"instructions": 1}))
    both = merged(before, now)
    assert [each.ratio for each in both.summaries] == [0.70]
    assert [each.value for each in both.counts] == [2400]
    judged = {verdict.name: verdict.value for verdict in both.figures if verdict.value is not None}
    assert judged["CPU, simple, 1 worker / PgBouncer"] == 0.70
    assert judged["instructions of the relay, simple, 8 clients"] == 2400


def test_counts_that_repeat_are_compared_closely() -> None:
    assert compare(result_of(), result_of(instructions=2540)) == []
    (change,) = compare(result_of(), result_of(instructions=2400))
    assert not change.is_worse


def test_a_baseline_that_is_none_is_an_error_and_a_missing_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(PgmuxError, match="record one anew"):
        read_baseline(tmp_path / "other.json")
    with pytest.raises(PgmuxError, match="--record"):
        read_baseline(tmp_path / "missing.json")


def test_clients_multiply_load_scenarios_alone() -> None:
    options = parse_options(["--scenario", "simple,simple@500,idle", "--clients", "1,40"])
    assert [each.name for each in options.scenarios] == ["simple@1", "simple@40", "idle"]
    assert [each.load.clients for each in options.scenarios[:2]] == [1, 40]
