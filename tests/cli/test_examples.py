"""The examples do what their docstrings say. The handlers are called as plain Python; journeys serve them."""

import asyncio
import gzip
import importlib.util
import io
import json
import types
from pathlib import Path

import pytest

from penstock.cli.target import resolve

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def body(name, event=None):
    return load(name).lambda_handler(event or {}, None)["body"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_says_what_it_shows_and_how_to_run_it(path):
    described = load(path.stem).__doc__
    assert f"\n    penstock dev examples/{path.name}\n    curl " in described
    (function,) = resolve(str(path), Path()).functions
    assert function.handler == f"{path.stem}.lambda_handler"


def test_the_mission_s_example(monkeypatch):
    module = load("seed")
    slept = []
    # The form io.StringIO(generator) is the runtime's doing; here StringIO just hands the generator through.
    monkeypatch.setattr(module, "io", types.SimpleNamespace(StringIO=iter))
    monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=slept.append))
    response = module.lambda_handler({}, None)
    lines = [json.loads(line) for line in response.pop("body")]
    assert response == {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "isBase64Encoded": False,
    }
    assert [line["line"] for line in lines] == list(range(1000))
    assert slept == [0.01] * 1000


def test_csv_from_sqlite(tmp_path, monkeypatch):
    module = load("csv_from_sqlite")
    monkeypatch.setattr(module, "DATABASE", str(tmp_path / "example.sqlite"))
    for _ in range(2):  # makes its database, then finds it
        chunks = list(module.lambda_handler({}, None)["body"])
        lines = "".join(chunks).splitlines()
        assert lines[:3] == ["id,station,celsius", "1,Oslo,-3.0", "2,Lima,-20.9"]
        assert len(lines) == 1 + module.ROWS
        assert max(map(len, chunks)) < 16_384


def test_sse_tokens(monkeypatch):
    module = load("sse_tokens")
    monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    events = list(module.lambda_handler({"headers": None}, None)["body"])
    assert "".join(events[:2]) == 'id: 0\ndata: {"token": "A"}\n\nid: 1\ndata: {"token": " generator"}\n\n'
    assert events[-1] == 'event: done\nid: 15\ndata: {"tokens": 15}\n\n'
    again = module.lambda_handler({"headers": {"Last-Event-ID": "12"}}, None)["body"]
    assert list(again) == events[13:]


def test_gzip_file():
    lines = gzip.decompress(b"".join(body("gzip_file"))).decode().splitlines()
    assert len(lines) == 200_000
    assert lines[-1] in load("gzip_file").__doc__


@pytest.mark.parametrize(("asked", "size"), [("0", 0), ("65536", 65_536), ("1000000", 1_000_000)])
def test_an_export_of_the_size_asked_for(asked, size):
    chunks = body("export_2gib", {"queryStringParameters": {"bytes": asked}})
    assert sum(map(len, chunks)) == size


@pytest.mark.parametrize("query", [None, {"bytes": "many"}, {"other": "1"}])
def test_an_export_is_2_gib_otherwise(query):
    chunks = body("export_2gib", {"queryStringParameters": query})
    assert sum(map(len, chunks)) == 2_147_483_648


def test_async_tokens(monkeypatch):
    module = load("async_tokens")
    monkeypatch.setattr(module, "SOURCES", {"archive": 0.02, "cache": 0, "database": 0.01})

    async def names():
        response = await module.lambda_handler({}, None)
        return [answer["source"] async for answer in response["body"]]

    assert asyncio.run(names()) == ["cache", "database", "archive"]


def test_too_large():
    assert len(io.StringIO(body("too_large")).getvalue()) > 7_000_000


def test_plain():
    assert body("plain", {"path": "/world"}) == '{"hello": "world"}\n'
