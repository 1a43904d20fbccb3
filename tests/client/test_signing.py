import sys
import time

import pytest

from penstock.client.signing import Signer
from penstock.http.request import HeadParser
from penstock.protocol import sigv4
from penstock.service.access import Access

ENVIRON = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s3cret"}


@pytest.mark.parametrize("token", [{}, {"AWS_SESSION_TOKEN": "t"}])
@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:3001/a%3Ab?c=%24", "http://[::1]:3001/", "http://box/x"])
def test_what_it_signs_the_service_accepts(
    url: str, environ: dict[str, str], region: str, token: dict[str, str]
) -> None:
    signer = Signer({**ENVIRON, **environ, **token})
    assert signer.ready
    headers = signer.sign("POST", url, {"Content-Type": "application/json"}, b"{}")
    assert headers["Content-Type"] == "application/json"
    host, _, path = url.removeprefix("http://").partition("/")
    lines = [f"POST /{path} HTTP/1.1", f"Host: {host}", *(f"{name}: {headers[name]}" for name in headers)]
    request = HeadParser().parse("\r\n".join([*lines, "", ""]).encode())
    access = Access({"AKID": "s3cret"}, True, region, time.time)
    access.verify(request).check(b"{}")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"AWS_ACCESS_KEY_ID": "AKID"},
        {"AWS_SECRET_ACCESS_KEY": "s3cret"},
        {**ENVIRON, "AWS_ACCESS_KEY_ID": ""},
    ],
)
def test_without_a_key_nothing_is_signed(environ: dict[str, str]) -> None:
    signer = Signer(environ)
    assert not signer.ready
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in signer.hint(sigv4.MISSING)


def test_without_botocore_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    signer = Signer(ENVIRON)
    assert not signer.ready
    assert "pip install 'penstock[serve]'" in signer.hint(sigv4.MISSING)


@pytest.mark.parametrize("code", [sigv4.UNRECOGNIZED, sigv4.INVALID, sigv4.INCOMPLETE])
def test_what_to_do_about_a_key_that_is_not_taken(code: str) -> None:
    hint = Signer(ENVIRON).hint(code)
    assert "AWS_ACCESS_KEY_ID is AKID, the region us-east-1" in hint
    assert "s3cret" not in hint


def test_other_errors_are_not_about_the_key() -> None:
    assert Signer(ENVIRON).hint("ResourceNotFoundException") == ""
