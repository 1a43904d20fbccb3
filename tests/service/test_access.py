"""Requests are signed here by botocore itself, or by hand where it would not."""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import auth, awsrequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from penstock.http.request import HeadParser, Request
from penstock.protocol.sigv4 import Denied
from penstock.service.access import Access, InvalidKeys, parse_keys, read_keys

NOW = datetime(2026, 11, 22, 10, 15, 0, tzinfo=UTC)
KEYS = {"AKID": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "other": "s3cret"}
PATH = "/2015-03-31/functions/app/invocations"
MISMATCH = "The request signature we calculated does not match"


@pytest.fixture(autouse=True)
def clients_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, NOW)


def set_clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
    """The time at which botocore signs."""
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: now.replace(tzinfo=None))


def access(now: datetime = NOW, **options: Any) -> Access:
    options = {"keys": KEYS, "required": True, "region": "us-east-1", **options}
    return Access(clock=now.timestamp, **options)


def signed(
    method: str = "POST",
    target: str = PATH,
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
    *,
    key: str = "AKID",
    secret: str = "",
    token: str | None = None,
    region: str = "us-east-1",
    service: str = "lambda",
    expires: int = 0,
) -> awsrequest.AWSPreparedRequest:
    """A request as botocore sends it. If it `expires`: presigned, and without a body."""
    body = b"" if expires else body
    url = f"http://localhost:3001{target}"
    request = awsrequest.AWSRequest(method, url, headers=headers or {}, data=body)
    credentials = Credentials(key, secret or KEYS.get(key, "x"), token)
    signer = (
        auth.SigV4QueryAuth(credentials, service, region, expires=expires)
        if expires
        else auth.SigV4Auth(credentials, service, region)
    )
    signer.add_auth(request)
    return request.prepare()


def parsed(request: awsrequest.AWSPreparedRequest, **changed: str | None) -> Request:
    """It as it arrives; `changed` headers go over its own, underscores for hyphens, None for none."""
    headers = {"Host": "localhost:3001", **request.headers}
    for name, value in changed.items():
        name = name.replace("_", "-")
        headers = {key: old for key, old in headers.items() if key.lower() != name.lower()}
        if value is not None:
            headers[name] = value
    target = request.url.removeprefix("http://localhost:3001")
    lines = [f"{request.method} {target} HTTP/1.1"]
    for name, value in headers.items():
        lines.append(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
    return HeadParser().parse("\r\n".join([*lines, "", ""]).encode())


def refused(request: Request, body: bytes = b"{}", **options: Any) -> Denied:
    with pytest.raises(Denied) as raised:
        access(**options).verify(request).check(body)
    told = str(raised.value)
    assert raised.value.status == 403
    assert not any(secret in told for secret in KEYS.values())
    assert "\n" not in told
    return raised.value


@pytest.mark.parametrize("expires", [0, 60])
@pytest.mark.parametrize(
    "target",
    [
        PATH,
        "/",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aapp/invocations",
        "/2021-11-15/functions/app%3A%24LATEST/response-streaming-invocations?Qualifier=%24LATEST",
        "/2015-03-31/functions/?MaxItems=10&Marker=a%2Fb%3D%20c&FunctionVersion=ALL",
        "/lambda-url/app//a/./b/../c%2Fd/%C3%A9~?b=2&a=1&a=0&flag&=x",
    ],
)
def test_what_botocore_signs_is_accepted(target: str, expires: int) -> None:
    pending = access().verify(parsed(signed(target=target, expires=expires)))
    pending.check(b"" if expires else b"{}")
    assert pending.access_key == "AKID"


@pytest.mark.parametrize("body", [b"", b"{}", b"\0\xff" * 100_000])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_every_method_and_body(method: str, body: bytes) -> None:
    access().verify(parsed(signed(method, body=body))).check(body)


def test_headers_are_signed_as_they_are() -> None:
    headers = {
        "X-Amz-Client-Context": "e30=",
        "X-Amz-Log-Type": "Tail",
        "x-other": "  a   b ",
        "Content-Type": "é",
    }
    request = signed(headers=headers, token="session")
    access().verify(parsed(request)).check(b"{}")
    assert MISMATCH in str(refused(parsed(request, x_amz_log_type="None")))
    assert MISMATCH in str(refused(parsed(request, x_other="c")))
    assert MISMATCH in str(refused(parsed(request, x_other=None)))
    assert MISMATCH in str(refused(parsed(request, Host="localhost:3002")))


def test_headers_that_are_not_signed_may_change() -> None:
    changed = parsed(signed(), User_Agent="curl", X_Forwarded_For="1.2.3.4", X_Amzn_Trace_Id="Root=1")
    access().verify(changed).check(b"{}")


def test_both_keys_are_known() -> None:
    assert access().verify(parsed(signed(key="other"))).access_key == "other"


def test_the_query_may_be_sent_unescaped() -> None:
    """As `requests` sends what a signer has escaped."""
    request = signed(target=f"{PATH}?Qualifier=%24LATEST&a=%2F")
    request.url = request.url.replace("%24", "$").replace("%2F", "/")
    access().verify(parsed(request)).check(b"{}")
    request.url = request.url.replace("$LATEST", "$latest")
    assert MISMATCH in str(refused(parsed(request)))


@pytest.mark.parametrize("expires", [0, 60])
def test_what_was_tampered_with(expires: int) -> None:
    body = b"" if expires else b"{}"
    request = signed(target=f"{PATH}?Qualifier=1", expires=expires)
    access().verify(parsed(request)).check(body)
    assert MISMATCH in str(refused(parsed(request), body + b" "))
    for old, new in (
        (b"/app/", b"/apq/"),
        (b"Qualifier=1", b"Qualifier=2"),
        (b"Qualifier=1", b"Qualifier=1&b=1"),
    ):
        changed = parsed(request)
        changed.target = changed.target.replace(old, new)
        assert MISMATCH in str(refused(changed, body))
    changed = parsed(request)
    changed.method = "PUT"
    assert refused(changed, body).code == "InvalidSignatureException"


@pytest.mark.parametrize(
    "path", ["/lambda-url/b/../a/x", "/lambda-url/b/%2e%2e/../../a/x", "/lambda-url/./a/x"]
)
def test_a_signature_is_for_the_path_as_it_is_read_here(path: str) -> None:
    """botocore resolves dots before it signs; here they lead nowhere, so `b` would be called."""
    request = signed("GET", "/lambda-url/a/x", expires=60)
    access().verify(parsed(request)).check(b"")
    request.url = request.url.replace("/lambda-url/a/x", path)
    assert MISMATCH in str(refused(parsed(request), b""))


def test_a_plus_sign_is_the_space_that_it_is_read_as() -> None:
    request = signed("GET", "/?q=a%20b")
    request.url = request.url.replace("%20", "+")
    access().verify(parsed(request)).check(b"{}")
    request = signed("GET", "/?q=a%2Bb")
    request.url = request.url.replace("%2B", "+")
    assert MISMATCH in str(refused(parsed(request)))


def test_another_secret_and_an_unknown_key() -> None:
    wrong = refused(parsed(signed(secret="guessed")))
    assert wrong.code == "InvalidSignatureException"
    assert MISMATCH in str(wrong)
    unknown = refused(parsed(signed(key="nobody")))
    assert unknown.code == "UnrecognizedClientException"
    assert str(unknown) == "The security token included in the request is invalid."
    assert refused(parsed(signed()), keys={}).code == "UnrecognizedClientException"


@pytest.mark.parametrize("target", [PATH, f"{PATH}?X-Amz-Signatur=1", f"{PATH}?a=X-Amz-Signature"])
def test_no_signature(target: str) -> None:
    request = HeadParser().parse(f"POST {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    denied = refused(request)
    assert (denied.code, str(denied)) == (
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )


# Time.


def test_clocks_may_differ_by_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (-300, -299, 0, 299, 300):
        set_clock(monkeypatch, NOW + timedelta(seconds=seconds))
        access().verify(parsed(signed())).check(b"{}")
    set_clock(monkeypatch, NOW - timedelta(seconds=301))
    late = refused(parsed(signed()))
    assert late.code == "InvalidSignatureException"
    assert str(late) == (
        "Signature expired: 20261122T100959Z is now earlier than 20261122T101000Z (20261122T101500Z - 5 min.)"
    )
    set_clock(monkeypatch, NOW + timedelta(seconds=301))
    early = refused(parsed(signed()))
    assert early.code == "InvalidSignatureException"
    assert str(early) == (
        "Signature not yet current: 20261122T102001Z is still later than 20261122T102000Z"
        " (20261122T101500Z + 5 min.)"
    )


def test_a_presigned_url_is_good_for_as_long_as_it_says() -> None:
    request = parsed(signed(expires=3600))
    for seconds in (-300, 0, 3600):
        access(NOW + timedelta(seconds=seconds)).verify(request).check(b"")
    assert "Signature expired: 20261122T101500Z" in str(refused(request, now=NOW + timedelta(seconds=3601)))
    assert "not yet current" in str(refused(request, now=NOW - timedelta(seconds=301)))


def test_the_header_date_will_do() -> None:
    """Signed by hand: botocore always sends its own."""
    request = awsrequest.AWSRequest(
        "POST",
        f"http://localhost:3001{PATH}",
        headers={"Date": "Sun, 22 Nov 2026 10:15:00 GMT", "Host": "localhost:3001"},
        data=b"{}",
    )
    request.context["timestamp"] = "20261122T101500Z"
    signer = auth.SigV4Auth(Credentials("AKID", KEYS["AKID"]), "lambda", "us-east-1")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders=date;host, Signature={signature}"
    )
    access().verify(parsed(request.prepare())).check(b"{}")


# Scope.


@pytest.mark.parametrize("expires", [0, 60])
def test_region_and_service(expires: int) -> None:
    denied = refused(parsed(signed(region="eu-west-1", expires=expires)))
    assert str(denied) == "Credential should be scoped to a valid region, not 'eu-west-1'."
    assert denied.code == "InvalidSignatureException"
    denied = refused(parsed(signed(service="s3", expires=expires)))
    assert str(denied) == "Credential should be scoped to correct service: 'lambda'."
    there = parsed(signed(region="eu-west-1", expires=expires))
    access(region="eu-west-1").verify(there).check(b"" if expires else b"{}")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("/aws4_request", "/aws5_request", "valid terminator: 'aws4_request'"),
        ("/20261122/", "/20261121/", "Date in Credential scope does not match"),
        ("/20261122/", "/", "exactly 5 slash-delimited elements"),
        ("/aws4_request", "/aws4_request/more", "exactly 5 slash-delimited elements"),
    ],
)
def test_scopes_that_are_not_good(old: str, new: str, told: str) -> None:
    request = signed()
    request.headers["Authorization"] = request.headers["Authorization"].replace(old, new)
    assert told in str(refused(parsed(request)))


# What must be signed.


def test_host_and_amazons_headers_must_be_signed() -> None:
    request = signed()
    unsigned = parsed(request, X_Amz_Invocation_Type="Event")
    assert str(refused(unsigned)) == (
        "'X-Amz-Invocation-Type' must be a 'SignedHeader' in the AWS Authorization."
    )
    authorization = request.headers["Authorization"]
    for names, told in (("x-amz-date", "'Host' or ':authority'"), ("host", "'X-Amz-Date'")):
        request.headers["Authorization"] = authorization.replace("host;x-amz-date", names)
        assert told in str(refused(parsed(request)))


def test_the_payloads_hash_may_be_stated() -> None:
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    stated = signed(headers={"X-Amz-Content-Sha256": digest})
    access().verify(parsed(stated)).check(b"{}")
    assert MISMATCH in str(refused(parsed(stated), b"[]"))
    other = signed(headers={"X-Amz-Content-Sha256": digest.replace("4", "5")})
    assert MISMATCH in str(refused(parsed(other)))


def test_an_unsigned_payload_is_for_presigned_urls_only() -> None:
    stated = {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}
    assert "must be the SHA-256 of the payload" in str(refused(parsed(signed(headers=stated))))
    request = signed(headers=stated, expires=60)
    access().verify(parsed(request)).check(b"whatever")
    for value in ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        told = str(refused(parsed(signed(headers={"X-Amz-Content-Sha256": value}))))
        assert "signed in chunks" in told


# Whatever is sent.


@given(st.randoms(use_true_random=False), st.sampled_from([0, 60]))
def test_a_signature_with_any_byte_changed_is_refused(chance: random.Random, expires: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, NOW)
        request = parsed(signed(target=f"{PATH}?a=1", expires=expires))
    head = bytearray(request.target if expires else (request.get(b"authorization") or b""))
    place = chance.randrange(len(head))
    byte = chance.choice(b"0123456789abcdefXYZ-;=/,%&+ ~")
    if bytes((head[place],)).lower() == bytes((byte,)).lower():
        return  # names of headers and escapes mean the same in either case
    head[place] = byte
    if expires:
        request.target = bytes(head)
    else:
        request._fields[b"authorization"] = bytes(head)
    with pytest.raises(Denied):
        access().verify(request).check(b"{}")


@given(st.text(max_size=300), st.text(max_size=300))
def test_anything_at_all_is_denied_and_nothing_else_is_raised(authorization: str, query: str) -> None:
    fields = {
        b"host": b"x",
        b"authorization": authorization.encode("utf-8", "replace"),
        b"x-amz-date": b"20261122T101500Z",
    }
    for target in (b"/", b"/?X-Amz-Signature=&" + query.encode("utf-8", "replace")):
        for present in (fields, {b"host": b"x"}):
            request = Request("POST", target, "1.1", list(present.items()), present)
            with pytest.raises(Denied):
                access().verify(request).check(b"")


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=20))
def test_odd_targets_and_values_are_denied_as_well(path: bytes, query: bytes, value: bytes) -> None:
    """Past the head's checks, up to the signature itself."""
    authorization = (
        b"AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/lambda/aws4_request,"
        b" SignedHeaders=host;x-amz-date;x, Signature=" + b"0" * 64
    )
    headers = [
        (b"Host", value),
        (b"X", value),
        (b"X-Amz-Date", b"20261122T101500Z"),
        (b"Authorization", authorization),
    ]
    fields = {name.lower(): text for name, text in headers}
    request = Request("POST", b"/" + path + b"?" + query, "1.1", headers, fields)
    with pytest.raises(Denied, match=MISMATCH):
        access().verify(request).check(b"")


# Keys.


def test_access_says_whether_there_are_keys_and_shows_none() -> None:
    assert access()
    assert not access(keys={})
    assert repr(access()) == "<Access of 2 keys>"
    access().prepare()
    access(keys={}).prepare()


def test_keys_of_a_variable() -> None:
    assert parse_keys("AKID:a/b+c=, other:x:y,") == {"AKID": "a/b+c=", "other": "x:y"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "got no key"),
        (" , ", "got no key"),
        ("AKIDs3cret", "VAR, key 1: expected id:secret"),
        ("a:s3cret,:s3cret", "VAR, key 2: expected id:secret"),
        ("a:s3cret,b:", "VAR, key 2: expected id:secret"),
        ("a/b:s3cret", "VAR, key 1: expected id:secret"),
        ("a:s3cret one", "VAR, key 1: expected id:secret"),
        ("a:s3cret,a:s3cret2", "VAR, key 2: the key a is there twice"),
    ],
)
def test_keys_that_cannot_be_used(text: str, told: str) -> None:
    with pytest.raises(InvalidKeys) as raised:
        parse_keys(text, "VAR")
    assert told in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# ours\nAKID:a,b#c\n\n  other:x  \n")
    path.chmod(0o600)
    assert read_keys(path) == ({"AKID": "a,b#c", "other": "x"}, [])
    path.chmod(0o644)
    keys, notes = read_keys(path)
    assert len(keys) == 2
    assert notes == [f"{path} can be read by every user of this machine: chmod 600 it"]


def test_files_that_hold_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(InvalidKeys, match=r"cannot read .*keys: No such file or directory"):
        read_keys(path)
    with pytest.raises(InvalidKeys, match="Is a directory"):
        read_keys(tmp_path)
    path.write_text("# none\n")
    with pytest.raises(InvalidKeys, match="found no key"):
        read_keys(path)
    path.write_text("a:1\nb\n")
    with pytest.raises(InvalidKeys, match=r"keys:2: expected id:secret"):
        read_keys(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidKeys, match="it is not a text file"):
        read_keys(path)


def test_a_key_given_as_a_file_is_not_shown() -> None:
    with pytest.raises(InvalidKeys, match="cannot read FILE") as raised:
        read_keys(Path("AKID:s3cret"))
    assert "s3cret" not in str(raised.value)
    assert not os.path.exists("AKID:s3cret")
