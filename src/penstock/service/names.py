"""Function names as callers write them: a name, a partial or a full ARN, with or without a qualifier.

Patterns and lengths are those of AWS's model of Lambda (FunctionName, NamespacedFunctionName and so on:
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html), texts of errors as recorded from AWS. What
comes out is letters, digits, hyphens and underscores, at most 64: never a path. Pure.
"""

import re
from dataclasses import dataclass

from penstock.protocol.call import FunctionNotFound

from .functions import LATEST, function_arn

LONGEST_NAME = 64
LONGEST_QUALIFIER = 128

_SHOWN = 400  # characters of a caller's text in a message; the longest that is valid has 256

# As AWS prints them in its messages.
REGION = r"(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}"
_ARN = rf"(arn:(aws[a-zA-Z-]*)?:lambda:)?({REGION}:)?(\d{{12}}:)?(function:)?"
QUALIFIER = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"

_PARTS = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?(?P<name>[a-zA-Z0-9._-]+)(?::(?P<qualifier>[$a-zA-Z0-9._-]+))?",
    re.ASCII,
)
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Kind:
    """What an operation takes as FunctionName: AWS's patterns of it and of its qualifier."""

    pattern: str
    longest: int  # characters, a whole ARN
    qualifier: str = QUALIFIER
    assumes_latest: bool = False  # an error names $LATEST where no qualifier was given


NAMESPACED = Kind(_ARN + r"([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?", 256)
"""GetFunction, DeleteFunction, permissions, configurations of asynchronous invocation …"""
INVOKE = Kind(NAMESPACED.pattern, 256, assumes_latest=True)
PLAIN = Kind(_ARN + r"([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?", 140)
"""UpdateFunctionCode, PublishVersion, aliases, concurrency …"""
CREATE = Kind(PLAIN.pattern, 140)
URL = Kind(_ARN + r"([a-zA-Z0-9-_]{1,64})(:((?!\d+$)[0-9a-zA-Z-_]+))?", 140, r"((?!^\d+$)^[0-9a-zA-Z-_]+$)")
"""Configurations of Function URLs: an alias, but no version."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function, and which of its versions or aliases; the qualifier is "" where none was given."""

    function: str
    qualifier: str = ""


class InvalidName(ValueError):
    """Not the name of a function here; `code` is AWS's name for the error, `status` its HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def parse(text: str, qualifier: str, region: str, account: str, kind: Kind = INVOKE) -> Name:
    """The function that `text`, percent-decoded, and the query's Qualifier ("": none) mean.

    Raises InvalidName, and FunctionNotFound for a name that no function can have.
    """
    found = _PARTS.fullmatch(text)
    if found is not None:
        _check_place(text, found, region, account)
    errors = _name_errors(text, kind)
    if not qualifier:
        pass
    elif len(qualifier) > LONGEST_QUALIFIER:
        errors.append(_at("qualifier", qualifier, _at_most(LONGEST_QUALIFIER)))
    elif not re.fullmatch(kind.qualifier, qualifier, re.ASCII):
        errors.append(_at("qualifier", qualifier, _like(kind.qualifier)))
    if errors or found is None:
        raise InvalidName("ValidationException", validation_message(errors))
    name, named = found["name"], found["qualifier"] or ""
    if kind is CREATE and name == text and len(name) > LONGEST_NAME:
        errors = [_at("functionName", text, _at_most(LONGEST_NAME))]
        raise InvalidName("InvalidParameterValueException", validation_message(errors))
    if named and qualifier and named != qualifier:
        message = "The derived qualifier from the function name does not match the specified qualifier."
        raise InvalidName("InvalidParameterValueException", message)
    wanted = named or qualifier
    if not _NAME.fullmatch(name):
        shown = wanted or (LATEST if kind.assumes_latest else "")
        raise FunctionNotFound(f"Function not found: {function_arn(region, account, name, shown)}")
    return Name(name, wanted)


def validation_message(errors: list[str]) -> str:
    """AWS's text for values that break its model's constraints."""
    return f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: {'; '.join(errors)}"


def _check_place(text: str, found: re.Match[str], region: str, account: str) -> None:
    if (found["account"] or account) != account:
        message = (
            f"This is account {account}: it is not authorized to use {text[:_SHOWN]}"
            " because no resource-based policy of another account can be here"
        )
        raise InvalidName("AccessDeniedException", message, 403)
    if (found["region"] or region) != region:
        message = f"Functions from '{found['region']}' are not reachable in this region ('{region}')"
        raise InvalidName("ResourceNotFoundException", message, 404)


def _name_errors(text: str, kind: Kind) -> list[str]:
    errors = []
    if not re.fullmatch(kind.pattern, text, re.ASCII):
        errors.append(_at("functionName", text, _like(kind.pattern)))
    if not text:
        errors.append(_at("functionName", text, _at_least(1)))
    elif len(text) > kind.longest:
        errors.append(_at("functionName", text, _at_most(kind.longest)))
    return errors


def _at(member: str, value: str, constraint: str) -> str:
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return f"Value '{shown}' at '{member}' failed to satisfy constraint: {constraint}"


def _like(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _at_most(length: int) -> str:
    return f"Member must have length less than or equal to {length}"


def _at_least(length: int) -> str:
    return f"Member must have length greater than or equal to {length}"
