import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol import events

latin1 = st.text(st.characters(max_codepoint=255))


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("a=1&b=2", {"a": ["1"], "b": ["2"]}),
        ("a=1&a=2", {"a": ["1", "2"]}),
        ("a", {"a": [""]}),
        ("a=", {"a": [""]}),
        ("=1", {"": ["1"]}),
        ("a=b=c", {"a": ["b=c"]}),
        ("&&a=1&", {"a": ["1"]}),
        ("a=b+c&d=b%2Bc", {"a": ["b c"], "d": ["b+c"]}),
        ("a%20b=%26%3D", {"a b": ["&="]}),
        ("k=%CE%BB", {"k": ["λ"]}),
        ("k=\xce\xbb", {"k": ["λ"]}),  # the same bytes, sent unescaped
        ("k=%FF%zz%", {"k": ["\ufffd%zz%"]}),
        ("a=1;b=2", {"a": ["1;b=2"]}),
        ("", {}),
        ("&", {}),
    ],
)
def test_query_values(query: str, values: dict[str, list[str]]) -> None:
    assert events.query_values(query) == values


@given(latin1, latin1)
def test_any_query_and_path_makes_json(query: str, path: str) -> None:
    escaped = events.ascii_only(path)
    assert events.unescape(escaped) == events.unescape(path)
    event = {"q": events.query_values(query), "p": events.unescape(path), "raw": escaped}
    assert json.loads(events.payload(event)) == event


@pytest.mark.parametrize(
    ("domain", "prefix"),
    [
        ("abc.lambda-url.us-east-1.on.aws", "abc"),
        ("localhost:3000", "localhost"),
        ("127.0.0.1:3000", "127.0.0.1"),
        ("[::1]:3000", "[::1]"),
        ("", ""),
    ],
)
def test_domain_prefix(domain: str, prefix: str) -> None:
    assert events.domain_prefix(domain) == prefix


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (1783711146.671, "10/Jul/2026:19:19:06 +0000"),  # recorded from AWS
        (0.0, "01/Jan/1970:00:00:00 +0000"),
        (1798761599.999, "31/Dec/2026:23:59:59 +0000"),
    ],
)
def test_request_time(time: float, text: str) -> None:
    assert events.request_time(time) == text


@pytest.mark.parametrize(
    ("body", "is_text", "expected"),
    [
        (b"", True, (None, False)),
        (b"", False, (None, False)),
        ("λ".encode(), True, ("λ", False)),
        (b"plain", False, ("cGxhaW4=", True)),
        (b"\xff", True, ("/w==", True)),
    ],
)
def test_body_text(body: bytes, is_text: bool, expected: tuple[str | None, bool]) -> None:
    assert events.body_text(body, is_text) == expected


def test_payload_is_compact_utf8() -> None:
    assert events.payload({"a": ["é", None]}) == '{"a":["é",null]}'.encode()
