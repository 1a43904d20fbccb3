import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.protocol.call import FunctionNotFound
from penstock.service import names
from penstock.service.names import (
    CREATE,
    INVOKE,
    NAMESPACED,
    PLAIN,
    URL,
    InvalidName,
    Kind,
    Name,
    parse,
)

REGION, ACCOUNT = "us-east-1", "000000000000"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:app"
KINDS = [INVOKE, NAMESPACED, PLAIN, CREATE, URL]

# As AWS prints them, recorded in November 2025.
ANY_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
PLAIN_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?"
    r"(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)


def invalid(text: str, qualifier: str = "", kind: Kind = INVOKE) -> InvalidName:
    with pytest.raises(InvalidName) as raised:
        parse(text, qualifier, REGION, ACCOUNT, kind)
    return raised.value


@pytest.mark.parametrize(
    ("text", "qualifier", "expected"),
    [
        ("app", "", ""),
        ("app", "$LATEST", "$LATEST"),
        ("app:$LATEST", "", "$LATEST"),
        ("app:$LATEST", "$LATEST", "$LATEST"),
        ("app:live", "", "live"),
        ("app", "live", "live"),
        ("app:7", "7", "7"),
        ("app", "$latest", "$latest"),
        ("app:$LATEST.PUBLISHED", "", "$LATEST.PUBLISHED"),
        ("function:app", "", ""),
        (f"{ACCOUNT}:function:app", "", ""),
        (f"{ACCOUNT}:app", "", ""),
        (f"{REGION}:{ACCOUNT}:function:app", "", ""),
        (f"{ACCOUNT}:function:app:$LATEST", "", "$LATEST"),
        (ARN, "", ""),
        (f"{ARN}:$LATEST", "", "$LATEST"),
        (f"{ARN}:live", "live", "live"),
        (ARN.replace("arn:aws:", "arn:aws-us-gov:"), "", ""),
    ],
)
def test_every_way_to_write_a_name(text: str, qualifier: str, expected: str) -> None:
    assert parse(text, qualifier, REGION, ACCOUNT) == Name("app", expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a", "a-b_C9", "a" * 64, "function", "arn", "-", "_", "0"])
def test_names(name: str, kind: Kind) -> None:
    assert parse(name, "", REGION, ACCOUNT, kind) == Name(name)


def test_an_arn_without_a_name_is_a_function_called_function() -> None:
    """So it is on AWS."""
    assert parse(f"arn:aws:lambda:{REGION}:{ACCOUNT}:function", "", REGION, ACCOUNT) == Name("function")


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "my-function!",
        "a b",
        "a/b",
        "../a",
        "a:",
        "a:b:c",
        "a\n",
        "a\0",
        "é",
        "a٣",
        "arn:aws:s3:::x",
        "a:$LATESTS",
        "a:$latest",
        "%61",
        "invalid-account:function:my-function",
        "function:my-function:$LATEST:extra",
        f"arn:aws:lambda:invalid-region:{ACCOUNT}:function:my-function",
        f"arn:aws:lambda::{ACCOUNT}:function:my-function",
        f"arn:aws:lambda:{REGION}::function:my-function",
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance:i-1234567890abcdef0",
        f"{ARN}:1:2",
        f"{ARN}:$LATES",
    ],
)
def test_what_is_no_name(text: str) -> None:
    for kind, pattern in ((INVOKE, ANY_PATTERN), (NAMESPACED, ANY_PATTERN), (PLAIN, PLAIN_PATTERN)):
        error = invalid(text, kind=kind)
        assert (error.code, error.status) == ("ValidationException", 400)
        assert str(error) == (
            f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint:"
            f" Member must satisfy regular expression pattern: {pattern}"
        )


def test_no_name_at_all() -> None:
    assert str(invalid("")).startswith("2 validation errors detected: Value '' at 'functionName' failed")
    assert str(invalid("")).endswith("Member must have length greater than or equal to 1")


@pytest.mark.parametrize(
    ("qualifier", "constraint"),
    [
        ("invalid!", r"regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"),
        ("../x", r"regular expression pattern: \$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"),
        ("a" * 129, "length less than or equal to 128"),
    ],
)
def test_what_is_no_qualifier(qualifier: str, constraint: str) -> None:
    error = invalid("app", qualifier)
    assert error.code == "ValidationException"
    assert f"Value '{qualifier}' at 'qualifier' failed to satisfy constraint" in str(error)
    assert str(error).endswith(constraint)
    both = invalid("app!", qualifier)
    assert str(both).startswith("2 validation errors detected: Value 'app!' at 'functionName'")
    assert f"; Value '{qualifier}' at 'qualifier'" in str(both)


def test_lengths() -> None:
    longest = ARN + ":" + "q" * (256 - len(ARN) - 1)
    assert parse(longest, "", REGION, ACCOUNT).function == "app"
    assert str(invalid(longest + "q")).endswith("length less than or equal to 256")
    assert str(invalid("app:" + "a" * 137, kind=PLAIN)).endswith("length less than or equal to 140")


def test_a_new_function_has_64_characters_at_most() -> None:
    error = invalid("a" * 65, kind=CREATE)
    assert error.code == "InvalidParameterValueException"
    assert str(error) == (
        f"1 validation error detected: Value '{'a' * 65}' at 'functionName' failed to satisfy constraint:"
        " Member must have length less than or equal to 64"
    )


@pytest.mark.parametrize("name", ["a" * 65, "a.b", ".", "..", "..."])
def test_names_that_no_function_can_have(name: str) -> None:
    """AWS's pattern lets them pass, and its answer is that there is no such function."""
    with pytest.raises(FunctionNotFound) as raised:
        parse(name, "", REGION, ACCOUNT, INVOKE)
    assert str(raised.value) == f"Function not found: {ARN[:-3]}{name}:$LATEST"
    with pytest.raises(FunctionNotFound) as raised:
        parse(name, "", REGION, ACCOUNT, NAMESPACED)
    assert str(raised.value) == f"Function not found: {ARN[:-3]}{name}"


@pytest.mark.parametrize(("text", "qualifier"), [("app:$LATEST", "live"), (f"{ARN}:live", "$LATEST")])
def test_two_qualifiers(text: str, qualifier: str) -> None:
    error = invalid(text, qualifier)
    assert (error.code, error.status) == ("InvalidParameterValueException", 400)
    assert str(error) == (
        "The derived qualifier from the function name does not match the specified qualifier."
    )


def test_another_region() -> None:
    error = invalid(ARN.replace(REGION, "eu-west-1"))
    assert (error.code, error.status) == ("ResourceNotFoundException", 404)
    assert str(error) == "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"


@pytest.mark.parametrize("text", [ARN.replace(ACCOUNT, "123456789012"), "123456789012:function:app"])
def test_another_account(text: str) -> None:
    error = invalid(text)
    assert (error.code, error.status) == ("AccessDeniedException", 403)
    assert f"account {ACCOUNT}" in str(error)
    assert text in str(error)


def test_a_function_url_is_of_a_function_or_an_alias() -> None:
    assert parse("app", "live", REGION, ACCOUNT, URL) == Name("app", "live")
    for text, qualifier in (("app:1", ""), ("app", "1"), ("app:$LATEST", ""), ("app", "$LATEST")):
        assert invalid(text, qualifier, URL).code == "ValidationException"
    assert str(invalid("app", "1", URL)).endswith(r"pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)")


def test_a_long_name_is_cut_in_the_message() -> None:
    assert len(str(invalid("x!" * 10_000))) < 1500
    assert len(str(invalid("app", "x!" * 10_000))) < 1500


HOSTILE = st.text(
    st.one_of(st.sampled_from("./\\:\0%~$-_ \n"), st.characters(), st.sampled_from("abc019")), max_size=80
)
PREFIX = st.sampled_from(["", "function:", f"{ACCOUNT}:", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"])


@given(PREFIX, HOSTILE, HOSTILE, st.sampled_from(KINDS))
@example("", "..", "", INVOKE)
@example("function:", "..:..", "..", INVOKE)
@example("", "a:$LATEST.PUBLISHED", "", INVOKE)
def test_what_comes_out_is_never_a_path(prefix: str, text: str, qualifier: str, kind: Kind) -> None:
    try:
        name = parse(prefix + text, qualifier, REGION, ACCOUNT, kind)
    except (InvalidName, FunctionNotFound):
        return
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name.function, re.ASCII)
    assert re.fullmatch(r"(\$LATEST\.PUBLISHED|[A-Za-z0-9$_-]*)", name.qualifier, re.ASCII)
    root = Path("/data/functions")
    for part in (name.function, f"{name.function}:{name.qualifier}"):
        assert (root / part).resolve().parent == root


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_those_that_the_pattern_means(kind: Kind) -> None:
    """Our pattern for taking a name apart takes whatever AWS's does."""
    for text in ("app", "app:b", ARN, f"{ARN}:b", f"{ACCOUNT}:app", "function:app:b", "function:function"):
        assert re.fullmatch(kind.pattern, text)
        assert names._PARTS.fullmatch(text)
