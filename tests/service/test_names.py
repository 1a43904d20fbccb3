import pytest

from penstock.service.names import InvalidName, parse

REGION, ACCOUNT = "us-east-1", "000000000000"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:app"


@pytest.mark.parametrize(
    ("text", "qualifier"),
    [
        ("app", ""),
        ("app", "$LATEST"),
        ("app:$LATEST", ""),
        ("app:$LATEST", "$LATEST"),
        ("function:app", ""),
        (f"{ACCOUNT}:function:app", ""),
        (f"{ACCOUNT}:function:app:$LATEST", ""),
        (ARN, ""),
        (f"{ARN}:$LATEST", ""),
        (ARN.replace("arn:aws:", "arn:aws-us-gov:"), ""),
    ],
)
def test_every_way_to_write_a_name(text: str, qualifier: str) -> None:
    assert parse(text, qualifier, REGION, ACCOUNT) == "app"


@pytest.mark.parametrize("name", ["a", "a-b_C9", "a" * 64, "function", "arn"])
def test_names(name: str) -> None:
    assert parse(name, "", REGION, ACCOUNT) == name


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b", "../a", "a" * 65, "a:", "a:b:c", "a\n", "é", "arn:aws:s3:::x", "a:$LATESTS", "%61"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidName, match="failed to satisfy constraint") as raised:
        parse(text, "", REGION, ACCOUNT)
    assert raised.value.code == "ValidationException"


@pytest.mark.parametrize(
    ("text", "qualifier", "message"),
    [
        ("app:$LATEST", "live", "does not match the specified qualifier"),
        ("app:live", "$LATEST", "does not match the specified qualifier"),
        ("app", "live", r"only \$LATEST exists here.*got live"),
        ("app:7", "", r"only \$LATEST exists here.*got 7"),
        (ARN.replace(REGION, "eu-west-1"), "", "this is region us-east-1"),
        (ARN.replace(ACCOUNT, "123456789012"), "", "account 000000000000"),
        ("123456789012:function:app", "", "is elsewhere"),
    ],
)
def test_names_of_what_is_not_here(text: str, qualifier: str, message: str) -> None:
    with pytest.raises(InvalidName, match=message) as raised:
        parse(text, qualifier, REGION, ACCOUNT)
    assert raised.value.code == "InvalidParameterValueException"


def test_a_long_name_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidName) as raised:
        parse("x" * 10_000, "", REGION, ACCOUNT)
    assert len(str(raised.value)) < 500
