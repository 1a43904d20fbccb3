"""What becomes of an event after an attempt at it: when it is tried again, or why it is not.

Pure: times are Unix seconds, and `now` is an argument.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html

| the attempt ended | counts | then |
|---|---|---|
| done | yes | over: Success |
| by the function's fault: error, crash, timeout, … | yes | twice more, after one minute and two; then over: |
| | | RetriesExhausted, or EventAgeExceeded if the next would be too late |
| by the platform's: throttled, service stopped, … | no | again after 1 s, 2 s, … 5 min, until the event is |
| | | too old: EventAgeExceeded |
"""

from dataclasses import dataclass
from enum import Enum, auto

from penstock.protocol import runtime_api
from penstock.protocol.call import Ending, Outcome

MAX_RETRIES = 2  # MaximumRetryAttempts, unless it is set
MAX_AGE = 21_600.0  # MaximumEventAgeInSeconds, unless it is set
RETRY_DELAY = 60.0  # seconds before the first retry; the second waits twice as long
_FIRST_BACK_OFF = 1.0
_LONGEST_BACK_OFF = 300.0

# AWS's words in a record, requestContext.condition.
SUCCESS = "Success"
RETRIES_EXHAUSTED = "RetriesExhausted"
EVENT_AGE_EXCEEDED = "EventAgeExceeded"
# Not in the guide; what AWS sends was recorded by LocalStack, tests/aws/services/lambda_/test_lambda.py.
ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"


@dataclass(frozen=True, slots=True)
class EventSettings:
    """A function's configuration of asynchronous invocation. None, and "", where nothing is set."""

    max_attempts: int | None = None  # MaximumRetryAttempts: those after the first
    max_age: float | None = None  # MaximumEventAgeInSeconds
    on_success: str = ""  # destinations: a function's ARN, or file:///…
    on_failure: str = ""

    @property
    def age(self) -> float:
        return MAX_AGE if self.max_age is None else self.max_age


class Verdict(Enum):
    """What an attempt says of the function."""

    SUCCEEDED = auto()
    FAILED = auto()
    THROTTLED = auto()  # nothing of this function can run now
    KEPT = auto()  # this event could not be run, by no fault of the function's


_VERDICTS = {
    Ending.DONE: Verdict.SUCCEEDED,
    Ending.FUNCTION_ERROR: Verdict.FAILED,
    Ending.INIT_ERROR: Verdict.FAILED,
    Ending.CRASHED: Verdict.FAILED,
    Ending.OUT_OF_MEMORY: Verdict.FAILED,
    Ending.TIMED_OUT: Verdict.FAILED,
    Ending.IDLE_TIMED_OUT: Verdict.FAILED,
    Ending.TOO_LARGE: Verdict.FAILED,
    Ending.CANCELLED: Verdict.KEPT,  # only when the service ends
    Ending.STOPPED: Verdict.KEPT,
    Ending.THROTTLED: Verdict.THROTTLED,
}


@dataclass(frozen=True, slots=True)
class Again:
    """Try the event once more."""

    due: float


@dataclass(frozen=True, slots=True)
class Over:
    """The event is done with; `condition` is AWS's word for how."""

    condition: str


def verdict(outcome: Outcome) -> Verdict:
    """What an attempt's outcome says of the function."""
    if outcome.error_type == runtime_api.SANDBOX_FAILURE:
        return Verdict.KEPT
    return _VERDICTS[outcome.ending]


def after_failure(
    settings: EventSettings, retry_delay: float, accepted: float, attempts: int, now: float
) -> Again | Over:
    """The function has failed `attempts` times, the last time now."""
    retries = MAX_RETRIES if settings.max_attempts is None else settings.max_attempts
    if attempts > retries:
        return Over(RETRIES_EXHAUSTED)
    due = now + retry_delay * attempts
    return Over(EVENT_AGE_EXCEEDED) if due > accepted + settings.age else Again(due)


def after_refusal(settings: EventSettings, accepted: float, refusals: int, now: float) -> Again | Over:
    """It could not be run, for the `refusals`-th time in a row."""
    if expired(settings, accepted, now):
        return Over(EVENT_AGE_EXCEEDED)
    return Again(min(now + back_off(refusals), accepted + settings.age))


def expired(settings: EventSettings, accepted: float, now: float) -> bool:
    """Whether an event is too old to be tried at all."""
    return now >= accepted + settings.age


def back_off(refusals: int) -> float:
    """Seconds to wait after so many refusals in a row: 1, 2, 4, … and 300 at most."""
    return min(_FIRST_BACK_OFF * 2.0 ** min(refusals - 1, 20), _LONGEST_BACK_OFF)
