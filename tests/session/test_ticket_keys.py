"""The chain of ticket keys, climbed by several processes."""

from pgmux.session.ticket_keys import KEY_BYTES, PERIOD_SECONDS, TicketKeys

SEED = b"s" * 64


def test_two_processes_have_the_same_key_at_the_same_time() -> None:
    one, other = TicketKeys(SEED, 100.0), TicketKeys(SEED, 100.0)
    for now in (100.0, 100.0 + PERIOD_SECONDS, 100.0 + 7.5 * PERIOD_SECONDS):
        one.advance(now)
    other.advance(100.0 + 7.5 * PERIOD_SECONDS)
    assert one.key == other.key
    assert len(one.key) == KEY_BYTES


def test_a_key_lasts_for_its_period_and_does_not_come_again() -> None:
    keys = TicketKeys(SEED, 0.0)
    seen = {keys.key}
    assert not keys.advance(PERIOD_SECONDS - 1)
    for period in range(1, 20):
        assert keys.advance(period * PERIOD_SECONDS)
        assert not keys.advance(period * PERIOD_SECONDS)
        assert keys.key not in seen
        seen.add(keys.key)


def test_the_clock_going_back_changes_nothing() -> None:
    keys = TicketKeys(SEED, 0.0)
    keys.advance(3 * PERIOD_SECONDS)
    key = keys.key
    assert not keys.advance(0.0)
    assert keys.key == key


def test_another_seed_gives_other_keys_and_neither_is_shown() -> None:
    assert TicketKeys(SEED, 0.0).key != TicketKeys(b"t" * 64, 0.0).key
    assert repr(TicketKeys(SEED, 0.0)) == "<TicketKeys step 0>"
