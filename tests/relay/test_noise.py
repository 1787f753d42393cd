"""Noise from both sides: it ends that one conversation, and nobody else hears of it."""

from __future__ import annotations

import gc
import os
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.relay.rig import DONE, ERROR, IN_TRANSACTION, READY, Rig
from tests.wire import frontend
from tests.wire.frontend import message

FROM_CLIENTS = [
    *(
        frontend.query(text)
        for text in ("SELECT 1", "BEGIN", "SET work_mem TO '5MB'", "EXECUTE s", "LISTEN a")
    ),
    *(
        frontend.query(text)
        for text in ("PREPARE s AS SELECT 1", "DEALLOCATE ALL", "DISCARD ALL", "COPY t FROM STDIN")
    ),
    *(frontend.parse("SELECT $1", name) for name in ("", "s", "pgmux_s")),
    *(frontend.bind([b"1"], name) for name in ("", "s", "unknown")),
    *(frontend.describe_statement("s"), frontend.describe_portal(), frontend.execute()),
    *(frontend.close_statement("s"), frontend.close_portal(), frontend.sync(), frontend.flush()),
    *(frontend.copy_data(b"1\n"), frontend.copy_done(), frontend.copy_fail("no"), frontend.function_call(1)),
    frontend.terminate(),
]
FROM_BACKENDS = [
    *(DONE, ERROR, READY, IN_TRANSACTION, message(b"Z", b"E"), message(b"1"), message(b"2"), message(b"3")),
    *(message(b"C", b"SET\0"), message(b"C", b"ROLLBACK\0"), message(b"I"), message(b"n"), message(b"s")),
    *(
        message(b"T", b"\0\0"),
        message(b"D", b"\0\1\0\0\0\x011"),
        message(b"t", b"\0\0"),
        message(b"V", b"\0\0\0\0"),
    ),
    *(message(b"G", b"\0\0\0"), message(b"H", b"\0\0\0"), message(b"d", b"1\n"), message(b"c")),
    *(message(b"N", b"SNOTICE\0\0"), message(b"S", b"work_mem\x005MB\0"), message(b"A", b"\0\0\0\1a\0b\0")),
    message(b"E", b"SERROR\0C0A000\0RRevalidateCachedQuery\0\0"),
]


def noise(words: list[bytes]) -> st.SearchStrategy[bytes]:
    """Messages, whole and in pieces, and bytes that mean nothing."""
    word = st.sampled_from(words)
    torn = st.builds(lambda word, at: word[: at % len(word) + 1], word, st.integers(0, 99))
    return st.one_of(word, word, word, torn, st.binary(min_size=1, max_size=40))


def count_descriptors() -> int:
    gc.collect()  # a relay and its desk know each other
    return len(os.listdir("/proc/self/fd"))


EXAMPLES = int(os.environ.get("PGMUX_TEST_NOISE", "300"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("client"), noise(FROM_CLIENTS)),
        st.tuples(st.just("backend"), noise(FROM_BACKENDS)),
    ),
    max_size=40,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def make_noise(steps: list[tuple[str, bytes]]) -> None:
    """Beside two that are quiet, and must stay so."""
    with tempfile.TemporaryDirectory() as folder, closing(Rig(Path(folder), pool_size=2)) as rig:
        quiet_backend, _ = rig.open()
        quiet, _ = rig.connect()
        quiet.send(frontend.query("BEGIN"))
        rig.run()
        quiet_backend.send(DONE, IN_TRANSACTION)
        rig.run()
        assert (quiet.received(), quiet_backend.received()) == (
            DONE + IN_TRANSACTION,
            frontend.query("BEGIN"),
        )

        noisy_backend, _ = rig.open()
        noisy, _ = rig.connect()
        for who, what in steps:
            with suppress(OSError):  # it may have been closed, as it should be
                (noisy if who == "client" else noisy_backend).send(what)
            rig.run()
            assert quiet.received() == quiet_backend.received() == b""
        noisy.close()
        noisy_backend.close()
        rig.run()

        quiet.send(frontend.query("COMMIT"))
        rig.run()
        assert quiet_backend.received() == frontend.query("COMMIT")
        quiet_backend.send(DONE, READY)
        rig.run()
        assert quiet.received() == DONE + READY
        assert rig.relays[0].client_count == 1


def test_noise_from_both_sides_reaches_nobody_else() -> None:
    before = count_descriptors()
    make_noise()
    assert count_descriptors() == before
