import collections
import enum
import json
from decimal import Decimal

import pytest

from penstock.runtime import marshal
from penstock.runtime.errors import RuntimeFault


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    ONE = "one"


class Text(str):
    def __str__(self):
        return "other"


class Whole(int):
    def __repr__(self):
        return "other"


Point = collections.namedtuple("Point", "x y")


class Row:
    def _asdict(self):
        return {"id": Decimal("1.10")}


class Chart(dict):
    def _asdict(self):
        return {"from": "_asdict"}


class Loose(dict):
    _asdict = None


# Value, and the text of it; each is run against ours and AWS's.
WRITTEN = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (-(10**40), "-1" + "0" * 40),
    (1.0, "1.0"),
    (1e300, "1e+300"),
    (float("nan"), "NaN"),
    (float("-inf"), "-Infinity"),
    ("", '""'),
    ('a"\\/\b\f\n\r\t\x00\x1f\x7f', '"a\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f"'),
    ("grüße 😀 \u2028\u2029\x85", '"grüße 😀 \u2028\u2029\x85"'),
    ([], "[]"),
    ((), "[]"),
    ({}, "{}"),
    ([1, "a", None, [2, {"b": ()}]], '[1, "a", null, [2, {"b": []}]]'),
    ({"a": 1, "b": {"c": [True, False]}}, '{"a": 1, "b": {"c": [true, false]}}'),
    ({2: 1, 2.5: 2, True: 3, None: 4, False: 5}, '{"2": 1, "2.5": 2, "true": 3, "null": 4, "false": 5}'),
    ({Level.HIGH: Word.ONE}, '{"3": "one"}'),
    ({Word.ONE: Level.HIGH}, '{"one": 3}'),
    ([Text("a"), Whole(4)], '["a", 4]'),
    (collections.OrderedDict(a=1), '{"a": 1}'),
    (collections.defaultdict(list, a=[1]), '{"a": [1]}'),
    (collections.Counter("aab"), '{"a": 2, "b": 1}'),
    # Where `json` alone would do something else.
    (Decimal("1.10"), "1.10"),
    (Decimal("1E+5"), "1E+5"),
    (Decimal("NaN"), "NaN"),
    (Decimal("sNaN"), "NaN"),
    (Decimal("-Infinity"), "-Infinity"),
    ([Decimal(3), 2, 2.5, float("inf"), None, False, "ü\n", {"a": (Level.HIGH, Text("b"))}, [], {}],
     '[3, 2, 2.5, Infinity, null, false, "ü\\n", {"a": [3, "b"]}, [], {}]'),
    ({"n": Decimal("0.1"), 2: 2, None: 3, True: 4, 2.5: 5},
     '{"n": 0.1, "2": 2, "null": 3, "true": 4, "2.5": 5}'),
    (Point(1, 2), '{"x": 1, "y": 2}'),
    ([(1, Point(1, Point(2, 3)))], '[[1, {"x": 1, "y": {"x": 2, "y": 3}}]]'),
    (Row(), '{"id": 1.10}'),
    (Chart(a=1), '{"from": "_asdict"}'),
    ([Loose(a=1)], '[{"a": 1}]'),
    ({"a": b"bytes", b"k": "ü".encode()}, '{"a": "bytes", "k": "ü"}'),
    ({b"k": 1, float("nan"): Decimal(1)}, '{"k": 1, "NaN": 1}'),
]  # fmt: skip

circle: list = []
circle.append(circle)
decimal_circle: dict = {"d": Decimal(1)}
decimal_circle["self"] = [decimal_circle]

# Value, and what the message says of it.
REFUSED = [
    (object(), "Object of type object is not JSON serializable"),
    ({"a": {1}}, "Object of type set is not JSON serializable"),
    ([range(3)], "Object of type range is not JSON serializable"),
    ({"body": (x for x in ())}, "Object of type generator is not JSON serializable"),
    ([1j], "Object of type complex is not JSON serializable"),
    (bytearray(b"x"), "Object of type bytearray is not JSON serializable"),
    ({(1, 2): 1}, "keys must be str, int, float, bool or None, not tuple"),
    ({Decimal(1): 1}, "keys must be str, int, float, bool or None, not Decimal"),
    (circle, "Circular reference detected"),
    (decimal_circle, "Circular reference detected"),
    ([b"\xff"], "'utf-8' codec can't decode byte 0xff"),
]


@pytest.fixture
def aws(monkeypatch):
    marshaller = pytest.importorskip("awslambdaric.lambda_runtime_marshaller")
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12")
    return marshaller.LambdaMarshaller()


@pytest.mark.parametrize(("value", "text"), WRITTEN, ids=lambda case: repr(case)[:40])
def test_dumps(value, text, aws):
    assert marshal.dumps(value).decode() == text
    assert aws.marshal_response(value) == (text, "application/json")


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda case: repr(case)[:40])
def test_dumps_refuses(value, message, aws):
    with pytest.raises(RuntimeFault) as ours:
        marshal.dumps(value)
    assert ours.value.error_type == "Runtime.MarshalError"
    assert str(ours.value).startswith(f"Unable to marshal response: {message}")
    with pytest.raises(Exception, match="Unable to marshal response") as theirs:
        aws.marshal_response(value)
    assert theirs.value.exception_type == "Runtime.MarshalError"
    assert theirs.value.msg.startswith(f"Unable to marshal response: {message}")


def test_half_a_surrogate_pair_is_refused():
    # AWS fails too, later: its runtime ends.
    with pytest.raises(RuntimeFault, match="surrogates not allowed"):
        marshal.dumps({"a": "\ud83d"})


@pytest.mark.parametrize("leaf", [1, Decimal(1)])
def test_deep_nesting_is_refused_or_written(leaf):
    value = leaf
    for _ in range(100):
        value = [value]
    assert marshal.dumps(value) == b"[" * 100 + b"1" + b"]" * 100
    for _ in range(200_000):
        value = [value]
    with pytest.raises(RuntimeFault, match="Unable to marshal response: maximum recursion depth"):
        marshal.dumps(value)


def test_an_error_of_the_value_itself_is_a_marshal_error():
    class Bad:
        def _asdict(self):
            raise KeyError("x")

    with pytest.raises(RuntimeFault, match="Unable to marshal response: 'x'"):
        marshal.dumps([Bad()])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}\n'),
        ([], "[]\n"),
        ({"a": Decimal("1.50"), "b": [b"x", None]}, '{"a":1.50,"b":["x",null]}\n'),
        ({"a": "line\nbreak"}, '{"a":"line\\nbreak"}\n'),
        ([Point(1, 2)], '[{"x":1,"y":2}]\n'),
    ],
)
def test_line(value, text):
    assert marshal.line(value).decode() == text


@pytest.mark.parametrize("value", [[float("nan")], [Decimal("NaN")], [Decimal(1), float("inf")]], ids=repr)
def test_a_line_has_no_nan(value):
    with pytest.raises(ValueError, match="Out of range float values"):
        marshal.line(value)


@pytest.mark.parametrize("payload", [b'{"a": 1}', b' [1.5, "\xc3\xbc"]\n', b'"\\ud83d"', b"null"])
def test_loads(payload, aws):
    event = marshal.loads(payload, "application/json")
    assert event == json.loads(payload) == aws.unmarshal_request(payload, "application/json")
    assert marshal.loads(payload, "application/octet-stream") is payload


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"1 2", b"[" * 100_000], ids=lambda p: repr(p)[:9])
def test_loads_refuses(payload):
    with pytest.raises(RuntimeFault, match="Unable to unmarshal input: ") as error:
        marshal.loads(payload, "application/json")
    assert error.value.error_type == "Runtime.UnmarshalError"
