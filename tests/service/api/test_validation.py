import base64
import json
from typing import Any

import pytest

from penstock.service.api.errors import ApiError
from penstock.service.api.request import ApiRequest
from penstock.service.api.shapes import INPUTS, TAGS
from penstock.service.api.validation import (
    Blob,
    Flag,
    Items,
    Map,
    Number,
    Structure,
    Text,
    check,
    constraint_error,
    read,
)

SHAPE = Structure(
    {
        "Text": Text(2, 4, "[a-z]+"),
        "Kind": Text(enum=("A", "B")),
        "Number": Number(1, 9),
        "Double": Number(0.0, 1.0, double=True),
        "Flag": Flag(),
        "Blob": Blob(),
        "Items": Items(Text(1, 3, "[a-z]*"), 1, 2),
        "Kinds": Items(Text(enum=("A", "B"))),
        "Map": Map(Text(1, 2, "[a-z]+"), Number(0.0, 1.0, double=True), most=2),
        "Secret": Structure({"Variables": Map(Text(pattern="[a-z]+", secret=True), Text(), secret=True)}),
        "Nested": Items(Structure({"Arn": Text(0, 3)}, required=("Arn",))),
        "Places": Map(Text(), Structure({"Name": Text(0, 1)})),
    }
)

AT_LEAST = "Member must have length greater than or equal to {}"
AT_MOST = "Member must have length less than or equal to {}"
LIKE = "Member must satisfy regular expression pattern: {}"
NOT_ABOVE = "Member must have value less than or equal to {}"
NOT_BELOW = "Member must have value greater than or equal to {}"
ONE_OF = "Member must satisfy enum value set: [{}]"


def ask(**members: Any) -> ApiRequest:
    return ApiRequest("Any", {}, {}, json.dumps(members).encode())


def refused(shape: Structure = SHAPE, **members: Any) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        read(ask(**members), shape)
    assert caught.value.status == 400
    return caught.value.code, str(caught.value)


def broken(**members: Any) -> str:
    code, message = refused(**members)
    assert code == "ValidationException"
    prefix, _, rest = message.partition(" detected: ")
    count = rest.count("failed to satisfy constraint")
    assert prefix == f"{count} validation error{'s' if count > 1 else ''}"
    return rest


def test_members_are_read_by_kind() -> None:
    given = {
        "Text": "abc",
        "Kind": "B",
        "Number": 3,
        "Double": 1,
        "Flag": False,
        "Blob": "AAEC",
        "Items": ["a", "bc"],
        "Map": {"a": 0.5},
        "Nested": [{"Arn": "x", "Other": 1}],
        "Places": {"here": {"Name": "x"}},
    }
    expected = {**given, "Double": 1.0, "Blob": b"\0\1\2", "Nested": [{"Arn": "x"}]}
    assert read(ask(**given), SHAPE) == expected


def test_null_counts_as_absent_and_unknown_members_for_nothing() -> None:
    given = {"Text": None, "Items": ["a", None], "Map": {"a": None}, "Unknown": 1, "Nested": None}
    assert read(ask(**given), SHAPE) == {"Items": ["a"], "Map": {}}
    assert read(ApiRequest("Any", {}, {}, b""), SHAPE) == {}


def test_integers_lose_what_is_behind_the_point() -> None:
    assert read(ask(Number=1.9), SHAPE) == {"Number": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"Number": "3"}, "STRING_VALUE can not be converted to an Integer"),
        ({"Number": True}, "TRUE_VALUE can not be converted to an Integer"),
        ({"Number": [3]}, "Start of list found where not expected"),
        ({"Number": {}}, "Start of structure or map found where not expected."),
        ({"Number": 10**30}, "NUMBER_VALUE can not be converted to an Integer"),
        ({"Double": "1"}, "STRING_VALUE can not be converted to a Double"),
        ({"Text": 3}, "NUMBER_VALUE can not be converted to a String"),
        ({"Text": False}, "FALSE_VALUE can not be converted to a String"),
        ({"Text": ["abc"]}, "Start of list found where not expected"),
        ({"Text": "\ud800a"}, "Text is not Unicode: a surrogate stands alone"),
        ({"Flag": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"Flag": 1}, "NUMBER_VALUE can not be converted to a Boolean"),
        ({"Blob": 1}, "NUMBER_VALUE can not be converted to a Blob"),
        ({"Blob": "no base64!"}, "Blob is not Base64"),
        ({"Blob": "é"}, "Blob is not Base64"),
        ({"Items": "a"}, "Expected list or null"),
        ({"Items": {}}, "Start of structure or map found where not expected."),
        ({"Items": [1]}, "NUMBER_VALUE can not be converted to a String"),
        ({"Map": "a"}, "Expected map or null"),
        ({"Map": []}, "Start of list found where not expected"),
        ({"Map": {"a": "b"}}, "STRING_VALUE can not be converted to a Double"),
        ({"Secret": 3}, "Expected null"),
        ({"Secret": []}, "Start of list found where not expected"),
    ],
)
def test_another_type(value: dict[str, Any], message: str) -> None:
    assert refused(**value) == ("SerializationException", message)


@pytest.mark.parametrize("size", [0, 1, 196_607, 196_608, 196_609, 400_000])
def test_base64_of_any_length(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    text = base64.b64encode(data[:size]).decode()
    assert read(ask(Blob=text), SHAPE) == {"Blob": data[:size]}
    if len(text) > 2**18:
        padded = text[: 2**18 - 4] + "AA==" + text[2**18 :]
        assert refused(Blob=padded) == ("SerializationException", "Blob is not Base64")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "-1" + "0" * 400])
def test_a_number_may_be_too_large_to_be_one(number: str) -> None:
    for member in ("Number", "Double"):
        with pytest.raises(ApiError, match="NUMBER_VALUE can not be converted to a"):
            read(ApiRequest("Any", {}, {}, b'{"%b": %b}' % (member.encode(), number.encode())), SHAPE)
    if "e" not in number:
        with pytest.raises(ApiError, match="NUMBER_VALUE can not be converted to an Integer"):
            read(ApiRequest("Any", {}, {"Number": [number]}), SHAPE, query=("Number",))


@pytest.mark.parametrize(
    ("value", "shown", "rule"),
    [
        ({"Text": "a"}, "'a' at 'text'", AT_LEAST.format(2)),
        ({"Text": "abcde"}, "'abcde' at 'text'", AT_MOST.format(4)),
        ({"Text": "ABC"}, "'ABC' at 'text'", LIKE.format("[a-z]+")),
        ({"Text": "abc\n"}, "'abc\n' at 'text'", LIKE.format("[a-z]+")),
        ({"Kind": "a"}, "'a' at 'kind'", ONE_OF.format("A, B")),
        ({"Number": 0}, "'0' at 'number'", NOT_BELOW.format(1)),
        ({"Number": 10}, "'10' at 'number'", NOT_ABOVE.format(9)),
        ({"Items": []}, "'[]' at 'items'", AT_LEAST.format(1)),
        ({"Items": ["a", "b", "c"]}, "'[a, b, c]' at 'items'", AT_MOST.format(2)),
        (
            {"Items": ["a", "B"]},
            "'[a, B]' at 'items'",
            f"Member must satisfy constraint: [{AT_MOST.format(3)}, {AT_LEAST.format(1)},"
            f" {LIKE.format('[a-z]*')}]",
        ),
        (
            {"Kinds": ["x", "A"]},
            "'[x, A]' at 'kinds'",
            f"Member must satisfy constraint: [{ONE_OF.format('A, B')}, Member must not be null]",
        ),
        (
            {"Map": {"a": 2.0}},
            "'{a=2.0}' at 'map'",
            f"Map value must satisfy constraint: [{NOT_ABOVE.format('1.0')}, {NOT_BELOW.format('0.0')},"
            " Member must not be null]",
        ),
        (
            {"Map": {"$": 0.5}},
            "'{$=0.5}' at 'map'",
            f"Map keys must satisfy constraint: [{AT_MOST.format(2)}, {AT_LEAST.format(1)},"
            f" {LIKE.format('[a-z]+')}]",
        ),
        ({"Map": {"a": 0, "b": 0, "c": 0}}, "'{a=0.0, b=0.0, c=0.0}' at 'map'", AT_MOST.format(2)),
        (
            {"Secret": {"Variables": {"A": "hidden"}}},
            "at 'secret.variables'",
            f"Map keys must satisfy constraint: [{LIKE.format('[a-z]+')}]",
        ),
        ({"Nested": [{"Arn": "x"}, {}]}, "null at 'nested.2.member.arn'", "Member must not be null"),
        ({"Nested": [{"Arn": "long"}]}, "'long' at 'nested.1.member.arn'", AT_MOST.format(3)),
        ({"Places": {"a": {"Name": "xy"}}}, "'xy' at 'places.a.member.name'", AT_MOST.format(1)),
    ],
)
def test_constraints(value: dict[str, Any], shown: str, rule: str) -> None:
    assert broken(**value) == f"Value {shown} failed to satisfy constraint: {rule}"


def test_all_errors_are_told_at_once() -> None:
    assert broken(Text="A", Number=0).split("; ") == [
        f"Value 'A' at 'text' failed to satisfy constraint: {AT_LEAST.format(2)}",
        f"Value 'A' at 'text' failed to satisfy constraint: {LIKE.format('[a-z]+')}",
        f"Value '0' at 'number' failed to satisfy constraint: {NOT_BELOW.format(1)}",
    ]


def test_what_is_required() -> None:
    shape = Structure({"Role": Text()}, required=("Role",))
    constraint = "failed to satisfy constraint: Member must not be null"
    message = f"1 validation error detected: Value null at 'role' {constraint}"
    assert refused(shape) == ("ValidationException", message)
    assert refused(shape, Role=None) == ("ValidationException", message)


def test_errors_do_not_repeat_a_megabyte() -> None:
    assert len(broken(Text="A" * 2**20)) < 4096
    assert len(broken(Items=["A" * 2**20])) < 4096


def test_members_of_path_and_query() -> None:
    shape = Structure({"Name": Text(), "MaxItems": Number(1, 9), "Keys": Items(Text()), "Dry": Flag()})
    query = {"MaxItems": ["3"], "Keys": ["a", "b"], "Dry": ["true"], "Other": ["x"]}
    request = ApiRequest("Any", {"Name": "app"}, query, b"no JSON, and nobody reads it")
    assert read(request, shape, query=("MaxItems", "Keys", "Dry")) == {
        "Name": "app",
        "MaxItems": 3,
        "Keys": ["a", "b"],
        "Dry": True,
    }
    wrong = ApiRequest("Any", {"Name": "app"}, {"MaxItems": ["three"]})
    with pytest.raises(ApiError, match="STRING_VALUE can not be converted to an Integer"):
        read(wrong, shape, query=("MaxItems", "Keys", "Dry"))


def test_a_body_that_is_no_object() -> None:
    for body in (b"[]", b"{", b"\xff", b"3", b'{"a": NaN}', b"[" * 100_000):
        with pytest.raises(ApiError) as caught:
            read(ApiRequest("Any", {}, {}, body), SHAPE)
        assert caught.value.code == "InvalidRequestContentException"


def test_tags_are_letters_and_numbers_of_any_script() -> None:
    shape = Structure({"Tags": TAGS})
    for text in ("Grüße", "名前", "a b\u00a0c", "x_.:/=+-@1", "½²Ⅷ"):
        check({"Tags": {text: text}}, shape)
    for text in ("a!", "tab\t", "new\nline", "ｅ\u0301", ""):
        with pytest.raises(ApiError):
            check({"Tags": {text: "x"}}, shape)


def test_every_pattern_can_be_compiled() -> None:
    for shape in INPUTS.values():
        for kind in shape.members.values():
            list(kind.constraints())
            if isinstance(kind, Text):
                list(kind.broken("any", "at"))


def test_a_rule_that_is_in_no_model() -> None:
    message = constraint_error("MaxItems", "0", "Member must be more")
    value = "Value '0' at 'maxItems' failed to satisfy constraint: Member must be more"
    assert message == f"1 validation error detected: {value}"
