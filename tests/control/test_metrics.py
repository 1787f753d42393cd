"""The page of metrics: what a parser of the format makes of it, and that etc/ asks for nothing else."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_old

from pgmux.control import openmetrics
from pgmux.control.metrics import METRICS
from pgmux.control.openmetrics import SLICE_LINES, Pages
from tests.control.bureau import Bureau

ETC = Path(__file__).parent.parent.parent / "etc"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SERIES = {name for metric in METRICS for name in metric.series}


def page(bureau: Bureau, accept: str = OPENMETRICS) -> str:
    return b"".join(Pages(bureau.figures).write(accept)[1]).decode()


def families(bureau: Bureau) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(page(bureau))}


def value(bureau: Bureau, series: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families(bureau).values()
        for sample in family.samples
        if sample.name == series and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (series, labels, found)
    return float(found[0])


def test_the_page_is_openmetrics_for_who_wants_it(bureau: Bureau) -> None:
    bureau.world.pool(2, "app", backends=1)
    content_type, pieces = Pages(bureau.figures).write(OPENMETRICS)
    assert content_type.startswith(OPENMETRICS)
    text = b"".join(pieces).decode()
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
    found = {family.name for family in text_string_to_metric_families(text)}
    assert found == {metric.name for metric in METRICS}


def test_the_page_is_plain_for_others(bureau: Bureau) -> None:
    bureau.world.pool(2, "app", backends=1)
    content_type, pieces = Pages(bureau.figures).write("*/*")
    assert content_type.startswith("text/plain")
    text = b"".join(pieces).decode()
    assert "# EOF" not in text
    names = {sample.name for family in parse_old(text) for sample in family.samples}
    assert names == SERIES - {"pgmux"}


def test_every_metric_is_told_before_there_is_any_pool(bureau: Bureau) -> None:
    assert set(families(bureau)) == {metric.name for metric in METRICS}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_the_field(metric: Any) -> None:
    assert re.fullmatch(r"pgmux(_[a-z]+)*", metric.name)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_us", "_ms"))
    assert metric.help.endswith(".")


def test_counters_are_those_of_all_workers(bureau: Bureau) -> None:
    pool = bureau.world.pools.register(b"app", b"alice", 4)
    bureau.counters.add(0, pool, "transactions", 5)
    bureau.counters.add(3, pool, "transactions", 2)
    assert value(bureau, "pgmux_transactions_total", database="app", user="alice") == 7


def test_histograms_are_in_seconds_and_their_last_bucket_holds_all(bureau: Bureau) -> None:
    pool = bureau.world.pool(1)
    for bucket, count in ((2, 10), (10, 5), (31, 1)):
        bureau.observe(pool, bucket, count)
    bureau.counters.add(0, pool, "wait_us", 2_500_000)
    family = families(bureau)["pgmux_wait_seconds"]
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert buckets[128 / 1e6] == 10
    assert buckets[1024 / 1e6] == 10
    assert buckets[2048 / 1e6] == 15
    assert buckets[max(bound for bound in buckets if not math.isinf(bound))] == 15
    assert buckets[math.inf] == 16
    assert value(bureau, "pgmux_wait_seconds_count") == 16
    assert value(bureau, "pgmux_wait_seconds_sum") == 2.5


def test_what_clients_wait_for_is_a_label(bureau: Bureau) -> None:
    pool = bureau.world.pool(1, "app", backends=1)
    bureau.admit(pool)
    bureau.world.pools.pause()
    assert value(bureau, "pgmux_clients", database="app", state="idle") == 1
    assert value(bureau, "pgmux_waiting_clients", reason="paused") == 0
    assert value(bureau, "pgmux_paused") == 1
    assert value(bureau, "pgmux_pool_paused", database="app") == 1


def test_workers_have_series_of_their_own(bureau: Bureau) -> None:
    bureau.world.workers.enlist(1, 4711)
    bureau.world.workers.beat(1, 12, 3_500_000)
    assert value(bureau, "pgmux_worker_up", worker="1") == 1
    assert value(bureau, "pgmux_worker_up", worker="0") == 0
    assert value(bureau, "pgmux_worker_clients", worker="1") == 12
    assert value(bureau, "pgmux_worker_cpu_seconds_total", worker="1") == 3.5


def test_names_of_strangers_cannot_break_the_page(bureau: Bureau) -> None:
    bureau.world.pools.register(b'a"b\\c\nd', b"\xff", 1)
    found = families(bureau)["pgmux_pool_size"].samples[0].labels
    assert found == {"database": 'a"b\\c\nd', "user": "\ufffd"}


def test_a_large_page_is_made_in_small_pieces(tmp_path: Path) -> None:
    bureau = Bureau(tmp_path, pools=60)
    for number in range(60):
        bureau.world.pools.register(b"database %d" % number, b"alice", 1)
    pieces = list(Pages(bureau.figures).write(OPENMETRICS)[1])
    assert max(piece.count(b"\n") for piece in pieces) < 2.5 * SLICE_LINES
    text = b"".join(pieces).decode()
    assert len(re.findall("^# TYPE", text, re.MULTILINE)) == len(METRICS)
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(found["pgmux_pool_size"].samples) == 60
    bureau.world.close()


@pytest.mark.parametrize("accept", [OPENMETRICS, "*/*"])
def test_every_page_has_the_values_of_its_moment(bureau: Bureau, accept: str) -> None:
    pages = Pages(bureau.figures)

    def lines() -> dict[str, str]:
        text = b"".join(pages.write(accept)[1]).decode()
        told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {series: value for series, value in told.items() if not re.search("_age_|_start_", series)}

    pool = bureau.world.pools.register(b"app", b"alice", 4)
    before = lines()
    assert lines() == before
    bureau.counters.add(0, pool, "transactions", 12_345_678)
    bureau.observe(pool, 10, 3)
    changed = dict(lines().items() - before.items())
    assert changed.pop('pgmux_transactions_total{database="app",user="alice"}') == "1.2345678e+07"
    assert changed.pop('pgmux_wait_seconds_count{database="app",user="alice"}') == "3.0"
    assert changed.pop('pgmux_wait_seconds_bucket{database="app",le="+Inf",user="alice"}') == "3.0"
    assert {series.partition("{")[0] for series in changed} == {"pgmux_wait_seconds_bucket"}
    newcomer = bureau.world.pools.register(b"app", b"bob", 4)
    bureau.counters.add(0, newcomer, "transactions", 1)
    assert lines()['pgmux_transactions_total{database="app",user="bob"}'] == "1.0"


def test_series_that_were_forgotten_are_learnt_again(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmetrics, "_MOST_KEPT", 3)
    bureau.world.pools.register(b"app", b"alice", 4)
    pages = Pages(bureau.figures)
    assert len({b"".join(pages.write("*/*")[1]).count(b"\n") for _ in range(3)}) == 1


# --- etc/


def expressions_of_dashboard() -> Iterator[str]:
    dashboard = json.loads((ETC / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["query"] for variable in dashboard["templating"]["list"])


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((ETC / "prometheus-alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def labels_of(series: str) -> set[str]:
    (metric,) = (metric for metric in METRICS if series in metric.series)
    return {*metric.labels, "instance", "le"}


EXPRESSIONS = [*expressions_of_dashboard(), *(rule["expr"] for rule in rules())]


def test_etc_has_a_dashboard_and_rules() -> None:
    assert len(EXPRESSIONS) > 40
    assert len(rules()) > 8


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_that_etc_asks_for_exists_with_its_labels(expression: str) -> None:
    for series, matchers in re.findall(r"\b(pgmux(?:_[a-z]+)*)(?:\{([^}]*)\})?", expression):
        if series == "pgmux":
            continue
        assert series in SERIES
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= labels_of(series), f"{series} has no {asked - labels_of(series)}"


def test_every_series_but_a_few_is_on_the_dashboard_or_in_a_rule() -> None:
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"\bpgmux(?:_[a-z]+)*", expression)}
    shown = {metric.name for metric in METRICS if asked & set(metric.series)}
    assert {metric.name for metric in METRICS} - shown <= {"pgmux_start_time_seconds", "pgmux_worker_up"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((ETC / "grafana-dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
def test_promtool_finds_nothing_wrong(bureau: Bureau) -> None:
    bureau.world.pool(2, "app", backends=1)
    checked = subprocess.run(
        ["promtool", "check", "rules", str(ETC / "prometheus-alerts.yml")], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    linted = subprocess.run(
        ["promtool", "check", "metrics"], input=page(bureau, "*/*").encode(), capture_output=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, b"")
