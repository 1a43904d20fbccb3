"""The outcomes of invocations: for each way one can fail, what AWS's callers receive and what the log says.

Pure. Texts are AWS's, recorded from real functions; `detail` is ours, for the person reading the log.
"""

import json
import signal

from penstock.protocol import limits, runtime_api
from penstock.protocol.call import Ending, Outcome
from penstock.protocol.error_documents import classify, error_document

from .backends import Exit

DONE = Outcome(Ending.DONE)
STOPPED = Outcome(Ending.STOPPED, runtime_api.SANDBOX_FAILURE, detail="the service was stopped")

_THROTTLED = {
    "ConcurrentInvocationLimitExceeded": "every environment that is not reserved for a function is busy; "
    "--max-environments raises the limit",
    "ReservedFunctionConcurrentInvocationLimitExceeded": "the function's reserved concurrency is in use; "
    "put_function_concurrency raises it",
    "FunctionInvocationRateLimitExceeded": "calls come faster than AWS takes them: 1,000 new environments in "
    "10 s, and 10 requests a second for each unit of concurrency; --limits none takes them all",
    "ReservedFunctionInvocationRateLimitExceeded": "more than 10 requests a second for each unit of the "
    "function's reserved concurrency; put_function_concurrency raises it, --limits none takes them all",
}

# Go's names of signals, which AWS's messages use.
_SIGNALS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGKILL: "killed",
    signal.SIGTERM: "terminated",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGILL: "illegal instruction",
}


def function_error(error_type: str, document: bytes, *, init: bool = False) -> Outcome:
    """The runtime reported an error: before the response, in its trailers, or of its init.

    As on AWS the type it reported is for the platform, which knows few: a Python exception's name is its
    Runtime.Unknown, in InvokeComplete's ErrorCode and in the REPORT line. The document reaches callers as it
    is, with the name in its `errorType`; `detail` has it too.
    """
    message = _message(document)
    said = f"{error_type}: {message}" if message else error_type
    ending = Ending.INIT_ERROR if init else Ending.FUNCTION_ERROR
    return Outcome(ending, classify(error_type), document, said)


def crashed(exit: Exit, request_id: str, *, init: bool = False) -> Outcome:
    """The environment's process ended in the middle."""
    reason = exit_reason(exit.status)
    document = error_document(runtime_api.EXIT_ERROR, f"RequestId: {request_id} Error: {reason}")
    ending = Ending.INIT_ERROR if init else Ending.CRASHED
    return Outcome(ending, runtime_api.EXIT_ERROR, document, reason)


def deserted(request_id: str, *, init: bool = False) -> Outcome:
    """It closed its connection to the Runtime API, and was killed for that."""
    reason = exit_reason(-signal.SIGKILL)
    document = error_document(runtime_api.EXIT_ERROR, f"RequestId: {request_id} Error: {reason}")
    detail = "it closed its connection to the Runtime API (os.closerange?), and was killed"
    ending = Ending.INIT_ERROR if init else Ending.CRASHED
    return Outcome(ending, runtime_api.EXIT_ERROR, document, detail)


def invalid_entrypoint(request_id: str, message: str) -> Outcome:
    """What was to be executed could not be: it is missing, not executable, or for another machine."""
    document = error_document(runtime_api.INVALID_ENTRYPOINT, f"RequestId: {request_id} Error: {message}")
    return Outcome(Ending.INIT_ERROR, runtime_api.INVALID_ENTRYPOINT, document, message)


def out_of_memory(request_id: str, used: int, memory_mb: int, *, init: bool = False) -> Outcome:
    """It used more than its MemorySize and was killed."""
    reason = exit_reason(-signal.SIGKILL)
    document = error_document(runtime_api.EXIT_ERROR, f"RequestId: {request_id} Error: {reason}")
    detail = (
        f"it used {used // limits.MIB} MB of the {memory_mb} MB it may; "
        "--memory raises the limit, a stream needs less"
    )
    return Outcome(
        Ending.INIT_ERROR if init else Ending.OUT_OF_MEMORY, runtime_api.EXIT_ERROR, document, detail
    )


def timed_out(request_id: str, seconds: float) -> Outcome:
    """The function took longer than its timeout."""
    message = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    document = error_document(runtime_api.TIMED_OUT, message)
    detail = f"the function was stopped after its timeout of {seconds:g} s; --timeout raises it"
    return Outcome(Ending.TIMED_OUT, runtime_api.TIMED_OUT, document, detail)


def init_timed_out(request_id: str, seconds: float) -> Outcome:
    """The function's imports and module code took too long."""
    message = f"RequestId: {request_id} Error: Init timed out after {seconds:.2f} seconds"
    document = error_document(runtime_api.TIMED_OUT, message)
    detail = (
        f"imports and module code took longer than {seconds:g} s; --init-timeout raises the limit"
        " (AWS then tries once more within the function's timeout)"
    )
    return Outcome(Ending.INIT_ERROR, runtime_api.TIMED_OUT, document, detail)


def restore_timed_out(request_id: str, seconds: float) -> Outcome:
    """The function's after-restore hooks took too long."""
    message = f"RequestId: {request_id} Error: Restore timed out after {seconds:.2f} seconds"
    document = error_document(runtime_api.TIMED_OUT, message)
    detail = f"the after-restore hooks took longer than {seconds:g} s, which is AWS's limit"
    return Outcome(Ending.INIT_ERROR, runtime_api.TIMED_OUT, document, detail)


def idle_timed_out(request_id: str, seconds: float) -> Outcome:
    """The function sent nothing for too long."""
    message = f"RequestId: {request_id} Error: No data for {seconds:.2f} seconds"
    document = error_document(runtime_api.TIMED_OUT, message)
    detail = f"the function sent nothing for {seconds:g} s; --idle-timeout raises the limit"
    return Outcome(Ending.IDLE_TIMED_OUT, runtime_api.TIMED_OUT, document, detail)


def too_large(size: int | None = None) -> Outcome:
    """A buffered response over the limit. AWS reports it as a function error, and so do we."""
    limit = limits.RESPONSE_PAYLOAD
    message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    document = json.dumps(
        {"errorMessage": message, "errorType": runtime_api.RESPONSE_TOO_LARGE}, separators=(",", ":")
    ).encode()
    was = f"the buffered response has {size:,} bytes," if size else "the buffered response is"
    detail = f"{was} over the limit of {limit:,}: return the generator itself as the body, and it is streamed"
    return Outcome(Ending.TOO_LARGE, runtime_api.RESPONSE_TOO_LARGE, document, detail)


def stream_too_large() -> Outcome:
    """A streamed response over AWS's limit, under --limits aws."""
    limit = limits.STREAMED_RESPONSE
    message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    document = json.dumps(
        {"errorMessage": message, "errorType": runtime_api.RESPONSE_TOO_LARGE}, separators=(",", ":")
    ).encode()
    detail = f"the stream is over AWS's limit of {limit:,} bytes; --limits none has no such limit"
    return Outcome(Ending.TOO_LARGE, runtime_api.RESPONSE_TOO_LARGE, document, detail)


def truncated(request_id: str) -> bytes:
    """The error document of a response that broke off, with its runtime alive."""
    message = f"RequestId: {request_id} Error: The response ended before it was complete"
    return error_document(runtime_api.TRUNCATED_RESPONSE, message)


def throttled(reason: str) -> Outcome:
    """It may not run now; `reason` is AWS's, and the Reason of TooManyRequestsException."""
    return Outcome(Ending.THROTTLED, reason, detail=_THROTTLED[reason])


def cancelled(detail: str) -> Outcome:
    return Outcome(Ending.CANCELLED, detail=detail)


def sandbox_failure(request_id: str, message: str) -> Outcome:
    """The environment could not be started or lost its way; nothing the function did."""
    document = error_document(runtime_api.SANDBOX_FAILURE, f"RequestId: {request_id} Error: {message}")
    return Outcome(Ending.CRASHED, runtime_api.SANDBOX_FAILURE, document, message)


def exit_reason(status: int) -> str:
    """How a process ended, in AWS's words."""
    if status == 0:
        return "Runtime exited without providing a reason"
    if status > 0:
        return f"Runtime exited with error: exit status {status}"
    try:
        name = _SIGNALS.get(signal.Signals(-status), signal.Signals(-status).name)
    except ValueError:
        name = f"signal {-status}"
    return f"Runtime exited with error: signal: {name}"


def _message(document: bytes) -> str:
    """The errorMessage of an error document, on one line."""
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return ""
    message = value.get("errorMessage") if isinstance(value, dict) else None
    return " ".join(str(message).split())[:500] if message is not None else ""
