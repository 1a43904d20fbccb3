"""Function names as callers write them: a name, a partial or a full ARN, with or without a qualifier.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html, FunctionName. Pure.
"""

import re

_NAME = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):function:"
    r"|(?P<partial_account>\d{12}):function:|function:)?"
    r"(?P<name>[a-zA-Z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9_-]{1,128}))?"
)


class InvalidName(ValueError):
    """Not the name of a function here; `code` is AWS's name for the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(text: str, qualifier: str, region: str, account: str) -> str:
    """The function's bare name. Raises InvalidName."""
    match = _NAME.fullmatch(text)
    if match is None:
        message = (
            f"1 validation error detected: Value '{text[:200]}' at 'functionName' failed to satisfy"
            " constraint: Member must satisfy regular expression pattern: a name, a partial or full ARN"
        )
        raise InvalidName("ValidationException", message)
    named = match["qualifier"]
    if named and qualifier and named != qualifier:
        message = "The derived qualifier from the function name does not match the specified qualifier."
        raise InvalidName("InvalidParameterValueException", message)
    if (match["region"] or region) != region or (
        match["account"] or match["partial_account"] or account
    ) != account:
        message = f"this is region {region} and account {account}; the function {text} is elsewhere"
        raise InvalidName("InvalidParameterValueException", message)
    if (wanted := named or qualifier or "$LATEST") != "$LATEST":
        message = f"only $LATEST exists here; versions and aliases come with a later release (got {wanted})"
        raise InvalidName("InvalidParameterValueException", message)
    return match["name"]
