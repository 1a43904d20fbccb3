import random
from urllib.parse import quote

import pytest

from penstock.protocol.operations import BY_NAME, OPERATIONS, Operation, match, methods

ARN = "arn:aws:lambda:us-east-1:000000000000:function:app:live"
FUNCTIONS = "/2015-03-31/functions"


@pytest.fixture(scope="module")
def model() -> dict[str, dict[str, object]]:
    """AWS's own table, as botocore has it."""
    session = pytest.importorskip("botocore.session").get_session()
    service = session.get_service_model("lambda")
    return {name: service.operation_model(name).http for name in service.operation_names}


def test_it_is_the_table_of_aws(model: dict[str, dict[str, object]]) -> None:
    ours = {
        each.name: {"method": each.method, "requestUri": each.template, "responseCode": each.success}
        for each in OPERATIONS
    }
    model["DeleteFunction"] = {**model["DeleteFunction"], "responseCode": 204}  # on the wire
    assert ours == model


def test_it_is_in_order() -> None:
    assert [each.name for each in OPERATIONS] == sorted(BY_NAME)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("value", ["app", ARN, "$LATEST", "a/b", "50%", "Grüße", "{}", "/", "list"])
def test_every_path_leads_to_its_operation(operation: Operation, value: str) -> None:
    template, _, query = operation.template.partition("?")
    expected = {}
    parts = []
    for part in template.split("/"):
        if part.startswith("{"):
            expected[part[1:-1]] = value
            part = quote(value, safe="")
        parts.append(part)
    path = "/".join(parts)
    for found in (match(operation.method, path, query), match(operation.method, path + "/", query)):
        assert found is not None
        assert (found.operation, found.parameters) == (operation, expected)
    assert operation.method in methods(path)


@pytest.mark.parametrize("name", ["app", "app:live", ARN, "$LATEST"])
def test_names_need_not_be_encoded_where_they_hold_no_slash(name: str) -> None:
    for path in (f"{FUNCTIONS}/{name}/invocations", f"{FUNCTIONS}/{name}/code"):
        found = match("POST" if path.endswith("s") else "PUT", path)
        assert found is not None
        assert found.parameters == {"FunctionName": name}


def test_the_query_tells_two_operations_apart() -> None:
    path = "/2019-09-30/functions/app/provisioned-concurrency"
    for query, name in [
        ("", "GetProvisionedConcurrencyConfig"),
        ("Qualifier=1", "GetProvisionedConcurrencyConfig"),
        ("List=SOME", "GetProvisionedConcurrencyConfig"),
        ("List=ALL", "ListProvisionedConcurrencyConfigs"),
        ("MaxItems=3&List=ALL", "ListProvisionedConcurrencyConfigs"),
    ]:
        found = match("GET", path, query)
        assert found is not None
        assert found.operation.name == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/"),
        ("GET", "//"),
        ("GET", "*"),
        ("HEAD", FUNCTIONS),
        ("get", FUNCTIONS),
        ("PUT", FUNCTIONS),
        ("POST", f"{FUNCTIONS}/app"),
        ("GET", f"{FUNCTIONS}/app/invocations"),
        ("POST", f"{FUNCTIONS}//invocations"),
        ("POST", f"{FUNCTIONS}/a/b/invocations"),
        ("POST", f"{FUNCTIONS}/invocations"),
        ("POST", "/2021-11-15/functions//response-streaming-invocations"),
        ("POST", "/2021-11-15/functions/app/invocations"),
        ("GET", f"{FUNCTIONS}//"),
        ("GET", f"{FUNCTIONS}/app//"),
        ("GET", f"{FUNCTIONS}//configuration"),
        ("GET", f"{FUNCTIONS}/app/nothing"),
        ("GET", f"{FUNCTIONS}/app/aliases/a/b"),
        ("GET", "/2099-01-01/functions"),
        ("GET", "/2015-03-31"),
        ("GET", "2015-03-31/functions"),
    ],
)
def test_what_is_no_operation(method: str, path: str) -> None:
    assert match(method, path) is None


def test_methods_of_a_path() -> None:
    assert methods(FUNCTIONS) == ["GET", "POST"]
    assert methods(f"{FUNCTIONS}/app") == ["DELETE", "GET"]
    assert methods("/nowhere") == []


def test_any_path_has_an_answer() -> None:
    chance = random.Random(7)
    parts = [
        "",
        "2015-03-31",
        "functions",
        "%",
        "%2F",
        "{}",
        "/",
        "app",
        "aliases",
        "2017-03-31",
        "tags",
        "\xff",
    ]
    for _ in range(2_000):
        path = "/".join(chance.choices(parts, k=chance.randrange(7)))
        for method in ("GET", "POST", "{}", "/"):
            match(method, path)
            methods(path)
