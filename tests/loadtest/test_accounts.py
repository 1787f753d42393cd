import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.cpu import CpuReading, CpuTime, read_cpu
from loadtest.memory import read_memory

TICKS_S = 0.06  # a few clock ticks: every process's time is known to one

BURN = """
import os, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def wait_for_a_word():
    if not os.read(0, 1):  # unbuffered: each process takes one byte of the shared pipe
        os._exit(0)
"""
FAMILY = (
    BURN
    + """
burn(0.1)
living = os.fork()
if not living:
    burn(0.2)
    print("child", flush=True)
    wait_for_a_word()
    os._exit(0)
dying = os.fork()
if not dying:
    burn(0.3)
    os._exit(0)
os.waitpid(dying, 0)
print("parent", flush=True)
wait_for_a_word()
burn(0.1)
os.waitpid(living, 0)
print("reaped", flush=True)
wait_for_a_word()
"""
)


@contextmanager
def python(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], count: int) -> set[str]:
    assert process.stdout is not None
    return {process.stdout.readline().strip() for _ in range(count)}


def tell(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def test_processor_time_of_living_and_dead_children_adds_up() -> None:
    with python(FAMILY) as process:
        assert lines(process, 2) == {"child", "parent"}
        first = read_cpu(process.pid)
        assert len(first.by_pid) == 2
        assert 0.6 - TICKS_S < first.total.total_s < 0.6 + 0.3  # and the start of Python
        tell(process, "..")
        assert lines(process, 1) == {"reaped"}
        second = read_cpu(process.pid)
        assert len(second.by_pid) == 1
        assert abs(second.since(first).total_s - 0.1) < TICKS_S


def test_a_worker_is_every_process_but_the_first() -> None:
    before = CpuReading(1, {1: CpuTime(5, 5), 2: CpuTime(1, 1)})
    after = CpuReading(1, {1: CpuTime(9, 9), 2: CpuTime(1.5, 1), 3: CpuTime(0.25, 0.5)})
    assert after.workers_since(before) == [0.75, 0.5]
    assert after.since(before).total_s == 8 + 0.5 + 0.75


SEGMENT_USER = """
import mmap, sys
size = int(sys.argv[2])
held = bytearray(b"x") * size
with open(sys.argv[1], "r+b") as file:
    segment = mmap.mmap(file.fileno(), 0)
    segment[:] = b"y" * len(segment)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_memory_counts_the_segment_as_its_file_and_not_in_the_processes(tmp_path: Path) -> None:
    segment = tmp_path / "segment"
    segment.write_bytes(b"z" * 8_000_000)
    with (
        python(SEGMENT_USER, str(segment), "0") as small,
        python(SEGMENT_USER, str(segment), "32000000") as large,
    ):
        assert lines(small, 1) == lines(large, 1) == {"ready"}
        less, more = (read_memory(process.pid, segment) for process in (small, large))
        assert less.segment == more.segment == segment.stat().st_blocks * 512 >= 8_000_000
        assert abs(more.private - less.private - 32_000_000) < 2_000_000
        assert abs(more.total - less.total - 32_000_000) < 2_000_000
        unaware = read_memory(large.pid)
        assert unaware.segment == 0
        assert unaware.total - (more.total - more.segment) > 3_000_000  # its share of the mapped pages
