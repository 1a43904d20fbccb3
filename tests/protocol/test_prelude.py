from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import FEEDS, FUZZ, cuts
from penstock.protocol.prelude import DELIMITER, Decoder, Prelude, PreludeError, encode

# Both directions.
CASES = [
    (Prelude(), b'{"statusCode":200}'),
    (
        Prelude(201, {"content-type": "text/plain"}),
        b'{"statusCode":201,"headers":{"content-type":"text/plain"}}',
    ),
    (Prelude(cookies=["a=1", "b=2"]), b'{"statusCode":200,"cookies":["a=1","b=2"]}'),
    (
        Prelude(404, {}, {"x": ["1", "2"]}, ["c"]),
        b'{"statusCode":404,"multiValueHeaders":{"x":["1","2"]},"cookies":["c"]}',
    ),
    (Prelude(headers={"x": "\0é"}), b'{"statusCode":200,"headers":{"x":"\\u0000\\u00e9"}}'),
]

# What others write.
READ = [
    (b"{}", Prelude()),
    (b' {"status": 500, "body": [1]}\n', Prelude()),  # unknown keys
    (b'{"statusCode":"418"}', Prelude(418)),
    (b'{"statusCode":null,"headers":null,"multiValueHeaders":null,"cookies":null}', Prelude()),
    (
        b'{"headers":{"a":true,"b":false,"c":1,"d":1.5}}',
        Prelude(headers={"a": "true", "b": "false", "c": "1", "d": "1.5"}),
    ),
    (b'{"multiValueHeaders":{"a":[true,2,"x"]}}', Prelude(multi_value_headers={"a": ["true", "2", "x"]})),
    ('{"headers":{"x":"é"}}'.encode(), Prelude(headers={"x": "é"})),
]

INVALID = [
    (b"", "JSON"),
    (b"{", "JSON"),
    (b"hello", "JSON"),
    (b"{}\0{}", "JSON"),
    (b'{"statusCode":NaN}', "JSON"),
    (b'{"headers":{"x":"\xff"}}', "JSON"),
    (b"[" * 60_000, "JSON"),
    (b'{"statusCode":' + b"9" * 5000 + b"}", "JSON"),
    (b"[]", "JSON object"),
    (b'"x"', "JSON object"),
    (b'{"statusCode":true}', "statusCode to be an integer, got true"),
    (b'{"statusCode":200.5}', "statusCode to be an integer"),
    (b'{"statusCode":"OK"}', "statusCode to be an integer"),
    (b'{"statusCode":"' + b"9" * 5000 + b'"}', "statusCode to be an integer"),
    (b'{"statusCode":[]}', "statusCode to be an integer, got a list"),
    (b'{"headers":[]}', "headers to be an object"),
    (b'{"headers":"x"}', "headers to be an object"),
    (b'{"headers":{"x":["a"]}}', "header 'x' to be a string, number or boolean, got a list"),
    (b'{"headers":{"x":{"a":1}}}', "header 'x' .* got an object"),
    (b'{"headers":{"x":null}}', "header 'x' .* got null"),
    (b'{"headers":{"x":"\\ud83d"}}', "header 'x'"),
    (b'{"headers":{"\\ud83d":"x"}}', "a header name"),
    (b'{"multiValueHeaders":{"x":"a"}}', "multiValueHeaders 'x' to be a list"),
    (b'{"multiValueHeaders":{"x":[null]}}', "header 'x'"),
    (b'{"cookies":"a=1"}', "cookies to be a list"),
    (b'{"cookies":[{}]}', "a cookie"),
]


def read(reads: list[bytes], max_bytes: int = 64 * 1024) -> tuple[Prelude | None, bytes]:
    decoder = Decoder(max_bytes)
    for index, data in enumerate(reads):
        if prelude := decoder.feed(data):
            decoder.end()
            return prelude, bytes(decoder.rest) + b"".join(reads[index + 1 :])
    return None, b""


@pytest.mark.parametrize(("prelude", "text"), CASES)
def test_encoding(prelude: Prelude, text: bytes) -> None:
    assert encode(prelude) == text + DELIMITER


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("payload", [b"", b"payload", b"\0\0\0payload", DELIMITER])
@pytest.mark.parametrize(("prelude", "text"), CASES + [(prelude, text) for text, prelude in READ])
def test_a_prelude_is_read_and_the_payload_left(
    feed: Any, prelude: Prelude, text: bytes, payload: bytes
) -> None:
    assert read(feed(text + DELIMITER + payload)) == (prelude, payload)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize(("text", "message"), INVALID, ids=lambda value: repr(value)[:30])
def test_a_bad_prelude_is_refused(feed: Any, text: bytes, message: str) -> None:
    with pytest.raises(PreludeError, match=f"expected .*{message}"):
        read(feed(text + DELIMITER + b"payload"))


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_the_limit_counts_json_and_delimiter(feed: Any) -> None:
    wire = b"{}" + DELIMITER + b"payload"
    assert read(feed(wire), max_bytes=10) == (Prelude(), b"payload")
    with pytest.raises(PreludeError, match="within 9 bytes"):
        read(feed(wire), max_bytes=9)


def test_an_endless_payload_without_a_prelude_is_refused_at_the_limit() -> None:
    decoder = Decoder(100)
    assert decoder.feed(b"x" * 99) is None
    with pytest.raises(PreludeError, match="within 100 bytes"):
        decoder.feed(b"x" * 1_000_000)


@pytest.mark.parametrize("wire", [b"", b"{}", b"{}" + bytes(7)])
def test_a_payload_that_ends_before_the_delimiter_has_no_prelude(wire: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(wire) is None
    with pytest.raises(PreludeError, match=f"end after {len(wire)} bytes"):
        decoder.end()


def test_views_are_taken() -> None:
    decoder = Decoder()
    assert decoder.feed(memoryview(b"{}" + DELIMITER + b"payload")) == Prelude()
    assert decoder.rest == b"payload"


@FUZZ
@given(
    data=st.data(),
    prelude=st.builds(
        Prelude,
        st.integers(100, 999),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=2), max_size=2),
        st.lists(st.text(max_size=5), max_size=2),
    ),
    payload=st.binary(max_size=20) | st.just(bytes(20)),
)
def test_no_cut_changes_the_result(data: st.DataObject, prelude: Prelude, payload: bytes) -> None:
    assert read(data.draw(cuts(encode(prelude) + payload))) == (prelude, payload)
