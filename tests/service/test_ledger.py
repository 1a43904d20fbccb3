"""What a pool knows of lines and environments; the bookkeeping itself is tested with the pool."""

import pytest

from penstock.service.ledger import Ledger, Line, Owner, Share, Slot, State


@pytest.mark.parametrize(
    ("seats", "lacking", "needed"),
    [(1, 3, 3), (1, 0, 0), (1, -2, 0), (3, 1, 1), (3, 3, 1), (3, 4, 2), (3, -1, 0)],
)
def test_how_many_environments_a_line_lacks(seats: int, lacking: int, needed: int) -> None:
    assert Line("f", Owner("f", Share(9)), seats, lacking=lacking).needed == needed


def test_one_that_starts_is_wasted_when_all_its_seats_open_for_nobody() -> None:
    line = Line("f", Owner("f", Share(9)), seats=3, lacking=-2)
    line.starting[1] = Slot(1, line, State.STARTING, since=0, opening=3)
    assert not line.wasteful
    line.lacking = -3
    assert line.wasteful
    line.starting.clear()
    assert not line.wasteful


def test_an_environment_is_unused_when_each_seat_is_free_or_was_never_asked_for() -> None:
    line = Line("f", Owner("f", Share(9)), seats=3)
    slot = Slot(1, line, State.IDLE, since=0, opening=2, free=1)
    assert slot.unused
    slot.returning = 1
    assert not slot.unused
    slot.returning, slot.busy = 0, 1
    assert not slot.unused


def test_an_empty_ledger() -> None:
    assert repr(Ledger(2, 2, 60)) == (
        "<Pool 0 starting, 0 idle, 0 busy, 0 returning, 0 stopping of 2; 0 waiting>"
    )
