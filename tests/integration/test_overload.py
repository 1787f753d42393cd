"""At its limits: who is too many is told so at once, and who is in notices nothing."""

from __future__ import annotations

import os
import shutil

import psutil

from pgmux.config import Config, Settings
from pgmux.supervisor.descriptors import descriptors_needed
from tests.fix_pgmux import MakePgmux
from tests.integration.crowd import connect
from tests.servers.pgmux import PGMUX


def test_without_the_descriptors_it_may_need_pgmux_does_not_start_and_says_how_many(
    make_pgmux: MakePgmux,
) -> None:
    pgmux = make_pgmux(is_started=False, workers=1, max_client_conn=2_000, command=limited_to(500))
    pgmux.launch()
    assert pgmux.wait_until_stopped() == 1
    told = pgmux.log_file.text()
    assert "open files may be needed (max_client_conn = 2000, max_backends = 80), but at most 500" in told
    assert "Traceback" not in told


def test_the_number_that_is_named_suffices(make_pgmux: MakePgmux) -> None:
    settings = Settings(workers=1, max_client_conn=300)
    needed = descriptors_needed(Config(settings))
    pgmux = make_pgmux(workers=1, max_client_conn=300, command=limited_to(needed))
    [worker] = pgmux.worker_pids()
    assert psutil.Process(worker).rlimit(psutil.RLIMIT_NOFILE) == (needed, needed)


def test_who_comes_when_no_descriptor_is_left_is_told_at_once(make_pgmux: MakePgmux) -> None:
    pgmux = make_pgmux(workers=1, default_pool_size=1)
    with connect(pgmux) as inside:
        assert inside.query("SELECT 1").value == b"1"
        worker = psutil.Process(pgmux.worker_pids()[0])
        soft, hard = worker.rlimit(psutil.RLIMIT_NOFILE)
        worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds(), hard))
        for _ in range(3):
            with pgmux.wire() as outside:
                outside.send_startup(user="app", database="app")
                error = outside.read_to_the_end()
                assert (error.sqlstate, "the limit of open files" in error.of(b"E")[0]["M"]) == (
                    "53300",
                    True,
                )
            assert inside.query("SELECT 2").value == b"2"
        worker.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        with connect(pgmux) as outside:
            assert outside.query("SELECT 3").value == b"3"
    assert pgmux.log_contains('turned away at the door: reason="Too many open files"')


def limited_to(descriptors: int) -> list[str]:
    """pgmux in an account that has so many open files and cannot have more, which root could."""
    tools = {name: shutil.which(name) or name for name in ("setpriv", "prlimit")}
    mortal = [tools["setpriv"], "--bounding-set", "-sys_resource"] if os.geteuid() == 0 else []
    return [*mortal, tools["prlimit"], f"--nofile={descriptors}:{descriptors}", *PGMUX]
