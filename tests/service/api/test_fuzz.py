"""Any request to the Lambda API, every operation with its real handler: an answer, and no 5xx of ours."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_kit import Counter
from penstock.protocol.call import Call
from penstock.protocol.operations import OPERATIONS, Operation
from penstock.service import outcomes
from penstock.service.api.request import Handler
from penstock.service.api.table import operation_handlers
from penstock.service.catalog import Catalog, Defaults
from penstock.service.code import CodeStore
from penstock.service.store import Store

NAMES = st.one_of(
    st.sampled_from(["app", "app:1", "app:$LATEST", "other", "..", "%2e%2e%2f", "arn%3Aaws%3Alambda"]),
    st.sampled_from(["arn:aws:lambda:us-east-1:000000000000:function:app", "function:app", "%00", "%"]),
    st.text("abz09-_.:$%/ é\0", max_size=80),
)
TEXT = st.text(max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["X-Amz-Invocation-Type", "X-Amz-Log-Type", "X-Amz-Client-Context", "X-Amz-Tenant-Id", "Content-Type"]
    ),
    st.one_of(
        st.sampled_from(["Event", "DryRun", "RequestResponse", "Tail", "e30=", "bnVsbA==", "None", "blue"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    ),
)
QUERY = st.dictionaries(
    st.sampled_from(["Qualifier", "Marker", "MaxItems", "FunctionVersion", "RevisionId", "tagKeys", "List"]),
    st.one_of(st.sampled_from(["1", "ALL", "$LATEST", "-1", "99999999999999999999", "%", ""]), TEXT),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda each: st.one_of(st.lists(each, max_size=3), st.dictionaries(TEXT, each, max_size=3)),
    max_leaves=8,
)
BODIES = st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode()))


class Kept:
    """Takes events."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Handler]]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    store = Store.open(folder, durable=False)
    catalog = Catalog(store, CodeStore(folder / "code"), Defaults("python"), "us-east-1")
    yield operation_handlers(catalog, lambda: "http://localhost:3000", 1000, lambda function: (0, False))
    asyncio.run(store.close())


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(OPERATIONS),
    method=st.sampled_from(["", "", "", "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    names=st.lists(NAMES, min_size=3, max_size=3),
    query=QUERY,
    headers=HEADERS,
    body=BODIES,
)
def test_every_request_is_answered(
    handlers: dict[str, Handler],
    operation: Operation,
    method: str,
    names: list[str],
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    path = "/".join(
        quote(names.pop(), safe="%:$") if part.startswith("{") and names else part
        for part in operation.template.partition("?")[0].split("/")
    )
    asked = Counter(handlers=handlers, enqueue=Kept())
    asked.invoker.at_once = outcomes.DONE
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    target = path + ("?" + urlencode(query) if query else "")
    status, _ = asyncio.run(asked.ask(method or operation.method, target, body, **named))
    assert status < 500 or status == 501, asked.wire.sent
    assert not asked.errors
    assert len(asked.records) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
def test_any_bytes_on_a_connection_end_well(data: bytes, cut: int) -> None:
    counter = Counter()
    for piece in (data[:cut], data[cut:]):
        if piece and not counter.wire.closed:
            counter.connection.data_received(piece)
    counter.clock.turn()
    counter.leave()
    assert not counter.errors
    assert b" 500 " not in counter.wire.sent


def test_a_context_in_base64_of_anything() -> None:
    for value in (b"", b"[]", b"{}", b"\xff", b'{"a": "' + b"x" * 4000 + b'"}'):
        counter = Counter()
        context = base64.b64encode(value).decode()
        counter.send("POST", "/2015-03-31/functions/app/invocations", b"{}", X_Amz_Client_Context=context)
        assert not counter.wire.sent or counter.status == 400
