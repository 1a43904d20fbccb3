"""Each example in examples/ gives what its own first lines say."""

import csv
import http.client
import io
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.client import events, lines
from platform_process import Platform

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
MOMENT = 5.0  # seconds, within which a busy machine does what takes milliseconds


class Answer:
    """A response whose body can be read as it comes, and once."""

    def __init__(self, platform: Platform, path: str, headers: dict[str, str]) -> None:
        self.began = time.monotonic()
        self._connection = http.client.HTTPConnection(*platform.gateway_address, timeout=60)
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status
        self.type = self.response.getheader("Content-Type")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def chunks(self) -> Iterator[bytes]:
        while data := self.response.read1():
            yield data
        self._connection.close()

    def read(self) -> bytes:
        return b"".join(self.chunks())


@pytest.fixture
def ask(platform):
    """`ask("seed", "/path")`: serve the example as `penstock dev examples/seed.py` does, and ask it."""

    def ask(name: str, path: str = "/", headers: dict[str, str] | None = None) -> Answer:
        ask.platform = platform({name: (EXAMPLES / f"{name}.py").read_text()})
        return Answer(ask.platform, path, headers or {})

    return ask


def test_every_example_is_tested():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert [name for name in NAMES if not any(test.startswith(name) for test in tests)] == []


def test_seed(ask):
    answer = ask("seed")
    assert (answer.status, answer.type) == (200, "application/json")
    received = lines(answer.chunks())
    assert next(received) == '{"line": 0, "text": "streamed"}'
    assert answer.seconds < MOMENT
    rest = [json.loads(line)["line"] for line in received]
    assert rest == list(range(1, 1000))
    assert 9.9 < answer.seconds < 20
    request = ask.platform.wait_for(event="request")
    assert (request["ending"], request["chunks"]) == ("done", 1000)


def test_plain(ask):
    answer = ask("plain", "/world")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.read() == b'{"hello": "world"}\n'


def test_plain_knows_both_event_formats(ask):
    ask("plain").read()
    assert Answer(ask.platform, "/lambda-url/plain/world", {}).read() == b'{"hello": "world"}\n'


def test_async_tokens(ask):
    answer = ask("async_tokens")
    assert (answer.status, answer.type) == (200, "application/x-ndjson")
    received = lines(answer.chunks())
    assert json.loads(next(received)) == {"source": "cache", "seconds": 0.1}
    assert [json.loads(line)["source"] for line in received] == ["database", "archive"]


def test_csv_from_sqlite(ask):
    answer = ask("csv_from_sqlite", "/measurements.csv")
    assert (answer.status, answer.type) == (200, "text/csv; charset=utf-8")
    assert answer.response.getheader("Content-Disposition") == 'attachment; filename="measurements.csv"'
    text = answer.read().decode()
    assert text.startswith("id,station,celsius\n1,Oslo,-3.0\n2,Lima,-20.9\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 100_000
    assert rows[-1]["id"] == "100000"


def test_sse_tokens(ask):
    answer = ask("sse_tokens")
    assert (answer.status, answer.type) == (200, "text/event-stream")
    received = events(answer.chunks())
    first = next(received)
    assert (first.event, first.id, json.loads(first.data)) == ("message", "0", {"token": "A"})
    rest = list(received)
    assert [event.id for event in rest] == [str(n) for n in range(1, 16)]
    assert (rest[-1].event, json.loads(rest[-1].data)) == ("done", {"tokens": 15})


def test_sse_tokens_goes_on_where_a_browser_was(ask):
    received = list(events(ask("sse_tokens", headers={"Last-Event-ID": "12"}).chunks()))
    assert [event.id for event in received] == ["13", "14", "15"]


def test_gzip_file(ask):
    answer = ask("gzip_file")
    assert (answer.status, answer.type) == (200, "application/gzip")
    text = zlib.decompress(answer.read(), wbits=31).decode()
    assert text.count("\n") == 200_000
    assert text.endswith("\n2026-01-03T07:33:19Z INFO request 199999 took 73 ms\n")


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
def test_export_2gib_of_another_size(ask, size):
    answer = ask("export_2gib", f"/?bytes={size}")
    assert (answer.status, answer.type) == (200, "application/octet-stream")
    assert answer.read() == (bytes(range(256)) * (size // 256 + 1))[:size]


def test_export_2gib_begins_at_once(ask):
    answer = ask("export_2gib")
    assert len(next(answer.chunks())) > 0
    assert answer.seconds < MOMENT
    answer.response.close()
    answer._connection.close()
    assert ask.platform.wait_for(event="request")["ending"] == "client left"


def test_too_large(ask):
    answer = ask("too_large")
    assert (answer.status, answer.type) == (502, "application/json")
    assert answer.read() == b'{"message": "Internal server error"}'
    request = ask.platform.wait_for(event="request")
    assert request["ending"] == "response too large"
    assert "return the generator itself" in request["detail"]
    report = [event["message"] for event in ask.platform.events if "REPORT" in event.get("message", "")]
    assert "Function.ResponseSizeTooLarge" in report[0]
