"""Token buckets: what may pass, and when the next may. Time is an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.limits import KIB, MIB
from penstock.service.pacing import Bandwidth, Rate, Scaling


def test_a_full_bucket_lets_its_capacity_through_then_its_rate() -> None:
    rate = Rate(capacity=3, per_second=2)
    assert [rate.take(10) for _ in range(4)] == [True, True, True, False]
    assert not rate.take(10.49)
    assert rate.take(10.5)
    assert not rate.take(10.5)


def test_what_is_not_used_does_not_accrue() -> None:
    rate = Rate(capacity=2, per_second=10)
    assert rate.full(0)
    assert rate.take(0)
    assert not rate.full(0.05)
    assert rate.full(0.1)
    assert [rate.take(1000) for _ in range(3)] == [True, True, False]


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    rate = Rate(capacity=1, per_second=1000)
    assert rate.take(5)
    assert not rate.take(5)
    assert not rate.take(4)


def test_nothing_passes_where_nothing_may() -> None:
    assert not Rate(0, 0).take(1e9)


def test_aws_s_rates_let_the_next_one_through_within_a_second() -> None:
    """So Retry-After is 1, whatever the reason: the smallest rates there are."""
    scaling = Scaling()
    assert scaling.per_second >= 1
    assert scaling.requests_per_concurrency * 1 >= 1


def test_the_first_six_mb_of_a_stream_are_free() -> None:
    pace = Bandwidth(100.0)
    assert pace.spend(6 * MIB - 1, 100.0) == 0
    assert pace.spend(1, 100.0) == 0.125


def test_then_each_eighth_of_a_second_gives_a_quarter_mb() -> None:
    pace = Bandwidth(0.0)
    assert pace.spend(6 * MIB, 0.0) == 0.125
    assert pace.spend(256 * KIB - 1, 0.125) == 0
    assert pace.spend(1, 0.2) == pytest.approx(0.05)
    # Much at once is paid off later.
    assert pace.spend(1 * MIB, 0.25) == pytest.approx(0.5)


def test_a_slow_stream_is_never_held_back_and_saves_up_no_more_than_the_burst() -> None:
    pace = Bandwidth(0.0)
    for second in range(100):
        assert pace.spend(2 * MIB, float(second)) == 0
    assert pace.spend(6 * MIB, 1000.0) > 0


@given(st.lists(st.integers(1, 512 * KIB), min_size=1, max_size=400))
def test_whoever_pauses_as_told_stays_below_the_rate(sizes: list[int]) -> None:
    now, sent, pace = 0.0, 0, Bandwidth(0.0)
    for size in sizes:
        sent += size
        now += pace.spend(size, now)
        # One read is over it at most, and it is paid for before the next.
        assert sent <= 6 * MIB + 2 * MIB * (now + 0.25)
    if sent > 7 * MIB:
        assert now >= (sent - 6.5 * MIB) / (2 * MIB)
