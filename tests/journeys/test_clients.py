"""Clients read a stream item by item while it is made: each item is made once the one before was read."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import requests

from journey_kit import CURL, TIMEOUT, Program, needs_curl, needs_node
from penstock.client import FunctionError, events, lines, split_prelude
from platform_process import Platform

COUNT = 4

# Makes item n once the file <gate>-<n> is there. Its response has the form of the README's example.
GATED = """
    import io, json, os, time

    def items(gate, fail):
        for number in range(4):
            while number and not os.path.exists(f"{gate}-{number}"):
                time.sleep(0.002)
            if fail == str(number):
                raise ValueError("as asked")
            yield number

    def lambda_handler(event, context):
        asked = event["queryStringParameters"]
        made = items(asked["gate"], asked.get("fail"))

        def gen():
            for number in made:
                if asked.get("as") == "events":
                    yield f"id: {number}\\nevent: tick\\ndata: {number}\\ndata: é\\n\\n"
                else:
                    yield json.dumps({"line": number, "text": "é😀"}, ensure_ascii=False) + "\\n"

        return {
            "statusCode": 200,
            "headers": {"Content-Type": "application/json"},
            "body": io.StringIO(gen()),
            "isBase64Encoded": False,
        }
"""

EXPECTED = [{"line": number, "text": "é😀"} for number in range(COUNT)]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with Platform(tmp_path_factory.mktemp("app"), {"app": GATED}) as running:
        yield running


class Gate:
    """The gate of one test: `open(n)` lets item n be made."""

    def __init__(self, app: Platform, name: str) -> None:
        self.name = name
        self.url = f"{app.gateway}/?gate={name}"
        self._folder = app.folder

    def open(self, number: int) -> None:
        (self._folder / f"{self.name}-{number}").touch()

    def event(self, **asked: str) -> str:
        return json.dumps({"queryStringParameters": {"gate": self.name, **asked}})

    def follow(self, items, seen=None):
        """Take the items, and open the gate of the next only after each."""
        seen = [] if seen is None else seen
        for item in items:
            seen.append(item)
            self.open(len(seen))
        return seen


@pytest.fixture
def gate(app, request):
    name = "".join(char if char.isalnum() else "-" for char in request.node.name)
    return Gate(app, name)


@pytest.fixture(scope="module")
def boto3_client(app):
    client = app.client()
    yield client
    client.close()


def chunks_of_httpx(gate, query=""):
    with (
        httpx.Client(trust_env=False, timeout=TIMEOUT) as client,
        client.stream("GET", gate.url + query) as got,
    ):
        assert got.status_code == 200
        yield from got.iter_bytes()


def raw_chunks_of_httpx(gate, query=""):
    with (
        httpx.Client(trust_env=False, timeout=TIMEOUT) as client,
        client.stream("GET", gate.url + query) as got,
    ):
        yield from got.iter_raw()


def chunks_of_requests(gate, query=""):
    with requests.Session() as session:
        session.trust_env = False
        with session.get(gate.url + query, stream=True, timeout=TIMEOUT) as got:
            assert got.status_code == 200
            yield from got.iter_content(chunk_size=None)


HTTP_CLIENTS = [chunks_of_httpx, raw_chunks_of_httpx, chunks_of_requests]
BROKEN = (httpx.RemoteProtocolError, requests.exceptions.ChunkedEncodingError)


@pytest.mark.parametrize("chunks", HTTP_CLIENTS)
def test_lines_as_they_are_made(gate, chunks):
    assert [json.loads(line) for line in gate.follow(lines(chunks(gate)))] == EXPECTED


@pytest.mark.parametrize("chunks", HTTP_CLIENTS)
def test_events_as_they_are_made(gate, chunks):
    seen = gate.follow(events(chunks(gate, "&as=events")))
    assert [(event.event, event.id, event.data) for event in seen] == [
        ("tick", str(number), f"{number}\né") for number in range(COUNT)
    ]


@pytest.mark.parametrize("chunks", HTTP_CLIENTS)
def test_a_broken_stream_raises_after_what_came(gate, chunks):
    seen = []
    with pytest.raises(BROKEN):
        gate.follow(map(json.loads, lines(chunks(gate, "&fail=2"))), seen)
    assert seen == EXPECTED[:2]


def test_leaving_a_loop_ends_the_function(app, gate):
    for _ in lines(chunks_of_httpx(gate)):
        break
    line = app.wait_for(event="request", path=f"/?gate={gate.name}")
    assert line["ending"] == "client left"


def test_boto3_lines_as_they_are_made(boto3_client, gate):
    answer = boto3_client.invoke_with_response_stream(FunctionName="app", Payload=gate.event())
    prelude, payload = split_prelude(answer["EventStream"])
    assert (prelude.status, prelude.headers) == (200, {"Content-Type": "application/json"})
    assert [json.loads(line) for line in gate.follow(lines(payload))] == EXPECTED


def test_boto3_events_as_they_are_made(boto3_client, gate):
    answer = boto3_client.invoke_with_response_stream(
        FunctionName="app", Payload=gate.event(**{"as": "events"})
    )
    _, payload = split_prelude(answer["EventStream"])
    assert [event.data for event in gate.follow(events(payload))] == [f"{n}\né" for n in range(COUNT)]


def test_boto3_raises_what_the_function_raised(boto3_client, gate):
    answer = boto3_client.invoke_with_response_stream(FunctionName="app", Payload=gate.event(fail="2"))
    _, payload = split_prelude(answer["EventStream"])
    seen = []
    with pytest.raises(FunctionError, match="ValueError: as asked") as caught:
        gate.follow(map(json.loads, lines(payload)), seen)
    assert seen == EXPECTED[:2]
    assert caught.value.error_type == "ValueError"
    assert any("items" in entry for entry in caught.value.document["stackTrace"])


def test_boto3_raises_what_came_before_the_prelude(boto3_client, gate):
    answer = boto3_client.invoke_with_response_stream(FunctionName="app", Payload=gate.event(fail="0"))
    with pytest.raises(FunctionError, match="ValueError: as asked"):
        split_prelude(answer["EventStream"])


def test_invoke_gives_a_whole_stream_that_splits_as_well(boto3_client, gate):
    for number in range(1, COUNT):
        gate.open(number)
    answer = boto3_client.invoke(FunctionName="app", Payload=gate.event())
    prelude, payload = split_prelude(answer["Payload"])
    assert prelude.status == 200
    assert [json.loads(line) for line in lines(payload)] == EXPECTED


@needs_curl
def test_curl_shows_each_line_at_once(gate):
    with Program(*CURL, "--no-buffer", gate.url) as program:
        for number in range(COUNT):
            assert json.loads(program.line()) == EXPECTED[number]
            gate.open(number + 1)
        assert program.line() == ""
        assert program.end() == 0


@needs_curl
def test_ctrl_c_in_curl_ends_the_function(app, gate):
    with Program(*CURL, "--no-buffer", gate.url) as program:
        program.line()
        program.process.send_signal(signal.SIGINT)
        line = app.wait_for(event="request", path=f"/?gate={gate.name}", seconds=2)
    assert line["ending"] == "client left"


NODE_HTTP = """
const http = require("node:http");
const readline = require("node:readline");

http.get(process.argv[2], async (response) => {
  for await (const line of readline.createInterface({ input: response })) {
    console.log(JSON.parse(line).line);
  }
});
"""
NODE_FETCH = """
const readline = require("node:readline");
const { Readable } = require("node:stream");

fetch(process.argv[2]).then(async (response) => {
  const input = Readable.fromWeb(response.body);
  for await (const line of readline.createInterface({ input })) {
    console.log(JSON.parse(line).line);
  }
}).catch((error) => { console.error("broken: " + error.message); process.exit(3); });
"""


@needs_node
@pytest.mark.parametrize("script", [NODE_HTTP, NODE_FETCH], ids=["http", "fetch"])
def test_node_reads_line_by_line(gate, tmp_path: Path, script):
    file = tmp_path / "read.js"
    file.write_text(script)
    with Program("node", str(file), gate.url) as program:
        for number in range(COUNT):
            assert program.line() == str(number), program.errors
            gate.open(number + 1)
        assert program.line() == ""
        assert program.end() == 0


@needs_node
def test_node_sees_a_broken_stream(gate, tmp_path: Path):
    file = tmp_path / "read.js"
    file.write_text(NODE_FETCH)
    with Program("node", str(file), gate.url + "&fail=2") as program:
        for number in range(2):
            assert program.line() == str(number), program.errors
            gate.open(number + 1)
        assert program.line() == ""
        assert program.process.wait(TIMEOUT) != 0


def test_the_client_needs_nothing_but_the_standard_library(gate):
    """urllib reads the stream, in an interpreter that sees no site-packages."""
    script = f"""
import json, sys, urllib.request
sys.path.insert(0, {str(Path(sys.modules["penstock"].__file__).parents[1])!r})
from penstock.client import lines
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
with opener.open({gate.url!r}) as response:
    for line in lines(iter(response.read1, b"")):
        print(json.loads(line)["line"], flush=True)
"""
    with Program(sys.executable, "-I", "-S", "-c", script) as program:
        for number in range(COUNT):
            assert program.line() == str(number), program.errors
            gate.open(number + 1)
        assert program.line() == ""
        assert program.end() == 0


@needs_curl
def test_the_streams_of_two_clients_are_their_own(app, gate):
    """Both wait at gates of their own; the second goes ahead of the first."""
    other = Gate(app, gate.name + "-other")
    with Program(*CURL, "-N", gate.url) as first, Program(*CURL, "-N", other.url) as second:
        assert first.line() == second.line() != ""
        for number in range(1, COUNT):
            other.open(number)
            assert json.loads(second.line()) == EXPECTED[number]
        assert second.line() == ""
        for number in range(1, COUNT):
            gate.open(number)
            assert json.loads(first.line()) == EXPECTED[number]


@needs_curl
def test_curl_into_a_pipe_that_closes(app, gate):
    for number in range(1, COUNT):
        gate.open(number)
    command = f"curl -q -sN --noproxy '*' '{gate.url}' | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=TIMEOUT)
    assert json.loads(done.stdout) == EXPECTED[0]
