"""The connection of `invoke` and `logs` to the Lambda API of a running service. Standard library only."""

import http.client
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from penstock.client.signing import Signer
from penstock.protocol import eventstream, lambda_api, limits, sigv4

from .errors import CommandError, UsageError

DEFAULT_ENDPOINT = "http://127.0.0.1:3001"

CONNECT_TIMEOUT = 10.0

_NO_FUNCTION = "ResourceNotFoundException"


def endpoint_url(given: str | None, environ: Mapping[str, str]) -> str:
    """Where the Lambda API is: as `given`, else as the environment says, else where it is by default."""
    return (
        given
        or environ.get("PENSTOCK_ENDPOINT_URL")
        or environ.get("AWS_ENDPOINT_URL_LAMBDA")
        or DEFAULT_ENDPOINT
    )


class Connection:
    """One request to the Lambda API, with every way it can go wrong told in one line."""

    def __init__(self, url: str, signer: Signer, *, missing: str = "") -> None:
        self._url = url
        self._signer = signer
        self._missing = missing  # what to do if there is no such function
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("expected http://HOST:PORT")
            make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._http = make(parts.hostname, parts.port, timeout=CONNECT_TIMEOUT)
        except ValueError as error:
            raise UsageError(f"endpoint {url!r}: {error}") from error
        self._path = parts.path.rstrip("/")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._http.close()
        if isinstance(error, BrokenPipeError):
            return  # stdout's reader has left, which is no fault of the endpoint
        if isinstance(error, OSError | http.client.HTTPException | eventstream.EventStreamError):
            raise CommandError(f"the response from {self._url} broke off: {reason_of(error)}") from error

    def post(self, path: str, payload: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """The response, if it is a 200. Signed only if that is asked for. Raises CommandError."""
        return self._ask("POST", path, payload, {"Content-Type": "application/json", **headers})

    def get(self, path: str) -> http.client.HTTPResponse:
        """As `post`; a query is part of the path."""
        return self._ask("GET", path, b"", {})

    def _ask(
        self, method: str, path: str, payload: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        response = self._send(method, path, payload, headers)
        code = (response.getheader(lambda_api.ERROR_TYPE) or "").partition(":")[0]
        if code == sigv4.MISSING and self._signer.ready:
            self._http.close()
            signed = self._signer.sign(method, self._url.rstrip("/") + path, headers, payload)
            response = self._send(method, path, payload, signed)
        if response.status != 200:
            raise CommandError(_refusal(response, self._signer, self._missing))
        return response

    def _send(
        self, method: str, path: str, payload: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        try:
            self._http.connect()
        except ConnectionRefusedError as error:
            raise CommandError(
                f"nothing listens at {self._url}: start it with `penstock dev`, or say where it is "
                "with --endpoint-url"
            ) from error
        except OSError as error:
            raise CommandError(f"cannot connect to {self._url}: {reason_of(error)}") from error
        assert self._http.sock is not None
        self._http.sock.settimeout(None)  # a function may take its time
        try:
            self._http.request(method, self._path + path, payload or None, dict(headers))
            return self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"no answer from {self._url}: {reason_of(error)}") from error


def _refusal(response: http.client.HTTPResponse, signer: Signer, missing: str) -> str:
    """What AWS's JSON errors say, in one line."""
    data = response.read(limits.ERROR_DOCUMENT)
    code = (response.getheader(lambda_api.ERROR_TYPE) or f"HTTP {response.status}").partition(":")[0]
    try:
        document = json.loads(data)
        message = document.get("Message") or document.get("message") or data.decode()
        if document.get("Reason"):
            message = f"{message.rstrip('.')} ({document['Reason']})"
    except (ValueError, AttributeError):
        message = data.decode(errors="replace").strip() or response.reason
    hint = signer.hint(code)
    if code == _NO_FUNCTION:
        hint = missing
    return f"{code}: {message.rstrip('.')}; {hint}" if hint else f"{code}: {message}"


def reason_of(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the service closed the connection"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
