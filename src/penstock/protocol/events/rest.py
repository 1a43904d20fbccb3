"""The event of a REST API's Lambda proxy integration (format 1.0).

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html,
and events recorded from AWS, which settle what that page leaves open: there is no `version` key, the path and
`{proxy+}` stay percent-encoded, query values are decoded and a plus sign is a space.

The API is a greedy `/{proxy+}` beside `/`, at a domain of its own: the stage is `local` and in no path.

Ours differs in one thing. AWS passes a body as text unless its API lists the content type in
`binaryMediaTypes`, and ruins one that is not UTF-8. We have no such list: a well-known binary type, a form
with files, and whatever is not UTF-8 arrive as Base64, with `isBase64Encoded` true.
"""

from typing import Any

from . import (
    HOP_BY_HOP,
    HttpRequest,
    ascii_only,
    body_text,
    domain_prefix,
    forwarded_for,
    media_type,
    query_values,
    request_time,
)

API_ID = "penstock"
STAGE = "local"

# AWS removes the length too: it has read the body, and Base64 changes it.
_NOT_FORWARDED = HOP_BY_HOP | {"content-length"}
# Headers AWS spells its own way; all others are spelled as the client first did.
_SPELLING = {
    "host": "Host",
    "user-agent": "User-Agent",
    "x-amzn-trace-id": "X-Amzn-Trace-Id",
    "x-forwarded-for": "X-Forwarded-For",
    "x-forwarded-port": "X-Forwarded-Port",
    "x-forwarded-proto": "X-Forwarded-Proto",
}
_BINARY_KINDS = ("audio/", "font/", "image/", "video/")
_BINARY_TYPES = frozenset(
    (
        "application/cbor",
        "application/gzip",
        "application/msgpack",
        "application/octet-stream",
        "application/pdf",
        "application/protobuf",
        "application/vnd.google.protobuf",
        "application/wasm",
        "application/x-gzip",
        "application/x-msgpack",
        "application/x-protobuf",
        "application/x-tar",
        "application/zip",
        "multipart/form-data",
    )
)


def event(request: HttpRequest) -> dict[str, Any]:
    """The event a REST API would make of `request`."""
    spelling = _SPELLING.copy()
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        lower = name.lower()
        if lower not in _NOT_FORWARDED:
            headers.setdefault(spelling.setdefault(lower, name), []).append(value)
    headers["X-Forwarded-For"] = [forwarded_for(headers.get("X-Forwarded-For", ()), request.source_ip)]
    headers["X-Forwarded-Port"] = [str(request.port)]
    headers["X-Forwarded-Proto"] = [request.scheme]
    if request.trace_id:
        headers["X-Amzn-Trace-Id"] = [request.trace_id]
    last = {name: values[-1] for name, values in headers.items()}

    path = ascii_only(request.path)
    tail = path[1:]
    resource = "/{proxy+}" if tail else "/"
    domain = last.get("Host", "")
    query = query_values(request.query) if request.query else None
    content_type = last.get(spelling.get("content-type", ""), "")
    body, is_base64 = body_text(request.body, not _is_binary(media_type(content_type)))
    return {
        "resource": resource,
        "path": path,
        "httpMethod": request.method,
        "headers": last,
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} if query else None,
        "multiValueQueryStringParameters": query or None,
        # One trailing slash is not part of the parameter, though it stays in the path.
        "pathParameters": {"proxy": tail.removesuffix("/") or tail} if tail else None,
        "stageVariables": None,
        "requestContext": {
            "accountId": request.account_id,
            "apiId": API_ID,
            "deploymentId": STAGE,
            "domainName": domain,
            "domainPrefix": domain_prefix(domain),
            "extendedRequestId": request.request_id,
            "httpMethod": request.method,
            "identity": {
                "accessKey": None,
                "accountId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": request.source_ip,
                "user": None,
                "userAgent": last.get("User-Agent"),
                "userArn": None,
            },
            # The path the client used. Frameworks take what precedes `path` in it for their mount point, so a
            # stage that is not in our URLs would end up in every link they make.
            "path": path,
            "protocol": request.protocol,
            "requestId": request.request_id,
            "requestTime": request_time(request.time),
            "requestTimeEpoch": int(request.time * 1000),
            "resourceId": "proxy" if tail else "root",
            "resourcePath": resource,
            "stage": STAGE,
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _is_binary(kind: str) -> bool:
    return kind in _BINARY_TYPES or (kind.startswith(_BINARY_KINDS) and not kind.endswith("+xml"))
