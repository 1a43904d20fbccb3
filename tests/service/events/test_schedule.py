import pytest

from penstock.protocol.call import Ending, Outcome
from penstock.service.events.schedule import (
    EVENT_AGE_EXCEEDED,
    RETRIES_EXHAUSTED,
    RETRY_DELAY,
    Again,
    EventSettings,
    Over,
    Verdict,
    after_failure,
    after_refusal,
    back_off,
    expired,
    verdict,
)

ACCEPTED = 1000.0
DEFAULTS = EventSettings()


@pytest.mark.parametrize("ending", Ending)
def test_every_way_to_end_has_a_verdict(ending: Ending) -> None:
    expected = {
        Ending.DONE: Verdict.SUCCEEDED,
        Ending.THROTTLED: Verdict.THROTTLED,
        Ending.STOPPED: Verdict.KEPT,
        Ending.CANCELLED: Verdict.KEPT,
    }
    assert verdict(Outcome(ending)) is expected.get(ending, Verdict.FAILED)


@pytest.mark.parametrize("ending", [Ending.CRASHED, Ending.INIT_ERROR])
def test_a_sandbox_that_failed_is_not_the_functions_fault(ending: Ending) -> None:
    assert verdict(Outcome(ending, "Sandbox.Failure")) is Verdict.KEPT
    assert verdict(Outcome(ending, "Runtime.ExitError")) is Verdict.FAILED


@pytest.mark.parametrize(
    ("settings", "attempts", "now", "expected"),
    [
        (DEFAULTS, 1, 1001.0, Again(1061.0)),
        (DEFAULTS, 2, 1062.0, Again(1182.0)),
        (DEFAULTS, 3, 1183.0, Over(RETRIES_EXHAUSTED)),
        (EventSettings(0), 1, 1001.0, Over(RETRIES_EXHAUSTED)),
        (EventSettings(1), 1, 1001.0, Again(1061.0)),
        (EventSettings(1), 2, 1062.0, Over(RETRIES_EXHAUSTED)),
        (EventSettings(None, 60), 1, 1000.0, Again(1060.0)),
        (EventSettings(None, 60), 1, 1000.5, Over(EVENT_AGE_EXCEEDED)),
        (EventSettings(0, 60), 1, 2000.0, Over(RETRIES_EXHAUSTED)),
        (DEFAULTS, 1, 1000.0 + 21_541, Over(EVENT_AGE_EXCEEDED)),
    ],
)
def test_after_a_function_error(
    settings: EventSettings, attempts: int, now: float, expected: Again | Over
) -> None:
    assert after_failure(settings, RETRY_DELAY, ACCEPTED, attempts, now) == expected


@pytest.mark.parametrize(
    ("refusals", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (11, 300), (100_000, 300)]
)
def test_the_back_off_doubles_up_to_five_minutes(refusals: int, seconds: float) -> None:
    assert back_off(refusals) == seconds
    assert after_refusal(DEFAULTS, ACCEPTED, refusals, 1001.0) == Again(1001.0 + seconds)


def test_refusals_end_with_the_events_age() -> None:
    settings = EventSettings(None, 60)
    assert after_refusal(settings, ACCEPTED, 5, 1059.0) == Again(1060.0)
    assert not expired(settings, ACCEPTED, 1059.9)
    assert expired(settings, ACCEPTED, 1060.0)
    assert after_refusal(settings, ACCEPTED, 6, 1060.0) == Over(EVENT_AGE_EXCEEDED)
    assert not expired(DEFAULTS, ACCEPTED, 22_599.0)
    assert expired(DEFAULTS, ACCEPTED, 22_600.0)
