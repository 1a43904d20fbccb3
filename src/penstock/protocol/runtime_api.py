"""The Lambda Runtime API: paths, header names, error types and documents.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and, for streaming,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html. What these pages leave open: the Runtime
Interface Emulator, which is the code AWS runs, https://github.com/aws/aws-lambda-runtime-interface-emulator.
"""

from .value import Value

VERSION = "/2018-06-01"
PING_PATH = VERSION + "/ping"
NEXT_PATH = VERSION + "/runtime/invocation/next"
INVOCATION_PATH = VERSION + "/runtime/invocation/"  # + {request id}/response or /error
INIT_ERROR_PATH = VERSION + "/runtime/init/error"
RESTORE_NEXT_PATH = VERSION + "/runtime/restore/next"
RESTORE_ERROR_PATH = VERSION + "/runtime/restore/error"

# On the answer to `next`.
REQUEST_ID = "Lambda-Runtime-Aws-Request-Id"
DEADLINE_MS = "Lambda-Runtime-Deadline-Ms"
FUNCTION_ARN = "Lambda-Runtime-Invoked-Function-Arn"
TRACE_ID = "Lambda-Runtime-Trace-Id"
CLIENT_CONTEXT = "Lambda-Runtime-Client-Context"
COGNITO_IDENTITY = "Lambda-Runtime-Cognito-Identity"
TENANT_ID = "Lambda-Runtime-Aws-Tenant-Id"
# One attempt at a request id, which retries share. Answers repeat it; a late one is known by it.
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"

# On `response` and `error`, as headers; the error pair also as trailers of a streamed response.
RESPONSE_MODE = "Lambda-Runtime-Function-Response-Mode"
STREAMING = "streaming"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"  # trailer: Base64 of the JSON error document

# A streamed HTTP response: JSON prelude, eight NUL bytes, payload.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"

# The content type of an error report whose body has the X-Ray cause in it, which is not for callers.
ERROR_WITH_CAUSE = "application/vnd.aws.lambda.error.cause+json"

ACCEPTED = b'{"status":"OK"}\n'

# Error types the platform makes by itself.
EXIT_ERROR = "Runtime.ExitError"
INVALID_ENTRYPOINT = "Runtime.InvalidEntrypoint"
TRUNCATED_RESPONSE = "Runtime.TruncatedResponse"
UNKNOWN_ERROR = "Runtime.Unknown"
UNKNOWN_FUNCTION_ERROR = "Function.Unknown"
INVALID_RESPONSE_MODE = "Runtime.InvalidResponseModeHeader"
RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
TIMED_OUT = "Sandbox.Timedout"
SANDBOX_FAILURE = "Sandbox.Failure"


class InvocationInfo(Value):
    """What the answer to `next` says in its headers."""

    __slots__ = (
        "client_context",
        "cognito_identity",
        "deadline_ms",
        "function_arn",
        "invocation_id",
        "request_id",
        "tenant_id",
        "trace_id",
    )

    def __init__(
        self,
        request_id: str,
        deadline_ms: int,  # epoch milliseconds
        function_arn: str,
        trace_id: str = "",
        client_context: str = "",  # JSON text
        cognito_identity: str = "",  # JSON text
        tenant_id: str = "",
        invocation_id: str = "",
    ) -> None:
        self.request_id = request_id
        self.deadline_ms = deadline_ms
        self.function_arn = function_arn
        self.trace_id = trace_id
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.tenant_id = tenant_id
        self.invocation_id = invocation_id

    def lines(self) -> bytes:
        """The header lines of the answer to `next`; what has no value is left out, as AWS does.

        Raises ValueError when a value has a line break.
        """
        lines = [
            f"{REQUEST_ID}: {self.request_id}\r\n{DEADLINE_MS}: {self.deadline_ms}\r\n"
            f"{FUNCTION_ARN}: {self.function_arn}\r\n"
        ]
        for name, value in (
            (TRACE_ID, self.trace_id),
            (CLIENT_CONTEXT, self.client_context),
            (COGNITO_IDENTITY, self.cognito_identity),
            (TENANT_ID, self.tenant_id),
            (INVOCATION_ID, self.invocation_id),
        ):
            if value:
                lines.append(f"{name}: {value}\r\n")
        text = "".join(lines)
        if text.count("\n") != len(lines) + 2 or text.count("\r") != len(lines) + 2:
            raise ValueError(f"a value has a line break: {self}")
        return text.encode()

    @classmethod
    def from_headers(cls, headers: dict[str, str]) -> "InvocationInfo":
        """Read the headers of an answer to `next`; `headers` has lower-case names."""
        request_id, deadline_ms, *others = (headers.get(name, "") for name in _INFO)
        return cls(request_id, int(deadline_ms or "0"), *others)


_INFO = tuple(
    name.lower()
    for name in (
        REQUEST_ID,
        DEADLINE_MS,
        FUNCTION_ARN,
        TRACE_ID,
        CLIENT_CONTEXT,
        COGNITO_IDENTITY,
        TENANT_ID,
        INVOCATION_ID,
    )
)  # as the fields above
