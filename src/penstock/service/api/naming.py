"""Which function a request names, and where a list that is answered in pages goes on. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import TypeVar

from penstock.service import names
from penstock.service.functions import Functions

from .errors import ApiError, invalid_parameter
from .request import ApiRequest
from .validation import Number, Structure, Text, read

LONGEST_PAGE = 50  # what AWS gives at once where a request does not say

_PAGE = Structure({"Marker": Text(), "MaxItems": Number(1, LONGEST_PAGE)})
PERMITTED = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this"
    " operation. Please specify either a function name or an unqualified function ARN."
)

Item = TypeVar("Item")


def named(request: ApiRequest, functions: Functions, kind: names.Kind = names.NAMESPACED) -> names.Name:
    """The function and qualifier of a request's path and query, whether there are such or not.

    Raises ApiError, and FunctionNotFound for a name that no function can have.
    """
    return parsed(request.path["FunctionName"], request.one("Qualifier"), functions, kind)


def parsed(text: str, qualifier: str, functions: Functions, kind: names.Kind) -> names.Name:
    """What `text` and `qualifier` name. Raises as `named` does."""
    try:
        return names.parse(text, qualifier, functions.region, functions.account, kind)
    except names.InvalidName as error:
        raise ApiError(error.code, str(error), status=error.status) from None


def unqualified(request: ApiRequest, functions: Functions) -> str:
    """The function's name, for operations that versions and aliases do not have. Raises as `named` does."""
    name = named(request, functions, names.PLAIN)
    if name.qualifier:
        raise invalid_parameter(PERMITTED)
    return name.function


def page(request: ApiRequest, items: Mapping[str, Item]) -> tuple[list[Item], dict[str, str]]:
    """The items a request asks for, by key, and the reply's NextMarker if there are more. Raises ApiError.

    The marker names the key to go on with: an item that is gone meanwhile hides no other one.
    """
    values = read(request, _PAGE, query=("Marker", "MaxItems"))
    start = _from_marker(values.get("Marker", ""))
    keys = [key for key in sorted(items) if key >= start]
    size = values.get("MaxItems", LONGEST_PAGE)
    more = {"NextMarker": _marker(keys[size])} if len(keys) > size else {}
    return [items[key] for key in keys[:size]], more


def _marker(key: str) -> str:
    return base64.urlsafe_b64encode(b"from:" + key.encode()).decode()


def _from_marker(marker: str) -> str:
    if not marker:
        return ""
    try:
        prefix, _, key = base64.urlsafe_b64decode(marker.encode()).decode().partition(":")
    except (binascii.Error, ValueError):
        prefix = key = ""
    if prefix != "from":
        raise invalid_parameter("Invalid Marker")
    return key
