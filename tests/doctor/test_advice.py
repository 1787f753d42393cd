"""The pool that would do: how large, why, and what it saves."""

from __future__ import annotations

import msgspec
import pytest

from pgmux.doctor.advice import Sample, advise
from tests.doctor.reports import SERVER, backend


def sample(active: int, held: int = 0, backends: int = 50, user: str = "alice") -> Sample:
    return Sample("app", user, backends, active, held)


@pytest.mark.parametrize(
    ("samples", "average", "cores", "size"),
    [
        ([[sample(1)], [sample(8, 4)], [sample(0)]], None, 4, 18),  # half as much again as the most at once
        ([[sample(1)]], None, 4, 4),  # no less than the cores
        ([[sample(0)]], None, None, 2),  # and no less than two
        ([[sample(1)]], 9.2, 4, 15),  # PostgreSQL remembers busier times
        ([[sample(90)]], None, 4, 97),  # no more than clients can have
        ([[sample(3, user="alice"), sample(3, user="bob")]], None, 2, 9),  # all pools together
    ],
)
def test_its_size_follows_from_what_was_busy_at_once(
    samples: list[list[Sample]], average: float | None, cores: int | None, size: int
) -> None:
    server = msgspec.structs.replace(SERVER, cores=cores)
    advice = advise(server, [], samples, 2.0, average)
    assert advice.max_backends == size
    assert advice.why


def test_it_saves_idle_backends_with_their_own_memory() -> None:
    backends = [backend(pid, private=1_000_000) for pid in range(30)] + [backend(99, "active")]
    advice = advise(SERVER, backends, [[sample(1)]], 2.0, None)
    assert advice.saved_backends == 31 - 4
    assert advice.saved_bytes == 27_000_000


def test_it_saves_none_of_pgmuxs_own_backends() -> None:
    backends = [backend(pid, is_pgmuxs=True) for pid in range(30)]
    assert advise(SERVER, backends, [[sample(1)]], 2.0, None).saved_backends == 0


def test_memory_that_cannot_be_measured_is_not_made_up() -> None:
    backends = [backend(pid, private=None) for pid in range(30)]
    assert advise(SERVER, backends, [[sample(1)]], 2.0, None).saved_bytes is None


def test_too_many_at_work_on_few_cores_is_said() -> None:
    assert "ran at once on 4 cores" in advise(SERVER, [], [[sample(9)]], 2.0, None).why
    assert "ran at once" not in advise(SERVER, [], [[sample(8)]], 2.0, None).why


def test_each_database_and_user_gets_a_pool() -> None:
    instants = [[sample(1, user="alice"), sample(0, user="bob")], [sample(5, user="alice")]]
    uses = advise(SERVER, [], instants, 2.0, None).pools
    assert [(use.user, use.busy_at_most, use.pool_size) for use in uses] == [("alice", 5, 8), ("bob", 0, 2)]
