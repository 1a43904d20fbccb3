import json

import pytest

from penstock.gateway.routes import EventFormat, Flavour, Route, Routes
from penstock.protocol.urls import Cors, FunctionUrl

CORS = Cors(("*",))


@pytest.mark.parametrize(
    ("path", "function", "seen"),
    [
        ("/lambda-url/f", "f", "/"),
        ("/lambda-url/f/", "f", "/"),
        ("/lambda-url/f/a/b", "f", "/a/b"),
        ("/lambda-url/f/a:b", "f", "/a:b"),
        ("/lambda-url/f//a/../%2F/", "f", "//a/../%2F/"),
        ("/lambda-url/g-2/lambda-url/f", "g-2", "/lambda-url/f"),
    ],
)
def test_function_urls(path: str, function: str, seen: str) -> None:
    assert Routes(["f", "g-2"]).match(path) == Route(function, "url", seen)


@pytest.mark.parametrize(
    "path",
    [
        "/lambda-url/",
        "/lambda-url//f",
        "/lambda-url/nope",
        "/lambda-url/F/",
        "/lambda-url/%66",
        "/lambda-url/f:",
        "/lambda-url/:live/",
        "/lambda-url/f:live/",
        "/lambda-url/..",
    ],
)
@pytest.mark.parametrize("functions", [["f"], ["f", "g"], []])
def test_no_such_function_url(path: str, functions: list[str]) -> None:
    assert Routes(functions).match(path) is None


def test_function_urls_are_looked_up_for_each_request() -> None:
    there: dict[tuple[str, str], FunctionUrl] = {}
    routes = Routes([], url=lambda name, alias: there.get((name, alias)))
    assert routes.match("/lambda-url/f/a") is None
    there["f", ""] = FunctionUrl("f")
    there["f", "live"] = FunctionUrl("f", "live", "AWS_IAM", CORS)
    assert routes.match("/lambda-url/f/a") == Route("f", "url", "/a")
    assert routes.match("/lambda-url/f:live/a") == Route("f", "url", "/a", "live", "AWS_IAM", CORS)
    assert routes.match("/lambda-url/f:other/a") is None
    assert routes.match("/lambda-url/f:live:more/a") is None
    del there["f", ""]
    assert routes.match("/lambda-url/f/a") is None


def test_the_front_door_is_the_targets_whatever_its_function_url() -> None:
    routes = Routes(["f"], url=lambda name, alias: None)
    assert routes.match("/a") == Route("f", "rest", "/a")
    assert routes.match("/lambda-url/f/a") is None
    assert json.loads(routes.listing("/lambda-url/f/a")) == {
        "message": "There is no Function URL of 'f'.",
        "functions": {},
    }


@pytest.mark.parametrize(
    "path", ["/", "/a//b/../%2F", "/lambda-url", "/lambda-urls/f", "//lambda-url/f", "*"]
)
def test_a_single_function_answers_every_other_path(path: str) -> None:
    assert Routes(["f"]).match(path) == Route("f", "rest", path)
    assert Routes(["f", "g"]).match(path) is None
    assert Routes([]).match(path) is None


@pytest.mark.parametrize(("event_format", "flavour"), [("1.0", "rest"), ("2.0", "http")])
def test_the_event_format_is_the_gateways_alone(event_format: EventFormat, flavour: Flavour) -> None:
    routes = Routes(["f"], event_format)
    assert routes.match("/a") == Route("f", flavour, "/a")
    assert routes.match("/lambda-url/f/a") == Route("f", "url", "/a")


NO_FUNCTION = (
    "TARGET has no function. Those made with the Lambda API are at /lambda-url/<function>/, "
    "once they have a Function URL."
)


@pytest.mark.parametrize(
    ("functions", "path", "message"),
    [
        (["f", "g"], "/", "There are several functions: call one at its own path."),
        (["f", "g"], "/lambda-url/nope/x", "There is no Function URL of 'nope'."),
        (["f", "g"], "/lambda-url/f:live/x", "There is no Function URL of 'f:live'."),
        (["f"], "/lambda-url/nope", "There is no Function URL of 'nope'."),
        (["f"], "/lambda-url/", "Name a function."),
        ([], "/", NO_FUNCTION),
        ([], "/lambda-url/", NO_FUNCTION),
        (["f"], '/lambda-url/"\xe9', "There is no Function URL of '\"\xe9'."),
    ],
)
def test_the_listing_says_why_and_where_to_go(functions: list[str], path: str, message: str) -> None:
    routes = Routes(functions)
    listing = json.loads(routes.listing(path))
    assert listing["message"] == message
    assert list(listing["functions"]) == functions
    for function, where in listing["functions"].items():
        route = routes.match(where)
        assert route is not None
        assert route.function == function


@pytest.mark.parametrize("functions", [(), ("app",), ("app", "other")])
def test_a_client_of_the_lambda_api_is_told_that_it_has_the_wrong_port(functions: tuple[str, ...]) -> None:
    routes = Routes(functions)
    for path in (
        "/2015-03-31/functions/app/invocations",
        "/2021-11-15/functions/app/response-streaming-invocations",
        "/2015-03-31/functions",
    ):
        assert routes.match(path) is None
        assert "--lambda-port" in json.loads(routes.listing(path))["message"]


@pytest.mark.parametrize("functions", [(), ("app", "other")])
def test_so_is_one_that_does_not_call_a_function(functions: tuple[str, ...]) -> None:
    for path in ("/2017-03-31/tags/arn", "/2016-08-19/account-settings/", "/_penstock/logs/app"):
        assert "--lambda-port" in json.loads(Routes(functions).listing(path))["message"]
