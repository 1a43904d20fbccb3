"""The Lambda API's two invocations: paths and header names.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html and
https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html.
"""

from urllib.parse import quote

# Each is {prefix}{function name or ARN, percent-encoded}{suffix}, and called with POST.
INVOKE_PREFIX = "/2015-03-31/functions/"
INVOKE_SUFFIX = "/invocations"
STREAM_PREFIX = "/2021-11-15/functions/"
STREAM_SUFFIX = "/response-streaming-invocations"

# Ours, beside AWS's: a function's log, and its code as a file.
OWN_PREFIX = "/_penstock/"
LOGS_PREFIX = OWN_PREFIX + "logs/"  # + function name
CODE_PREFIX = OWN_PREFIX + "code/"  # + the SHA-256, hexadecimal

# On the request.
INVOCATION_TYPE = "X-Amz-Invocation-Type"
LOG_TYPE = "X-Amz-Log-Type"
CLIENT_CONTEXT = "X-Amz-Client-Context"  # Base64 of JSON
TRACE_ID = "X-Amzn-Trace-Id"
TENANT_ID = "X-Amz-Tenant-Id"

# On the answer.
EXECUTED_VERSION = "X-Amz-Executed-Version"
FUNCTION_ERROR = "X-Amz-Function-Error"
LOG_RESULT = "X-Amz-Log-Result"  # Base64 of the log's last 4 KB
REQUEST_ID = "x-amzn-RequestId"
ERROR_TYPE = "x-amzn-ErrorType"


def invoke_path(function: str) -> str:
    """Where Invoke is called."""
    return f"{INVOKE_PREFIX}{quote(function, safe='')}{INVOKE_SUFFIX}"


def stream_path(function: str) -> str:
    """Where InvokeWithResponseStream is called."""
    return f"{STREAM_PREFIX}{quote(function, safe='')}{STREAM_SUFFIX}"
