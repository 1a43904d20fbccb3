"""Error types and error documents as the platform makes them. A runtime makes its own, without these."""

import json
import re

from .runtime_api import UNKNOWN_ERROR, UNKNOWN_FUNCTION_ERROR

_KNOWN_ERROR = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


def error_document(error_type: str, message: str) -> bytes:
    """The JSON document the platform itself answers with when a function could not."""
    return json.dumps({"errorType": error_type, "errorMessage": message}, separators=(",", ":")).encode()


def refusal(error_type: str, message: str) -> bytes:
    """The body of an answer that refuses a runtime's request: rapi/model/errorresponse.go."""
    document = {"errorMessage": message, "errorType": error_type}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def classify(reported: str) -> str:
    """The platform's error type for the one a runtime reported. Source: fatalerror/fatalerror.go.

    As there, it is enough that a name AWS would give is somewhere in it.
    """
    if _KNOWN_ERROR.search(reported):
        return reported
    return UNKNOWN_FUNCTION_ERROR if reported.startswith("Function.") else UNKNOWN_ERROR


def without_cause(document: bytes) -> bytes:
    """The error document for the caller, of one that came as ERROR_WITH_CAUSE.

    Source: rapi/handler/mime_type_error_cause_json.go. What is no such document becomes the JSON text
    "Invalid error body".
    """
    try:
        value = json.loads(document)
        if not isinstance(value, dict):
            raise ValueError
        kept = {name: value.get(name) or "" for name in ("errorMessage", "errorType")}
        stack = value.get("stackTrace") or []
        if not isinstance(stack, list) or not all(isinstance(text, str) for text in (*kept.values(), *stack)):
            raise ValueError
    except (ValueError, RecursionError):
        return b'"Invalid error body"'
    if stack:
        kept["stackTrace"] = stack
    return json.dumps(kept, separators=(",", ":")).encode()
