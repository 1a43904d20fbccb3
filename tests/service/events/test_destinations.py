import json
import os
import resource
from pathlib import Path

import pytest

from penstock.protocol.call import Call, Ending, Outcome
from penstock.service.events.destinations import (
    Answer,
    DestinationError,
    ToFile,
    ToFunction,
    append,
    check_destination,
    parse_destination,
    record,
    shown,
)
from penstock.service.events.queue import Event

ARN = "arn:aws:lambda:us-east-1:000000000000:function:app"


def event(payload: bytes = b'{"a": 1}') -> Event:
    return Event(1, Call("app", payload, request_id="id-1"), 0, 1000.0, 2, 0, "")


def answer(body: bytes, ending: Ending = Ending.DONE) -> Answer:
    return Answer(Outcome(ending), "3", body)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (ARN, ToFunction("app")),
        (f"{ARN}:live", ToFunction("app", "live")),
        (f"{ARN}:$LATEST", ToFunction("app", "$LATEST")),
        ("file:///tmp/out.jsonl", ToFile(Path("/tmp/out.jsonl"))),
        ("file:///tmp/a%20b%23%C3%A9.jsonl", ToFile(Path("/tmp/a b#é.jsonl"))),
    ],
)
def test_what_can_be_a_destination(text: str, meant: ToFunction | ToFile) -> None:
    assert check_destination(text) == ""
    assert parse_destination(text) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", " is neither a function's ARN nor file:///path."),
        ("app", "app is neither a function's ARN nor file:///path."),
        (
            "arn:aws:sqs:us-east-1:000000000000:queue",
            "arn:aws:sqs:us-east-1:000000000000:queue is not here: a destination is a function's ARN, or file:///path.",
        ),
        (
            "arn:aws:s3:::bucket",
            "arn:aws:s3:::bucket is not here: a destination is a function's ARN, or file:///path.",
        ),
        (
            "arn:aws:lambda:us-east-1:0:layer:app",
            "arn:aws:lambda:us-east-1:0:layer:app is not the ARN of a function, a version or an alias.",
        ),
        (f"{ARN}:", f"{ARN}: is not the ARN of a function, a version or an alias."),
        (f"{ARN}:a:b", f"{ARN}:a:b is not the ARN of a function, a version or an alias."),
        (
            "file:out.jsonl",
            "file:out.jsonl is not of the form file:///path (a # or ? in it is written %23, %3F).",
        ),
        (
            "file://host/out",
            "file://host/out is not of the form file:///path (a # or ? in it is written %23, %3F).",
        ),
        ("file:///a?b", "file:///a?b is not of the form file:///path (a # or ? in it is written %23, %3F)."),
        (
            "file:///a%00b",
            "file:///a%00b is not of the form file:///path (a # or ? in it is written %23, %3F).",
        ),
        ("file://[", "file://[ is no URL."),
        ("file:///tmp", "/tmp is a folder: records are lines of a file."),
        ("file:///none/", "/none/ is a folder: records are lines of a file."),
        ("file:///none/at/all", "The folder /none/at does not exist."),
    ],
)
def test_what_cannot(text: str, reason: str) -> None:
    assert check_destination(text) == reason


def test_a_record_of_a_success() -> None:
    made = record(event(), f"{ARN}:live", "Success", 3, answer(b'{\n "b": [1.0, 2e3]\r\n}'), 1573755365.568)
    assert made == (
        b'{"version":"1.0","timestamp":"2019-11-14T18:16:05.568Z",'
        b'"requestContext":{"requestId":"id-1","functionArn":"%b:live","condition":"Success",'
        b'"approximateInvokeCount":3},"requestPayload":{"a": 1},'
        b'"responseContext":{"statusCode":200,"executedVersion":"3"},'
        b'"responsePayload":{  "b": [1.0, 2e3]  }}' % ARN.encode()
    )


def test_a_record_of_a_failure() -> None:
    document = json.dumps({"errorMessage": "nö", "errorType": "ValueError"}).encode()
    made = json.loads(
        record(event(b"null"), ARN, "RetriesExhausted", 3, answer(document, Ending.CRASHED), 1000.0)
    )
    assert made["requestPayload"] is None
    assert made["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "3",
        "functionError": "Unhandled",
    }
    assert made["responsePayload"] == {"errorMessage": "nö", "errorType": "ValueError"}


def test_a_record_without_an_answer() -> None:
    made = json.loads(record(event(), ARN, "EventAgeExceeded", 0, None, 1000.0))
    assert list(made) == ["version", "timestamp", "requestContext", "requestPayload"]


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"", None),
        (b"one\ntwo\n", "one\ntwo\n"),
        (b'{"line": 1}\n{"line": 2}\n', '{"line": 1}\n{"line": 2}\n'),
        (b"NaN", "NaN"),
        (b"\xff\x00", "\ufffd\x00"),
        (b"[" * 100_000, "[" * 100_000),
        (b' "text" ', "text"),
    ],
)
def test_a_response_that_is_no_json_is_text(body: bytes, payload: object) -> None:
    made = record(event(), ARN, "Success", 1, answer(body), 1000.0)
    assert b"\n" not in made
    assert json.loads(made)["responsePayload"] == payload


def test_a_payload_of_many_lines_is_one() -> None:
    made = record(event(b'{\n  "text": "a\\nb"\n}'), ARN, "Success", 1, None, 1000.0)
    assert b"\n" not in made
    assert json.loads(made)["requestPayload"] == {"text": "a\nb"}


def test_a_very_long_record_is_cut_for_the_log() -> None:
    assert shown(b"{}") == "{}"
    text = shown(b"x" * 100_000)
    assert text == "x" * 65_536 + "… (100,000 bytes)"


# Files.


def test_lines_are_added(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    append(path, b"{}")
    append(path, b"[]")
    assert path.read_bytes() == b"{}\n[]\n"
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_that_a_kill_has_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"to')
    append(path, b"{}")
    assert path.read_bytes() == b'{"whole": 1}\n{"to\n{}\n'


def test_what_the_disk_does_not_take_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    append(path, b"{}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DestinationError, match=rf"cannot write to {path}: File too large"):
            append(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"{}\n"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="No such file or directory"):
        append(tmp_path / "none" / "out.jsonl", b"{}")
    with pytest.raises(DestinationError, match="Is a directory"):
        append(tmp_path, b"{}")


def test_a_pipe_is_written_to_as_well(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(DestinationError, match="Invalid argument"):  # it cannot be made durable
            append(path, b"{}")
    finally:
        os.close(reader)
