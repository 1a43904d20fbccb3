"""Errors as AWS's Python runtime reports them: the document the caller gets, and the text in the log.

Source: awslambdaric, bootstrap.py (make_error, log_error) and lambda_runtime_exception.py.

Nothing here fails, whatever the exception is like: an error that cannot be reported would end the runtime.
"""

import os
from collections.abc import Sequence
from types import TracebackType

from penstock.protocol.limits import ERROR_DOCUMENT

MALFORMED_HANDLER_NAME = "Runtime.MalformedHandlerName"
BUILT_IN_MODULE_CONFLICT = "Runtime.BuiltInModuleConflict"
IMPORT_MODULE_ERROR = "Runtime.ImportModuleError"
USER_CODE_SYNTAX_ERROR = "Runtime.UserCodeSyntaxError"
HANDLER_NOT_ASYNC = "Runtime.HandlerNotAsync"  # ours: see lanes.py
HANDLER_NOT_FOUND = "Runtime.HandlerNotFound"
MARSHAL_ERROR = "Runtime.MarshalError"
UNMARSHAL_ERROR = "Runtime.UnmarshalError"
BEFORE_SNAPSHOT_ERROR = "Runtime.BeforeSnapshotError"
AFTER_RESTORE_ERROR = "Runtime.AfterRestoreError"
CONTEXT_UNMARSHAL_ERROR = "Runtime.LambdaContextUnmarshalError"

_NAME_LENGTH = 256  # of an error type, in characters: a class name is not cropped by anything else
_OWN = os.path.dirname(__file__) + os.sep
# What stands between this runtime and the function at the top of a traceback.
_ABOVE = (_OWN, "<frozen importlib", os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep)


class RuntimeFault(Exception):
    """The runtime cannot go on with what the function is or gave. `error_type` is AWS's name for it."""

    def __init__(self, error_type: str, message: str, trace: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.trace = list(trace)  # formatted frames


def marshal_error(message: str) -> RuntimeFault:
    """What the handler gave cannot be sent."""
    return RuntimeFault(MARSHAL_ERROR, f"Unable to marshal response: {message}")


def message_of(raised: BaseException) -> str:
    """The text of an exception, also of one whose `__str__` raises."""
    try:
        return str(raised)
    except BaseException:
        return "<exception str() failed>"  # Python's own words, in its tracebacks


def error_document(
    raised: BaseException, request_id: str = "", limit: int = ERROR_DOCUMENT
) -> tuple[str, bytes]:
    """The error's type, and the JSON document for the caller: at most `limit` bytes, cropped if need be.

    The innermost frames are kept longest; `log_text` has them all.
    """
    name = _name(raised)
    message = message_of(raised)[:ERROR_DOCUMENT]
    stack = raised.trace if isinstance(raised, RuntimeFault) else _stack(raised.__traceback__)
    document = _document(message, name, request_id, stack)
    frames = 16
    while len(document) > limit and frames:
        document = _document(message, name, request_id, stack[-frames:])
        frames //= 2
    size = limit
    while len(document) > limit and size:
        size //= 2
        cropped = message if len(message) <= size else message[:size] + "… (cropped)"
        document = _document(cropped, name, request_id, [frame[: size // 32] for frame in stack[-16:]])
    return name, document


def log_text(raised: BaseException) -> str:
    """The error for the log: `[ERROR] ValueError: message`, then the function's own frames.

    For a module that could not be imported the log shows where, which AWS does not.
    """
    message = message_of(raised)[:ERROR_DOCUMENT]
    if isinstance(raised, RuntimeFault):
        cause = raised.__cause__
        stack = raised.trace or (_stack(cause.__traceback__, keep_own=False) if cause else [])
    else:
        stack = _stack(raised.__traceback__)
    lines = [f"[ERROR] {_name(raised)}: {message}" if message else f"[ERROR] {_name(raised)}"]
    if stack:
        lines.append("Traceback (most recent call last):")
        lines += (frame.rstrip("\n") for frame in stack)
    return "\n".join(lines)


def _name(raised: BaseException) -> str:
    return raised.error_type if isinstance(raised, RuntimeFault) else type(raised).__name__[:_NAME_LENGTH]


def _document(message: str, name: str, request_id: str, stack: list[str]) -> bytes:
    import json  # most functions never fail

    # The order of keys is AWS's.
    text = json.JSONEncoder(ensure_ascii=False).encode(
        {"errorMessage": message, "errorType": name, "requestId": request_id, "stackTrace": stack}
    )
    # Half a surrogate pair becomes \udXXX, which is how JSON writes it.
    return text.encode("utf-8", "backslashreplace")


def _stack(traceback: TracebackType | None, keep_own: bool = True) -> list[str]:
    """The formatted frames, without this runtime's at the top (unless there are no others)."""
    try:
        from traceback import extract_tb, format_list  # costs more to import than most functions' work

        # Tuples, as AWS has it: no carets under the line.
        frames = [
            (frame.filename, frame.lineno, frame.name, frame.line)
            for frame in extract_tb(traceback)
            if not (frame.name == "import_for_handler" and frame.filename.startswith(_OWN))
        ]
        for index, frame in enumerate(frames):
            if not frame[0].startswith(_ABOVE):
                return format_list(frames[index:])  # type: ignore[arg-type]  # typeshed: lineno may be None
        return format_list(frames) if keep_own else []  # type: ignore[arg-type]
    except Exception:
        return []
