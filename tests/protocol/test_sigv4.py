import re

import pytest

from penstock.protocol import sigv4
from penstock.protocol.sigv4 import Claim, Denied, from_header, from_query, query_of

SCOPE = "20261122/us-east-1/lambda/aws4_request"
HEADER = (
    f"AWS4-HMAC-SHA256 Credential=AKID/{SCOPE}, SignedHeaders=content-type;Host;x-amz-date, Signature=5d67"
)
QUERY = (
    f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F{SCOPE.replace('/', '%2F')}"
    "&X-Amz-Date=20261122T101500Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=5d67"
)
DATE = "20261122T101500Z"


def test_a_header() -> None:
    claim = from_header(HEADER, DATE, None)
    assert claim == Claim(
        "AKID",
        ("20261122", "us-east-1", "lambda", "aws4_request"),
        frozenset(("content-type", "host", "x-amz-date")),
        "5d67",
        DATE,
    )
    assert claim.signed_at == 1_795_342_500
    assert from_header(HEADER.replace(", ", ","), DATE, None) == claim


@pytest.mark.parametrize("date", ["Sun, 22 Nov 2026 10:15:00 GMT", DATE])
def test_the_date_may_be_in_the_header_date(date: str) -> None:
    assert from_header(HEADER, None, date).timestamp == DATE
    assert from_header(HEADER, DATE, "Mon, 01 Jan 2001 00:00:00 GMT").timestamp == DATE


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-22T10:15:00Z", "20261122T101500", "20260230T000000Z", "٢٠٢٦1122T101500Z"],
)
def test_dates_that_are_none(text: str) -> None:
    for date, http_date in ((text, None), (None, text)):
        with pytest.raises(Denied, match="Date must be in ISO-8601 'basic format'") as raised:
            from_header(HEADER, date, http_date)
        assert raised.value.code == "IncompleteSignatureException"


def test_a_date_after_the_last_year_is_none() -> None:
    with pytest.raises(Denied, match="Date must be in ISO-8601 'basic format'"):
        from_header(HEADER, None, "Fri, 31 Dec 9999 23:59:59 -2359")


@pytest.mark.parametrize("part", ["Credential", "Signature", "SignedHeaders"])
def test_what_is_missing_in_a_header_is_named(part: str) -> None:
    without = re.sub(rf"{part}=[^,]*,? ?", "", HEADER).rstrip(", ")
    with pytest.raises(Denied, match=f"Authorization header requires '{part}' parameter") as raised:
        from_header(without, DATE, None)
    assert (raised.value.code, raised.value.status) == ("IncompleteSignatureException", 403)
    assert not raised.value.unsigned
    with pytest.raises(Denied, match="either a 'X-Amz-Date' or a 'Date' header"):
        from_header(HEADER, None, None)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer s3cret", "Basic czNjcmV0", "AWS4-HMAC-SHA256 s3cret", f"{HEADER}, s3cret", "AWS s3cret"],
)
def test_no_message_repeats_what_was_sent(header: str) -> None:
    with pytest.raises(Denied) as raised:
        from_header(header, DATE, None)
    assert raised.value.code == "IncompleteSignatureException"
    assert "s3cret" not in str(raised.value)
    assert "5d67" not in str(raised.value)


def test_a_presigned_query() -> None:
    assert from_query(query_of(QUERY)) == Claim(
        "AKID", tuple(SCOPE.split("/")), frozenset(("host",)), "5d67", DATE, 60
    )


@pytest.mark.parametrize(
    "name",
    [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ],
)
def test_what_is_missing_or_twice_in_a_query_is_named(name: str) -> None:
    for query in (
        re.sub(rf"{name}=[^&]*&?", "", QUERY),
        re.sub(rf"{name}=[^&]*", f"{name}=", QUERY),
        f"{QUERY}&{name}=1",
    ):
        with pytest.raises(Denied, match=f"must include '{name}'") as raised:
            from_query(query_of(query))
        assert raised.value.code == "IncompleteSignatureException"


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1e3", "60.5", "soon", "9" * 5000, "٦٠"])
def test_how_long_a_presigned_url_may_be_good_for(expires: str) -> None:
    with pytest.raises(Denied, match="from 1 to 604800"):
        from_query(query_of(QUERY.replace("Expires=60", f"Expires={expires}")))


@pytest.mark.parametrize("expires", [1, 604_800])
def test_the_shortest_and_the_longest(expires: int) -> None:
    claim = from_query(query_of(QUERY.replace("Expires=60", f"Expires={expires}")))
    assert claim.expires == expires


def test_another_algorithm_is_refused() -> None:
    with pytest.raises(Denied, match="must be 'AWS4-HMAC-SHA256'"):
        from_query(query_of(QUERY.replace("HMAC-SHA256", "ECDSA-P256-SHA256")))


def test_queries_are_read_without_guessing() -> None:
    assert query_of("a=1&a=%32&&b&c=x+y%20z&=&d=%ff") == {
        "a": ["1", "2"],
        "b": [""],
        "c": ["x+y z"],
        "": [""],
        "d": ["\ufffd"],
    }
    assert query_of("") == {}


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a", "/a"),
        ("/a?b=1", "/a?b=1"),
        ("/X-Amz-Signature=1", "/X-Amz-Signature=1"),
        ("/a?X-Amz-Signature=5d67&b=1", "/a?X-Amz-Signature=…&b=1"),
        ("/a?b=1&x-amz-security-token=5d67%2F", "/a?b=1&x-amz-security-token=…"),
    ],
)
def test_what_a_log_shows_of_a_target(target: str, shown: str) -> None:
    assert sigv4.shown(target) == shown


def test_the_errors_say_what_aws_says() -> None:
    assert sigv4.missing().unsigned
    assert (sigv4.missing().code, str(sigv4.missing())) == (
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
    assert (sigv4.unrecognized().code, str(sigv4.unrecognized())) == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
    assert (sigv4.mismatch().code, str(sigv4.mismatch())) == (
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
        " Access Key and signing method. Consult the service documentation for details.",
    )
