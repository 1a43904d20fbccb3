"""What calls of before say about the next ones."""

import random

import pytest

from penstock.service.forecast import Forecast


def test_calls_one_at_a_time_foretell_no_more() -> None:
    forecast = Forecast()
    assert [forecast.arrived(1) for _ in range(100)] == [1] * 100


@pytest.mark.parametrize("running", [2, 32, 1000])
def test_as_many_as_ever_foretell_as_many(running: int) -> None:
    """Clients that each wait for an answer before they call again."""
    forecast = Forecast()
    for _ in range(100):
        likely = forecast.arrived(running)
    assert likely - running in (-1, 0)


def test_ever_more_foretell_more() -> None:
    forecast = Forecast()
    ahead = [forecast.arrived(running) - running for running in range(1, 30)]
    assert ahead[0] == 0
    assert ahead[3] >= 1
    assert all(12 <= each <= 18 for each in ahead[20:])


def test_ups_and_downs_foretell_the_next_peak() -> None:
    chance = random.Random(1)
    running = [sum(chance.random() < 0.1 for _ in range(200)) for _ in range(1000)]  # about 20, ± 4
    forecast = Forecast()
    likely = [forecast.arrived(each) for each in running]
    enough = sum(likely[at - 1] >= each for at, each in enumerate(running) if at > 50) / 950
    assert enough > 0.95
    assert sum(likely) / len(likely) < 35


def test_a_peak_is_forgotten() -> None:
    forecast = Forecast()
    for running in range(1, 30):
        forecast.arrived(running)
    for _ in range(50):
        likely = forecast.arrived(2)
    assert likely == 2
