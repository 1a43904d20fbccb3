"""Function URLs: made, changed and taken away through the Lambda API while it runs, and called over HTTP."""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import auth, awsrequest
from botocore.credentials import Credentials

from journey_kit import Raw, Response
from platform_process import Platform

KEY, SECRET = "AKIDEXAMPLE", "s3cret"
KEYS = {"PENSTOCK_ACCESS_KEYS": f"{KEY}:{SECRET}"}
PAGE = "https://app.example"
FORBIDDEN = {
    "Message": "Forbidden. For troubleshooting Function URL authorization issues, see:"
    " https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
}
ECHO = """
import json

def lambda_handler(event, context):
    said = {"event": event, "arn": context.invoked_function_arn, "version": context.function_version}
    headers = {"Content-Type": "application/json", "Access-Control-Allow-Origin": "https://own.example"}
    if event["rawPath"] == "/stream":
        return {"statusCode": 200, "headers": headers, "body": iter(["one\\n", "two\\n"])}
    if event["rawPath"] == "/fail":
        raise ValueError("no")
    return {"statusCode": 200, "headers": headers, "body": json.dumps(said)}
"""

Start = Callable[..., Platform]


def create(platform: Platform, name: str = "made") -> Any:
    """A function made through the API; its client."""
    client = platform.client()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", ECHO)
    client.create_function(
        FunctionName=name,
        Runtime=f"python3.{sys.version_info[1]}",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="app.lambda_handler",
        Code={"ZipFile": buffer.getvalue()},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return client


def fetch(url: str, *headers: str, method: str = "GET", body: bytes = b"") -> Response:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with Raw((parts.hostname, parts.port)) as raw:
        return raw.get(target, *headers, method=method, body=body)


def signed(url: str, method: str = "GET", body: bytes = b"", secret: str = SECRET) -> list[str]:
    """The headers of a signed request; `Raw` sends the Host localhost."""
    request = awsrequest.AWSRequest(method, url, {"Host": "localhost"}, data=body)
    auth.SigV4Auth(Credentials(KEY, secret), "lambda", "us-east-1").add_auth(request)
    return [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "host"]


def test_a_url_is_there_from_its_configuration_on(platform: Start) -> None:
    started = platform({"own": ECHO})
    client = create(started)
    assert fetch(f"{started.gateway}/lambda-url/made/").status == 404
    url = client.create_function_url_config(FunctionName="made", AuthType="NONE")["FunctionUrl"]
    reply = fetch(f"{url}a/b?c=1").json()
    assert reply["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:made"
    assert (reply["event"]["rawPath"], reply["event"]["rawQueryString"]) == ("/a/b", "c=1")
    assert reply["event"]["requestContext"]["accountId"] == "anonymous"
    assert fetch(f"{url}stream").body == b"one\ntwo\n"
    client.delete_function_url_config(FunctionName="made")
    assert fetch(url).status == 404
    assert fetch(f"{started.gateway}/lambda-url/own/").status == 200  # TARGET's own needs none
    client.delete_function(FunctionName="made")


def test_an_alias_has_a_url_of_its_own(platform: Start) -> None:
    started = platform({})
    client = create(started)
    client.publish_version(FunctionName="made")
    client.create_alias(FunctionName="made", Name="live", FunctionVersion="1")
    url = client.create_function_url_config(FunctionName="made", Qualifier="live", AuthType="NONE")
    reply = fetch(url["FunctionUrl"]).json()
    assert reply["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:made:live"
    assert reply["version"] == "1"
    assert fetch(f"{started.gateway}/lambda-url/made/").status == 404
    client.delete_alias(FunctionName="made", Name="live")
    assert fetch(url["FunctionUrl"]).status == 404


def test_signed_requests_only(platform: Start) -> None:
    started = platform({}, env=KEYS)
    client = create(started)
    url = client.create_function_url_config(FunctionName="made", AuthType="AWS_IAM")["FunctionUrl"]
    unsigned = fetch(url)
    assert (unsigned.status, unsigned.json()) == (403, FORBIDDEN)
    assert unsigned.get("x-amzn-errortype") == "AccessDeniedException"
    target, body = f"{url}a%20b?c=%2F&a=1", b'{"n": 1}'
    reply = fetch(target, *signed(target, "POST", body), method="POST", body=body)
    assert reply.status == 200
    context = reply.json()["event"]["requestContext"]
    assert context["accountId"] == "000000000000"
    assert context["authorizer"]["iam"]["accessKey"] == KEY
    changed = fetch(target, *signed(target, "POST", body), method="POST", body=b'{"n": 2}')
    assert (changed.status, changed.get("x-amzn-errortype")) == (403, "InvalidSignatureException")
    wrong = fetch(target, *signed(target, secret="guessed"))
    assert "does not match" in wrong.json()["message"]
    client.update_function_url_config(FunctionName="made", AuthType="NONE")
    assert fetch(url).status == 200
    shown = json.dumps(started.events)
    assert SECRET not in shown


def test_without_keys_a_signed_url_is_closed_and_the_log_says_why(platform: Start) -> None:
    started = platform({})
    client = create(started)
    url = client.create_function_url_config(FunctionName="made", AuthType="AWS_IAM")["FunctionUrl"]
    assert fetch(url, *signed(url)).json() == FORBIDDEN
    record = started.wait_for(event="request", status=403)
    assert "PENSTOCK_ACCESS_KEYS" in record["detail"]


@pytest.mark.parametrize("auth_type", ["NONE", "AWS_IAM"])
def test_cors(platform: Start, auth_type: str) -> None:
    started = platform({}, env=KEYS)
    client = create(started)
    cors = {
        "AllowOrigins": [PAGE],
        "AllowMethods": ["GET", "POST"],
        "AllowHeaders": ["X-A"],
        "ExposeHeaders": ["X-B"],
        "AllowCredentials": True,
        "MaxAge": 300,
    }
    made = client.create_function_url_config(FunctionName="made", AuthType=auth_type, Cors=cors)
    url = made["FunctionUrl"]

    asked = fetch(url, f"Origin: {PAGE}", "Access-Control-Request-Method: POST", method="OPTIONS")
    assert (asked.status, asked.body) == (200, b"")
    assert asked.get("access-control-allow-origin") == PAGE
    assert asked.get("access-control-allow-methods") == "GET,POST"
    assert asked.get("access-control-allow-headers") == "X-A"
    assert asked.get("access-control-allow-credentials") == "true"
    assert asked.get("access-control-max-age") == "300"
    other = fetch(
        url, "Origin: https://evil.example", "Access-Control-Request-Method: POST", method="OPTIONS"
    )
    assert (other.status, other.get("access-control-allow-origin")) == (200, None)
    assert started.find(event="log") == []  # no function was called

    for path, status in (("", 200), ("stream", 200), ("fail", 502)):
        headers = signed(url + path) if auth_type == "AWS_IAM" else []
        reply = fetch(url + path, f"Origin: {PAGE}", *headers)
        assert (reply.status, reply.get("access-control-allow-origin")) == (status, PAGE)
        assert reply.get("access-control-expose-headers") == "X-B"
        assert reply.get("vary") == "Origin"
        elsewhere = fetch(url + path, "Origin: https://evil.example", *headers)
        assert elsewhere.get("access-control-allow-origin") is None
