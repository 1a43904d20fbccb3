"""Every way to fail: how it is classed, what the caller of Invoke receives, what the log says."""

import json
import signal

import pytest

from penstock.protocol import limits
from penstock.protocol.call import Ending, Outcome
from penstock.service import outcomes
from penstock.service.backends import Exit
from penstock.service.pool import Reason

ID = "8f3c"
GIB = 1024 * limits.MIB


@pytest.mark.parametrize(
    ("outcome", "ending", "error_type", "message"),
    [
        (
            outcomes.crashed(Exit(3, 0), ID),
            Ending.CRASHED,
            "Runtime.ExitError",
            "RequestId: 8f3c Error: Runtime exited with error: exit status 3",
        ),
        (
            outcomes.crashed(Exit(-11, 0), ID, init=True),
            Ending.INIT_ERROR,
            "Runtime.ExitError",
            "RequestId: 8f3c Error: Runtime exited with error: signal: segmentation fault",
        ),
        (
            outcomes.out_of_memory(ID, GIB, 512),
            Ending.OUT_OF_MEMORY,
            "Runtime.ExitError",
            "RequestId: 8f3c Error: Runtime exited with error: signal: killed",
        ),
        (
            outcomes.out_of_memory(ID, GIB, 512, init=True),
            Ending.INIT_ERROR,
            "Runtime.ExitError",
            "RequestId: 8f3c Error: Runtime exited with error: signal: killed",
        ),
        (
            outcomes.timed_out(ID, 3),
            Ending.TIMED_OUT,
            "Sandbox.Timedout",
            "RequestId: 8f3c Error: Task timed out after 3.00 seconds",
        ),
        (
            outcomes.init_timed_out(ID, 10),
            Ending.INIT_ERROR,
            "Sandbox.Timedout",
            "RequestId: 8f3c Error: Init timed out after 10.00 seconds",
        ),
        (
            outcomes.idle_timed_out(ID, 0.5),
            Ending.IDLE_TIMED_OUT,
            "Sandbox.Timedout",
            "RequestId: 8f3c Error: No data for 0.50 seconds",
        ),
        (
            outcomes.too_large(7_000_000),
            Ending.TOO_LARGE,
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        ),
        (
            outcomes.sandbox_failure(ID, "it broke"),
            Ending.CRASHED,
            "Sandbox.Failure",
            "RequestId: 8f3c Error: it broke",
        ),
    ],
)
def test_what_the_platform_itself_reports(
    outcome: Outcome, ending: Ending, error_type: str, message: str
) -> None:
    assert not outcome.ok
    assert (outcome.ending, outcome.error_type) == (ending, error_type)
    assert json.loads(outcome.error_body) == {"errorType": error_type, "errorMessage": message}
    assert outcome.detail
    assert "\n" not in outcome.detail


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (outcomes.out_of_memory(ID, GIB, 512), "--memory"),
        (outcomes.timed_out(ID, 3), "--timeout"),
        (outcomes.init_timed_out(ID, 10), "--init-timeout"),
        (outcomes.idle_timed_out(ID, 5), "--idle-timeout"),
        (outcomes.too_large(7_000_000), "7,000,000 bytes"),
        (outcomes.too_large(7_000_000), "return the generator itself as the body"),
        (outcomes.too_large(), "the limit of 6,291,556"),
        (outcomes.throttled("ConcurrentInvocationLimitExceeded"), "--max-environments"),
    ],
)
def test_the_log_says_what_to_do(outcome: Outcome, advice: str) -> None:
    assert advice in outcome.detail


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (b'{"errorMessage":"no","errorType":"ValueError"}', "ValueError: no"),
        (b'{"errorMessage":"two\\nlines\\tand  more"}', "ValueError: two lines and more"),
        (b'{"errorMessage":null}', "ValueError"),
        (b'{"errorMessage":7}', "ValueError: 7"),
        (b"{}", "ValueError"),
        (b"[]", "ValueError"),
        (b"not JSON", "ValueError"),
        (b"\xff\xfe", "ValueError"),
        (b"", "ValueError"),
    ],
)
def test_what_a_runtime_reports_is_passed_on_as_it_is(document: bytes, detail: str) -> None:
    outcome = outcomes.function_error("ValueError", document)
    assert outcome == Outcome(Ending.FUNCTION_ERROR, "Runtime.Unknown", document, detail)
    assert outcomes.function_error("ValueError", document, init=True).ending is Ending.INIT_ERROR


def test_a_long_message_is_cut_in_the_log_only() -> None:
    document = json.dumps({"errorMessage": "x" * 100_000}).encode()
    outcome = outcomes.function_error("E", document)
    assert outcome.error_body == document
    assert len(outcome.detail) < 600


def test_a_document_nested_too_deeply_does_no_harm() -> None:
    assert outcomes.function_error("E", b"[" * 100_000).detail == "E"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, "Runtime exited without providing a reason"),
        (1, "Runtime exited with error: exit status 1"),
        (255, "Runtime exited with error: exit status 255"),
        (-signal.SIGKILL, "Runtime exited with error: signal: killed"),
        (-signal.SIGTERM, "Runtime exited with error: signal: terminated"),
        (-signal.SIGABRT, "Runtime exited with error: signal: aborted"),
        (-signal.SIGPIPE, "Runtime exited with error: signal: SIGPIPE"),
        (-99, "Runtime exited with error: signal: signal 99"),
    ],
)
def test_exits_in_aws_words(status: int, reason: str) -> None:
    assert outcomes.exit_reason(status) == reason


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (outcomes.DONE, 200),
        (outcomes.throttled("ConcurrentInvocationLimitExceeded"), 429),
        (outcomes.STOPPED, 503),
        (outcomes.timed_out(ID, 1), 502),
        (outcomes.idle_timed_out(ID, 1), 504),
        (outcomes.too_large(), 502),
        (outcomes.cancelled("x"), 499),
    ],
)
def test_the_status_before_the_first_byte(outcome: Outcome, status: int) -> None:
    assert outcome.ending.status == status
    assert outcome.ok is (status == 200)


def test_the_type_a_runtime_reports_is_classified_as_aws_does() -> None:
    outcome = outcomes.function_error("Runtime.MarshalError", b"{}")
    assert (outcome.error_type, outcome.detail) == ("Runtime.MarshalError", "Runtime.MarshalError")
    outcome = outcomes.function_error("Function.", b"{}", init=True)
    assert (outcome.error_type, outcome.detail) == ("Function.Unknown", "Function.")


def test_a_response_that_broke_off() -> None:
    document = json.loads(outcomes.truncated(ID))
    assert document["errorType"] == "Runtime.TruncatedResponse"
    assert document["errorMessage"].startswith("RequestId: 8f3c Error: ")


def test_what_cannot_be_executed() -> None:
    outcome = outcomes.invalid_entrypoint(ID, "no such file")
    assert (outcome.ending, outcome.error_type) == (Ending.INIT_ERROR, "Runtime.InvalidEntrypoint")
    assert json.loads(outcome.error_body)["errorMessage"] == "RequestId: 8f3c Error: no such file"


@pytest.mark.parametrize("reason", list(Reason))
def test_a_throttled_call_is_told_what_raises_its_limit(reason: Reason) -> None:
    outcome = outcomes.throttled(reason.value)
    assert (outcome.ending, outcome.error_type) == (Ending.THROTTLED, reason.value)
    ways = ("--max-environments", "put_function_concurrency", "--limits none")
    assert any(way in outcome.detail for way in ways)


def test_a_stream_over_aws_s_limit() -> None:
    outcome = outcomes.stream_too_large()
    assert json.loads(outcome.error_body) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (209715200 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert "--limits none" in outcome.detail
