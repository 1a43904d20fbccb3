"""Which function a request names, and pages of lists."""

import pytest

from penstock.protocol.call import FunctionNotFound
from penstock.service import names
from penstock.service.api.errors import ApiError
from penstock.service.api.naming import LONGEST_PAGE, named, page, unqualified
from penstock.service.api.request import ApiRequest
from service_kit import FixedFunctions
from settings_kit import ARN

FUNCTIONS = FixedFunctions([])
ITEMS = {f"{number:03}": number for number in range(120)}


def request(name: str = "", **query: str) -> ApiRequest:
    return ApiRequest("Any", {"FunctionName": name}, {key: [value] for key, value in query.items()})


def refusal(name: str, kind: names.Kind = names.NAMESPACED, **query: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        named(request(name, **query), FUNCTIONS, kind)
    return caught.value.status, caught.value.code


def test_names() -> None:
    assert named(request("app"), FUNCTIONS) == names.Name("app")
    assert named(request(f"{ARN}app:live"), FUNCTIONS) == names.Name("app", "live")
    assert named(request("app", Qualifier="1"), FUNCTIONS) == names.Name("app", "1")


def test_errors_are_those_of_the_api() -> None:
    assert refusal("a b") == (400, "ValidationException")
    assert refusal("app:1", Qualifier="2") == (400, "InvalidParameterValueException")
    assert refusal("app:1", names.URL) == (400, "ValidationException")
    assert refusal(f"{ARN}app".replace("us-east-1", "us-west-2")) == (404, "ResourceNotFoundException")
    assert refusal(f"{ARN}app".replace("0" * 12, "1" * 12)) == (403, "AccessDeniedException")
    with pytest.raises(FunctionNotFound):
        named(request("a" * 65), FUNCTIONS)


def test_names_without_a_qualifier() -> None:
    assert unqualified(request(f"{ARN}app"), FUNCTIONS) == "app"
    for name in ("app:1", "app:$LATEST", f"{ARN}app:live"):
        with pytest.raises(ApiError, match="permitted on Lambda functions only"):
            unqualified(request(name), FUNCTIONS)


def test_pages_have_everything_once() -> None:
    for size in (1, 7, 50):
        found: list[int] = []
        more = {"NextMarker": ""}
        while more:
            shown, more = page(request(Marker=more["NextMarker"], MaxItems=str(size)), ITEMS)
            assert len(shown) == size or not more
            found += shown
        assert found == list(range(120))


def test_a_page_has_fifty_at_most() -> None:
    shown, more = page(request(), ITEMS)
    assert len(shown) == LONGEST_PAGE == 50
    assert more.keys() == {"NextMarker"}
    for size in ("0", "51", "-1"):
        with pytest.raises(ApiError, match="maxItems"):
            page(request(MaxItems=size), ITEMS)


def test_what_is_gone_meanwhile_hides_nothing() -> None:
    _, more = page(request(MaxItems="10"), ITEMS)
    left = {key: item for key, item in ITEMS.items() if item != 10}
    shown, _ = page(request(MaxItems="2", Marker=more["NextMarker"]), left)
    assert shown == [11, 12]


def test_what_a_function_may_be_called_is_what_a_marker_may_hold() -> None:
    items = {"": 0, "$LATEST": 1, "ü": 2}
    _, more = page(request(MaxItems="2"), items)
    assert page(request(Marker=more["NextMarker"]), items) == ([2], {})


@pytest.mark.parametrize("marker", ["x", "ZnJvb", "ü", "AAAA", "/wD/", "%", "bWFyazph"])
def test_markers_that_nobody_gave(marker: str) -> None:
    with pytest.raises(ApiError, match="Invalid Marker"):
        page(request(Marker=marker), ITEMS)
