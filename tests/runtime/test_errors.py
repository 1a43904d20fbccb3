import json
import sys
import textwrap

import pytest

from penstock.protocol.limits import ERROR_DOCUMENT
from penstock.runtime.errors import RuntimeFault, error_document, log_text


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raised_by(function, *args):
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raising(error):
    raise error


def test_the_document_is_that_of_aws():
    bootstrap = pytest.importorskip("awslambdaric.bootstrap")
    try:
        raising(ValueError("wrong ü"))
    except ValueError as error:
        name, document = error_document(error, "id-1")
        theirs = bootstrap.build_fault_result(sys.exc_info(), None)
    assert name == "ValueError"
    assert list(json.loads(document)) == list(theirs)
    assert json.loads(document) == {**theirs, "requestId": "id-1"}
    assert json.loads(document)["stackTrace"][-1].endswith("in raising\n    raise error\n")


def test_a_runtime_fault_has_its_own_type_and_no_frames():
    fault = raised_by(raising, RuntimeFault("Runtime.MarshalError", "Unable"))
    name, document = error_document(fault)
    assert name == "Runtime.MarshalError"
    assert document == (
        b'{"errorMessage": "Unable", "errorType": "Runtime.MarshalError", "requestId": "", "stackTrace": []}'
    )
    assert json.loads(error_document(RuntimeFault("A", "b", ["frame"]))[1])["stackTrace"] == ["frame"]


def test_log_text():
    error = raised_by(raising, ValueError("wrong"))
    first, second, *frames = log_text(error).split("\n")
    assert first == "[ERROR] ValueError: wrong"
    assert second == "Traceback (most recent call last):"
    assert frames[-2].endswith(", in raising")
    assert frames[-1] == "    raise error"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(), "[ERROR] ValueError"),
        (ValueError("a\nb"), "[ERROR] ValueError: a\nb"),
        (Unprintable(), "[ERROR] Unprintable: <exception str() failed>"),
        (KeyError("x"), "[ERROR] KeyError: 'x'"),
        (RuntimeFault("Runtime.X", "m", ["  File 1\n"]), None),
    ],
    ids=repr,
)
def test_log_text_without_frames(error, text):
    expected = "[ERROR] Runtime.X: m\nTraceback (most recent call last):\n  File 1"
    assert log_text(error) == (text or expected)


def test_the_log_shows_where_an_import_failed():
    fault = RuntimeFault("Runtime.ImportModuleError", "m")
    fault.__cause__ = raised_by(raising, ImportError("x"))
    assert "in raising" in log_text(fault)
    assert json.loads(error_document(fault)[1])["stackTrace"] == []


def test_this_runtimes_frames_at_the_top_are_left_out():
    from penstock.runtime import chunks

    class File:
        def read(self, size):
            raise OSError("disk")

    def drive():
        for _ in chunks.iterate(File()):
            pass

    # The frame of `drive` is above ours here; in the runtime nothing is.
    error = raised_by(drive)
    inner = error.__traceback__.tb_next.tb_next
    assert "chunks.py" in inner.tb_frame.f_code.co_filename
    frames = json.loads(error_document(error.with_traceback(inner))[1])["stackTrace"]
    assert len(frames) == 1
    assert "in read\n" in frames[0]


def test_frames_are_kept_when_all_are_ours():
    from penstock.runtime import chunks

    broken = raised_by(lambda: next(chunks.iterate(1)))
    ours = broken.__traceback__.tb_next.tb_next
    frames = json.loads(error_document(broken.with_traceback(ours))[1])["stackTrace"]
    assert len(frames) == 1
    assert "chunks.py" in frames[0]


def test_asyncio_between_us_and_the_function_is_left_out():
    import asyncio

    async def handler():
        raising(ValueError("x"))

    error = raised_by(asyncio.run, handler())
    below = error.__traceback__.tb_next.tb_next  # in asyncio.run
    frames = json.loads(error_document(error.with_traceback(below))[1])["stackTrace"]
    assert "in handler\n" in frames[0]


@pytest.mark.parametrize(
    "message",
    ["x" * 3_000_000, "\0" * 300_000, "😀" * 200_000, "\ud83d" * 100_000, "\\" * 200_000],
    ids=["ascii", "control", "emoji", "surrogates", "backslashes"],
)
def test_a_huge_message_is_cropped(message):
    name, document = error_document(ValueError(message), "id-1")
    assert name == "ValueError"
    assert ERROR_DOCUMENT // 8 < len(document) <= ERROR_DOCUMENT
    parsed = json.loads(document)
    assert parsed["errorMessage"].endswith("… (cropped)")
    assert parsed["requestId"] == "id-1"
    assert len(log_text(ValueError(message))) <= ERROR_DOCUMENT + 100


def test_huge_frames_and_names_are_cropped():
    name, document = error_document(RuntimeFault("T", "message", ["f" * 300_000] * 20))
    assert len(document) <= ERROR_DOCUMENT
    assert json.loads(document)["errorMessage"] == "message"
    name, document = error_document(type("N" * 1_000_000, (Exception,), {})("m"))
    assert len(name) == 256
    assert len(document) < 1000


def test_a_lone_surrogate_is_escaped():
    document = error_document(ValueError("cut \ud83d"))[1]
    assert b'"cut \\ud83d"' in document
    assert json.loads(document)["errorMessage"] == "cut \ud83d"


def test_odd_exceptions_are_reported():
    def endless(n):
        return endless(n + 1)

    circle = ValueError("a")
    circle.__cause__ = circle
    for error in (Unprintable(), raised_by(endless, 0), circle, SystemExit(3), BaseException()):
        name, document = error_document(error)
        assert json.loads(document)["errorType"] == name == type(error).__name__
        assert name in log_text(error)


def test_frames_whose_source_is_gone(tmp_path):
    path = tmp_path / "gone.py"
    path.write_bytes(b"\xff\xfe not text")
    code = compile(textwrap.dedent("def f():\n    raise ValueError('x')\n"), str(path), "exec")
    namespace = {}
    exec(code, namespace)  # noqa: S102
    frames = json.loads(error_document(raised_by(namespace["f"]))[1])["stackTrace"]
    assert "gone.py" in frames[-1]


def test_a_trace_that_cannot_be_formatted_is_left_out(monkeypatch):
    monkeypatch.setattr("traceback.extract_tb", raising)
    document = error_document(raised_by(raising, ValueError("x")))[1]
    assert json.loads(document)["stackTrace"] == []
