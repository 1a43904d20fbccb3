"""Who may call: requests signed by AWS's own clients, and everything that is not right about others."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import auth, awsrequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from journey_kit import curl, needs_curl
from platform_process import Platform

AWS = Path(sys.executable).parent / "aws"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = {"PENSTOCK_ACCESS_KEYS": f"other:other-s3cret,{KEY}:{SECRET}"}
ARN = "arn:aws:lambda:us-east-1:000000000000:function:app"
APP = """
def lambda_handler(event, context):
    return {"event": event, "arn": context.invoked_function_arn}
"""
MISMATCH = "The request signature we calculated does not match the signature you provided."

Start = Callable[..., Platform]


@contextmanager
def client(platform: Platform, key: str = KEY, secret: str = SECRET, **options: Any) -> Iterator[Any]:
    made = boto3.client(
        "lambda",
        endpoint_url=platform.lambda_api,
        region_name=options.pop("region", "us-east-1"),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}),
        **options,
    )
    try:
        yield made
    finally:
        made.close()


def refusal(platform: Platform, key: str = KEY, secret: str = SECRET, **options: Any) -> tuple[str, str]:
    """Code and message of the 403 that an Invoke gets."""
    with client(platform, key, secret, **options) as lambda_, pytest.raises(ClientError) as raised:
        lambda_.invoke(FunctionName="app")
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return response["Error"]["Code"], response["Error"]["Message"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("guarded"), {"app": APP}, "--require-auth", env=KEYS) as platform:
        yield platform


@pytest.mark.parametrize("name", ["app", ARN, "000000000000:function:app", f"{ARN}:$LATEST"])
def test_boto3_gets_in(guarded: Platform, name: str) -> None:
    with client(guarded) as lambda_:
        reply = lambda_.invoke(FunctionName=name, Payload=b'{"a": "\xc3\xa9"}', ClientContext="e30=")
        assert json.loads(reply["Payload"].read())["event"] == {"a": "é"}
        reply = lambda_.invoke_with_response_stream(FunctionName=name, LogType="Tail")
        chunks = [each["PayloadChunk"]["Payload"] for each in reply["EventStream"] if "PayloadChunk" in each]
        assert b'"event"' in b"".join(chunks)
    with client(guarded, "other", "other-s3cret", aws_session_token="ignored") as lambda_:
        assert lambda_.invoke(FunctionName=name, Qualifier="$LATEST")["StatusCode"] == 200


def test_a_wrong_secret_an_unknown_key_another_region(guarded: Platform) -> None:
    code, message = refusal(guarded, secret="guessed")
    assert (code, message.startswith(MISMATCH)) == ("InvalidSignatureException", True)
    code, message = refusal(guarded, key="nobody")
    assert code == "UnrecognizedClientException"
    assert message == "The security token included in the request is invalid."
    code, message = refusal(guarded, region="eu-west-1")
    assert (code, "valid region" in message) == ("InvalidSignatureException", True)


@pytest.mark.parametrize(
    ("minutes", "told"), [(-6, "Signature expired: "), (6, "Signature not yet current: "), (-4, ""), (4, "")]
)
def test_a_clients_clock_may_be_wrong_by_five_minutes(
    guarded: Platform, monkeypatch: pytest.MonkeyPatch, minutes: int, told: str
) -> None:
    def skewed(*_: object) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=minutes)

    monkeypatch.setattr(auth, "get_current_datetime", skewed)
    if told:
        code, message = refusal(guarded)
        assert (code, message.startswith(told)) == ("InvalidSignatureException", True)
    else:
        with client(guarded) as lambda_:
            assert lambda_.invoke(FunctionName="app")["StatusCode"] == 200


def signed(
    platform: Platform, method: str, path: str, body: bytes = b"", *, presigned: int = 0
) -> awsrequest.AWSRequest:
    request = awsrequest.AWSRequest(method, platform.lambda_api + path, data=body)
    credentials = Credentials(KEY, SECRET)
    if presigned:
        auth.SigV4QueryAuth(credentials, "lambda", "us-east-1", expires=presigned).add_auth(request)
    else:
        auth.SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
    return request


def send(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


PATH = "/2015-03-31/functions/app/invocations"


def test_a_tampered_request_calls_no_function(guarded: Platform) -> None:
    body = b'{"amount": 1}'
    request = signed(guarded, "POST", PATH, body)
    headers = dict(request.headers.items())
    assert send("POST", request.url, headers, body)[0] == 200
    for changed in (
        ("POST", request.url, headers, b'{"amount": 9}'),
        ("POST", request.url + "?Qualifier=1", headers, body),
        ("POST", request.url, {**headers, "X-Amz-Invocation-Type": "Event"}, body),
        ("POST", request.url.replace("/app/", "/apq/"), headers, body),
    ):
        status, document = send(*changed)
        assert (status, list(document)) == (403, ["message"])
    guarded.wait_for(4, event="request", status=403, ending="refused", method="Invoke", requestId="")


def test_a_presigned_url_is_good_until_it_expires(guarded: Platform) -> None:
    request = signed(guarded, "POST", PATH, presigned=60)
    status, document = send("POST", request.url, {}, b"")
    assert (status, document["event"]) == (200, {})
    status, document = send("POST", request.url, {}, b'{"a": 1}')  # another body was signed: none
    assert (status, document["message"].startswith(MISMATCH)) == (403, True)
    status, document = send("POST", request.url.replace("Expires=60", "Expires=600"), {}, b"")
    assert status == 403


def test_a_presigned_url_that_has_expired(guarded: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def before(*_: object) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=61)

    monkeypatch.setattr(auth, "get_current_datetime", before)
    request = signed(guarded, "POST", PATH, presigned=60)
    status, document = send("POST", request.url, {}, b"")
    assert (status, document["message"].startswith("Signature expired: ")) == (403, True)


def test_without_a_signature_nothing_is_told(guarded: Platform) -> None:
    for path in (PATH, "/2015-03-31/functions/nobody/invocations", "/nothing"):
        assert send("POST", guarded.lambda_api + path, {}, b"{}") == (
            403,
            {"message": "Missing Authentication Token"},
        )


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_web_page_is_refused_even_with_a_signature(guarded: Platform, header: dict[str, str]) -> None:
    request = signed(guarded, "POST", PATH, b"{}")
    status, document = send("POST", request.url, {**request.headers, **header}, b"{}")
    assert (status, "web pages" in document["Message"]) == (403, True)


@needs_curl
def test_curl_signs_as_well(guarded: Platform) -> None:
    url = f"{guarded.lambda_api}{PATH}?Qualifier=%24LATEST"
    sign = ["--aws-sigv4", "aws:amz:us-east-1:lambda", "--user"]
    done = curl(*sign, f"{KEY}:{SECRET}", "--data", '{"by": "curl"}', url)
    assert json.loads(done.stdout)["event"] == {"by": "curl"}
    done = curl(*sign, f"{KEY}:guessed", "--data", "{}", url)
    assert json.loads(done.stdout)["message"].startswith(MISMATCH)


def command(platform: Platform, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    return subprocess.run(
        arguments,
        env={**kept, "PENSTOCK_ENDPOINT_URL": platform.lambda_api, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_aws_s_command_line(guarded: Platform, tmp_path: Path) -> None:
    arguments = (
        "lambda",
        "invoke",
        "--function-name",
        ARN,
        "--payload",
        '{"by": "cli"}',
        str(tmp_path / "out"),
    )
    environ = {
        "AWS_ENDPOINT_URL_LAMBDA": guarded.lambda_api,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    done = command(guarded, str(AWS), *arguments, **environ, AWS_SECRET_ACCESS_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out").read_text())["event"] == {"by": "cli"}
    done = command(guarded, str(AWS), *arguments, **environ, AWS_SECRET_ACCESS_KEY="guessed")
    assert done.returncode != 0
    assert "(InvalidSignatureException)" in done.stderr


@pytest.mark.parametrize("form", [[], ["--buffered"]])
def test_our_own_command_line(guarded: Platform, form: list[str]) -> None:
    arguments = (sys.executable, "-m", "penstock", "invoke", "app", "--payload", '{"by": "us"}', *form)
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = command(guarded, *arguments, **keys)
    assert (done.returncode, json.loads(done.stdout)["event"]) == (0, {"by": "us"})
    done = command(guarded, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
    done = command(guarded, *arguments, **{**keys, "AWS_ACCESS_KEY_ID": "nobody"})
    assert "UnrecognizedClientException" in done.stderr
    assert "AWS_ACCESS_KEY_ID is nobody" in done.stderr


def test_the_log_shows_no_secret_and_no_signature(guarded: Platform) -> None:
    request = signed(guarded, "GET", "/nothing", presigned=60)
    signature = request.url.rpartition("=")[2]
    send("GET", request.url, {}, None)
    guarded.wait_for(event="request", status=404)
    shown = json.dumps(guarded.events)
    for secret in (SECRET, "other-s3cret", signature):
        assert secret not in shown


def test_calls_that_are_refused_hold_up_nobody(guarded: Platform) -> None:
    """Whoever guesses at keys takes no environment, and little time."""
    stop = threading.Event()

    def guess() -> None:
        while not stop.is_set():
            refusal(guarded, secret="guessed")

    guessing = [threading.Thread(target=guess) for _ in range(4)]
    for thread in guessing:
        thread.start()
    try:
        with client(guarded) as lambda_:
            began = time.monotonic()
            for _ in range(10):
                assert lambda_.invoke(FunctionName="app")["StatusCode"] == 200
            assert time.monotonic() - began < 10
    finally:
        stop.set()
        for thread in guessing:
            thread.join()


# Where it listens, and where the keys come from.


def test_keys_of_a_file(platform: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# one\n{KEY}:{SECRET}\n")
    keys.chmod(0o644)
    started = platform({"app": APP}, "--require-auth", "--access-keys", str(keys))
    with client(started) as lambda_:
        assert lambda_.invoke(FunctionName="app")["StatusCode"] == 200
    assert "chmod 600" in started.wait_for(event="note")["message"]


def test_functions_do_not_see_the_keys(platform: Start) -> None:
    source = "import os\ndef lambda_handler(event, context):\n    return dict(os.environ)\n"
    started = platform({"app": source}, env=KEYS)
    with client(started, "any", "any") as lambda_:  # keys alone require nothing
        seen = lambda_.invoke(FunctionName="app")["Payload"].read().decode()
    assert SECRET not in seen
    assert "PENSTOCK_ACCESS_KEYS" not in seen


def test_off_loopback_every_request_is_signed(platform: Start) -> None:
    started = platform({"app": APP}, "--host", "0.0.0.0", env=KEYS)
    started.wait_for(
        event="note",
        message="--host 0.0.0.0: the Lambda API takes signed requests only, as with --require-auth",
    )
    with client(started) as lambda_:
        assert lambda_.invoke(FunctionName="app")["StatusCode"] == 200
    assert refusal(started, secret="guessed")[0] == "InvalidSignatureException"
    assert send("POST", started.lambda_api + PATH, {}, b"{}")[0] == 403


def test_off_loopback_any_host_name_will_do_if_it_is_the_signed_one(platform: Start) -> None:
    started = platform({"app": APP}, "--host", "0.0.0.0", env=KEYS)
    request = awsrequest.AWSRequest(
        "POST", started.lambda_api + PATH, {"Host": "lambda.example.com"}, data=b"{}"
    )
    auth.SigV4Auth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(request)
    headers = dict(request.headers.items())
    assert send("POST", request.url, headers, b"{}")[0] == 200
    assert send("POST", request.url, {**headers, "Host": "evil.example"}, b"{}")[0] == 403


@pytest.mark.parametrize(
    ("flags", "environ", "told"),
    [
        (["--host", "0.0.0.0"], {}, "--host: '0.0.0.0' is not a loopback address"),
        (["--require-auth"], {}, "--require-auth: there are no access keys"),
        ([], {"PENSTOCK_ACCESS_KEYS": "s3cret"}, "PENSTOCK_ACCESS_KEYS, key 1: expected id:secret"),
        (["--access-keys", "a:s3cret"], {}, "--access-keys: cannot read FILE: No such file"),
    ],
)
@pytest.mark.parametrize("name", ["dev", "serve"])
def test_it_does_not_start_half_open(
    tmp_path: Path, name: str, flags: list[str], environ: dict[str, str], told: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "-m", "penstock", name, "app.py", "--port", "0", "--lambda-port", "0", *flags],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")} | environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"penstock: {told}")
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr
