import json

import pytest

from penstock.protocol.error_documents import classify, error_document, refusal, without_cause


def test_an_error_document_is_json() -> None:
    document = error_document("Sandbox.Timedout", 'said "no"')
    assert json.loads(document) == {"errorType": "Sandbox.Timedout", "errorMessage": 'said "no"'}


@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
        ("Function.ResponseSizeTooLarge", "Function.ResponseSizeTooLarge"),
        ("ValueError", "Runtime.Unknown"),
        ("", "Runtime.Unknown"),
        ("Runtime.lower", "Runtime.Unknown"),
        ("Runtime.X", "Runtime.Unknown"),
        ("Function.", "Function.Unknown"),
        ("Function.1", "Function.Unknown"),
        ("Sandbox.Timedout", "Runtime.Unknown"),
        # As the emulator, which looks for the pattern anywhere.
        ("my Runtime.Special case", "my Runtime.Special case"),
    ],
)
def test_what_the_platform_calls_an_error(reported: str, kept: str) -> None:
    assert classify(reported) == kept


INVALID = b'"Invalid error body"'


@pytest.mark.parametrize(
    ("document", "kept"),
    [
        (
            b'{"errorMessage":"m","errorType":"T","stackTrace":["a","b"],"errorCause":{"exceptions":[]}}',
            b'{"errorMessage":"m","errorType":"T","stackTrace":["a","b"]}',
        ),
        (b'{"errorType":"T","errorCause":{}}', b'{"errorMessage":"","errorType":"T"}'),
        (b"{}", b'{"errorMessage":"","errorType":""}'),
        (b'{"errorMessage":1}', INVALID),
        (b'{"stackTrace":[1]}', INVALID),
        (b'{"stackTrace":7}', INVALID),
        (b'{"stackTrace":"text"}', INVALID),
        (b"[]", INVALID),
        (b"", INVALID),
        (b"\xff", INVALID),
        (b"[" * 100_000, INVALID),
    ],
)
def test_the_cause_is_not_for_callers(document: bytes, kept: bytes) -> None:
    assert without_cause(document) == kept


def test_a_refusal_is_the_emulators_bytes() -> None:
    assert refusal("InvalidRequestID", "Invalid request ID") == (
        b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}\n'
    )
