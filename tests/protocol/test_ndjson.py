import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import FEEDS, FUZZ, cuts, decode
from penstock.protocol.ndjson import Decoder, LineTooLong, encode

LINES = [
    (b"", [], []),
    (b"\n", [b""], []),
    (b"a\n", [b"a"], []),
    (b"a\nb\n", [b"a", b"b"], []),
    (b"a\r\nb\r\n", [b"a", b"b"], []),
    (b"a\n\n\nb\n", [b"a", b"", b"", b"b"], []),
    (b"a\nrest", [b"a"], [b"rest"]),
    (b"a\nrest\r", [b"a"], [b"rest"]),
    (b"a\rb\n\rc\r\r\n", [b"a\rb", b"\rc\r"], []),  # a lone CR ends nothing
    ('{"é":"\u2028"}\n'.encode(), ['{"é":"\u2028"}'.encode()], []),
]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize(("wire", "lines", "last"), LINES)
def test_a_stream_is_cut_into_lines(feed: Any, wire: bytes, lines: list[bytes], last: list[bytes]) -> None:
    decoder = Decoder()
    assert decode(decoder, feed(wire)) == lines
    assert decoder.end() == last
    assert decoder.end() == []


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}\n'),
        ("é", '"é"\n'.encode()),
        ("a\nb", b'"a\\nb"\n'),
        ("é\u2028\u2029\x85", '"é\\u2028\\u2029\\u0085"\n'.encode()),
        ("half \ud83d", b'"half \\ud83d"\n'),
    ],
)
def test_encoding(value: object, wire: bytes) -> None:
    assert encode(value) == wire


@pytest.mark.parametrize("value", [math.nan, {"a": math.inf}, object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="JSON"):
        encode(value)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("wire", [b"12345\n", b"1\n12345\n1\n", b"12345", b"1\n12345"])
def test_a_long_line_is_refused(feed: Any, wire: bytes) -> None:
    decode(Decoder(max_line=5), feed(wire))
    with pytest.raises(LineTooLong, match="at most 4 bytes"):
        decode(Decoder(max_line=4), feed(wire))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@FUZZ
@given(data=st.data(), values=st.lists(JSON | st.text("é\x85\u2028\u2029\ud83da", max_size=5), max_size=4))
def test_values_come_back_however_the_lines_are_cut(data: st.DataObject, values: list[Any]) -> None:
    wire = b"".join(map(encode, values))
    assert [json.loads(line) for line in decode(Decoder(), data.draw(cuts(wire)))] == values
    # A reader that also splits at Unicode's line ends sees the same lines.
    assert [json.loads(line) for line in httpx.Response(200, content=wire).iter_lines()] == values
