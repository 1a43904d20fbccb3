"""Errors of the Lambda API, in AWS's shape. Pure.

Statuses, and which exceptions spell their member `message` and which `Message`, are AWS's own model of
Lambda: https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html and each operation's page.
"""

import json

# Code: HTTP status. What is not here is 400.
_STATUS = {
    "AccessDeniedException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
    "CodeSigningConfigNotFoundException": 404,
    "ProvisionedConcurrencyConfigNotFoundException": 404,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "MethodNotAllowedException": 405,
    "ResourceConflictException": 409,
    "PreconditionFailedException": 412,
    "RequestEntityTooLargeException": 413,
    "UnsupportedMediaTypeException": 415,
    "TooManyRequestsException": 429,
    "ServiceException": 500,
    "NotImplementedException": 501,
    "InvalidRuntimeException": 502,
    "InvalidZipFileException": 502,
}
_LOWER_CASE = frozenset(
    (
        "CodeStorageExceededException",
        "InvalidParameterValueException",
        "InvalidRequestContentException",
        "PolicyLengthExceededException",
        "PreconditionFailedException",
        "ProvisionedConcurrencyConfigNotFoundException",
        "RequestTooLargeException",
        "ResourceConflictException",
        "ResourceNotReadyException",
        "TooManyRequestsException",
        "UnsupportedMediaTypeException",
        "ValidationException",
    )
)
VALIDATION = "ValidationException"
# AWS's recorded answers of these have no Type; its model of Lambda has neither.
_NO_TYPE = (VALIDATION, "SerializationException")


class ApiError(Exception):
    """An error in AWS's shape: code, message, status; `members` are further ones of its document."""

    def __init__(
        self, code: str, message: str, *, status: int = 0, retry_after: int = 1, **members: str
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or _STATUS.get(code, 400)
        self.retry_after = retry_after  # seconds, of a 429
        key = "message" if code in _LOWER_CASE else "Message"
        kind = {} if code in _NO_TYPE else {"Type": "Service" if self.status >= 500 else "User"}
        self.body = json.dumps({**kind, **members, key: message}).encode()


def check_revision(given: str | None, current: str, where: str = "GetFunction/GetAlias") -> None:
    """Raises ApiError for a request about a revision of before; `where` is what tells the latest."""
    if given and given != current:
        message = (
            "The Revision Id provided does not match the latest Revision Id."
            f" Call the {where} API to retrieve the latest Revision Id"
        )
        raise ApiError("PreconditionFailedException", message)


def not_found(message: str) -> ApiError:
    return ApiError("ResourceNotFoundException", message)


def invalid_parameter(message: str) -> ApiError:
    return ApiError("InvalidParameterValueException", message)
