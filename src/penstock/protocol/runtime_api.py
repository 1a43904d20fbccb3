"""The Lambda Runtime API: paths, header names, error types and documents.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and, for streaming,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html.
"""

import json
from dataclasses import dataclass

VERSION = "/2018-06-01"
NEXT_PATH = VERSION + "/runtime/invocation/next"
INVOCATION_PATH = VERSION + "/runtime/invocation/"  # + {request id}/response or /error
INIT_ERROR_PATH = VERSION + "/runtime/init/error"

# On the answer to `next`.
REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
DEADLINE_MS = "Lambda-Runtime-Deadline-Ms"
FUNCTION_ARN = "Lambda-Runtime-Invoked-Function-Arn"
TRACE_ID = "Lambda-Runtime-Trace-Id"
CLIENT_CONTEXT = "Lambda-Runtime-Client-Context"
COGNITO_IDENTITY = "Lambda-Runtime-Cognito-Identity"
TENANT_ID = "Lambda-Runtime-Aws-Tenant-Id"

# On `response` and `error`, as headers; the error pair also as trailers of a streamed response.
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
STREAMING = "streaming"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"  # trailer: Base64 of the JSON error document

# A streamed HTTP response: JSON prelude, eight NUL bytes, payload.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"

ACCEPTED = b'{"status":"OK"}\n'

# Error types the platform makes by itself.
EXIT_ERROR = "Runtime.ExitError"
INVALID_RESPONSE_MODE = "Runtime.InvalidResponseModeHeader"
RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
TIMED_OUT = "Sandbox.Timedout"
SANDBOX_FAILURE = "Sandbox.Failure"


def error_document(error_type: str, message: str) -> bytes:
    """The JSON document the platform itself answers with when a function could not."""
    return json.dumps({"errorType": error_type, "errorMessage": message}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class InvocationInfo:
    """What the answer to `next` says in its headers."""

    request_id: str
    deadline_ms: int  # epoch milliseconds
    function_arn: str
    trace_id: str = ""
    client_context: str = ""  # JSON text
    cognito_identity: str = ""  # JSON text
    tenant_id: str = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer to `next`; those without a value are left out, as AWS does."""
        pairs = (
            (REQUEST_ID, self.request_id),
            (DEADLINE_MS, str(self.deadline_ms)),
            (FUNCTION_ARN, self.function_arn),
            (TRACE_ID, self.trace_id),
            (CLIENT_CONTEXT, self.client_context),
            (COGNITO_IDENTITY, self.cognito_identity),
            (TENANT_ID, self.tenant_id),
        )
        return [(name.encode(), value.encode()) for name, value in pairs if value]

    @classmethod
    def from_headers(cls, headers: dict[str, str]) -> "InvocationInfo":
        """Read the headers of an answer to `next`; `headers` has lower-case names."""

        def get(name: str, default: str = "") -> str:
            return headers.get(name.lower(), default)

        return cls(
            request_id=get(REQUEST_ID),
            deadline_ms=int(get(DEADLINE_MS, "0")),
            function_arn=get(FUNCTION_ARN),
            trace_id=get(TRACE_ID),
            client_context=get(CLIENT_CONTEXT),
            cognito_identity=get(COGNITO_IDENTITY),
            tenant_id=get(TENANT_ID),
        )
