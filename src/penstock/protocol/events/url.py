"""The event of a Function URL, and of an HTTP API (format 2.0).

Sources: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html,
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html, and
events recorded from AWS: parts that are absent are left out, `rawPath` stays encoded while
`requestContext.http.path` is decoded, and only a Function URL keeps the `cookie` header beside `cookies`.

Ours differs in two things. HTTP APIs decode `rawPath` as well, and cut it off at a decoded question mark;
ours do not. The domain is the one in Host, so `apiId` and `domainPrefix` are its first label.
"""

from typing import Any, Literal

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
    unescape,
)

# All that AWS passes as text; a form's `application/x-www-form-urlencoded` and a request without a content
# type arrive as Base64.
_TEXT_TYPES = frozenset(("application/javascript", "application/json", "application/xml"))


def event(request: HttpRequest, flavour: Literal["url", "http"] = "url") -> dict[str, Any]:
    """The event a Function URL (`url`) or an HTTP API's `$default` route (`http`) would make of `request`."""
    seen: dict[str, list[str]] = {}
    for name, value in request.headers:
        lower = name.lower()
        if lower not in HOP_BY_HOP:
            seen.setdefault(lower, []).append(value)
    cookie = "; ".join(seen.pop("cookie", ()))
    seen["x-forwarded-for"] = [forwarded_for(seen.get("x-forwarded-for", ()), request.source_ip)]
    seen["x-forwarded-port"] = [str(request.port)]
    seen["x-forwarded-proto"] = [request.scheme]
    if request.trace_id:
        seen["x-amzn-trace-id"] = [request.trace_id]
    headers = {name: ",".join(values) for name, values in seen.items()}

    path = ascii_only(request.path)
    domain = headers.get("host", "")
    prefix = domain_prefix(domain)
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": ascii_only(request.query),
        "headers": headers,
        "requestContext": {
            # Whoever calls a Function URL without IAM is nobody's account.
            "accountId": "anonymous" if flavour == "url" and not request.access_key else request.account_id,
            "apiId": prefix,
            "domainName": domain,
            "domainPrefix": prefix,
            "http": {
                "method": request.method,
                "path": unescape(path),
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": request_time(request.time),
            "timeEpoch": int(request.time * 1000),
        },
        "isBase64Encoded": False,
    }
    if request.access_key:
        made["requestContext"]["authorizer"] = {"iam": _iam(request.access_key, request.account_id)}
    if cookie:
        made["cookies"] = [part for piece in cookie.split(";") if (part := piece.strip())]
        if flavour == "url":
            headers["cookie"] = cookie
    if request.query and (query := query_values(request.query)):
        made["queryStringParameters"] = {name: ",".join(values) for name, values in query.items()}
    if request.body:
        kind = media_type(headers.get("content-type", ""))
        is_text = kind.startswith("text/") or kind in _TEXT_TYPES
        made["body"], made["isBase64Encoded"] = body_text(request.body, is_text)
    return made


def _iam(access_key: str, account_id: str) -> dict[str, Any]:
    """Who signed. There are keys here but no users: a key's id is its user's name and id as well."""
    return {
        "accessKey": access_key,
        "accountId": account_id,
        "callerId": access_key,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:iam::{account_id}:user/{access_key}",
        "userId": access_key,
    }
