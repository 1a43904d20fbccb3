"""Signing requests to the Lambda API with the access key in the environment, for services that ask for it.

The key is found where AWS's own tools look first: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION. botocore signs; it is imported when there is something to
be signed.
"""

from collections.abc import Mapping

from penstock.protocol import sigv4

DEFAULT_REGION = "us-east-1"


class Signer:
    """The access key of an environment, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._key = environ.get("AWS_ACCESS_KEY_ID", "")
        self._secret = environ.get("AWS_SECRET_ACCESS_KEY", "")
        self._token = environ.get("AWS_SESSION_TOKEN") or None
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION

    @property
    def ready(self) -> bool:
        """Whether requests can be signed: there is a key, and botocore."""
        return bool(self._key and self._secret) and _has_botocore()

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> dict[str, str]:
        """`headers` with those that make the signature. Host must be sent as `url` has it."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
        credentials = Credentials(self._key, self._secret, self._token)
        SigV4Auth(credentials, sigv4.SERVICE, self._region).add_auth(request)
        return dict(request.headers.items())

    def hint(self, code: str) -> str:
        """What to do about a refusal with this error code; "" if it is not about the signature."""
        if code == sigv4.MISSING:
            if not (self._key and self._secret):
                return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to an access key of the service"
            return "signing needs botocore: pip install 'penstock[serve]'"
        if code in (sigv4.UNRECOGNIZED, sigv4.INVALID, sigv4.INCOMPLETE):
            return (
                f"AWS_ACCESS_KEY_ID is {self._key}, the region {self._region};"
                " the service must have the key, its secret and this region"
            )
        return ""


def _has_botocore() -> bool:
    from importlib.util import find_spec

    return find_spec("botocore") is not None
