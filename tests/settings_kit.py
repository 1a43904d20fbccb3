"""Operations on what is set for functions, asked as botocore asks and answered as botocore reads it.

The catalog and its store are the real ones, in a folder of the test. Whatever is sent was serialised from
AWS's model of Lambda, and every answer is parsed by it.
"""

import asyncio
import functools
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import botocore.parsers
import botocore.serialize
import botocore.session
import pytest

from penstock.protocol import operations
from penstock.protocol.call import FunctionNotFound
from penstock.service.api.errors import ApiError, not_found
from penstock.service.api.request import ApiRequest, Handler
from penstock.service.api.settings import handlers
from penstock.service.api.validation import Items, Kind, Map, Number, Structure, Text
from penstock.service.catalog import Alias, Catalog, Defaults, Entry, Version
from penstock.service.code import Code, CodeStore
from penstock.service.functions import LATEST
from penstock.service.store import Store

CONFIGURATION = {"Runtime": "python3.12", "Handler": "app.handler", "Timeout": 3, "MemorySize": 128}
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
GATEWAY = "http://127.0.0.1:3000"


@functools.cache
def model() -> Any:
    return botocore.session.get_session().get_service_model("lambda")


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class Api:
    """A catalog and the operations on it. `close` it."""

    def __init__(self, folder: Path, limit: int = 1000) -> None:
        self.store = Store.open(folder, durable=False)
        codes = CodeStore(folder / "code")
        self.catalog = Catalog(self.store, codes, Defaults("/usr/bin/python3"), "us-east-1")
        self.changed: list[str] = []
        self.catalog.on_change.append(self.changed.append)
        self.gateway = GATEWAY
        self.ready = (0, False)  # of what is provisioned, and whether more fails
        self.handlers: dict[str, Handler] = handlers(
            self.catalog, lambda: self.gateway, limit, lambda function: self.ready
        )

    def close(self) -> None:
        asyncio.run(self.store.close())

    async def add(self, name: str = "app") -> Entry:
        """A function with the versions 1 and 2 and the alias `live` of version 1."""
        code = Code("c2hh", 10, "/code/app")
        entry = Entry(name, Version(LATEST, dict(CONFIGURATION), code, 1.0))
        for version in ("1", "2"):
            entry.versions[version] = Version(version, dict(CONFIGURATION), code, 2.0)
        entry.aliases["live"] = Alias("live", "1")
        await self.catalog.add(entry)
        return entry

    async def call(self, operation: str, FunctionName: str = "", **members: Any) -> Any:
        """An operation's answer, parsed. Fails as `ask` does."""
        if FunctionName:
            members["FunctionName"] = FunctionName
        described = model().operation_model(operation)
        serializer = botocore.serialize.create_serializer("rest-json", include_validation=False)
        sent = serializer.serialize_to_request(members, described)
        assert isinstance(sent["body"], bytes)
        path, _, fixed = sent["url_path"].partition("?")
        query = "&".join(filter(None, (fixed, urlencode(sent["query_string"], doseq=True))))
        status, body = await self.ask(sent["method"], path, query, sent["body"])
        assert status == operations.BY_NAME[operation].success
        answer = {"status_code": status, "headers": {}, "body": body}
        parsed = botocore.parsers.create_parser("rest-json").parse(answer, described.output_shape)
        del parsed["ResponseMetadata"]
        return parsed

    async def ask(self, method: str, path: str, query: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """The answer to a request of any kind. Raises ApiError."""
        match = operations.match(method, path, query)
        assert match is not None, path
        values = parse_qs(query, keep_blank_values=True)
        request = ApiRequest(match.operation.name, match.parameters, values, body)
        try:
            reply = await self.handlers[match.operation.name](request)
        except FunctionNotFound as error:
            raise not_found(str(error)) from None
        return reply.status, b"" if reply.document is None else json.dumps(reply.document).encode()

    async def refused(self, operation: str, FunctionName: str = "", **members: Any) -> tuple[int, str, str]:
        """Status, code and message of the error an operation answers with."""
        with pytest.raises(ApiError) as caught:
            await self.call(operation, FunctionName, **members)
        error = caught.value
        answer = {
            "status_code": error.status,
            "headers": {"x-amzn-errortype": error.code},
            "body": error.body,
        }
        shape = model().operation_model(operation).output_shape
        parsed = botocore.parsers.create_parser("rest-json").parse(answer, shape)
        assert parsed["Error"] == {"Code": error.code, "Message": str(error)}
        return error.status, error.code, str(error)


def compare(shape: Structure, operation: str, *, but: tuple[str, ...] = ()) -> None:
    """What `shape` says of an operation's members is what AWS's model says, but for those named in `but`."""
    input = model().operation_model(operation).input_shape
    elsewhere = {"FunctionName", "Qualifier", "Marker", "MaxItems"}  # these are read by themselves
    assert shape.members.keys() - {"tagKeys"} == input.members.keys() - elsewhere - {"TagKeys"}
    for name, kind in shape.members.items():
        if name not in but:
            member = input.members[name[0].upper() + name[1:]]
            _compare(kind, member, f"{operation}.{name}", but)
            located = member.serialization.get("location") == "uri"
            required = name in shape.required or located
            assert required == (name[0].upper() + name[1:] in input.required_members)


def _compare(kind: Kind, shape: Any, at: str, but: tuple[str, ...]) -> None:
    if at.rpartition(".")[2] in but:
        return
    metadata = shape.metadata
    if isinstance(kind, Text):
        assert (kind.least, kind.most) == (metadata.get("min"), metadata.get("max")), at
        assert kind.pattern == metadata.get("pattern", ""), at
        assert sorted(kind.enum) == sorted(metadata.get("enum", [])), at
        re.compile(kind.pattern.replace(r"\p{L}\p{Z}\p{N}", ""))
    elif isinstance(kind, Number):
        assert (kind.least, kind.most) == (metadata.get("min"), metadata.get("max")), at
    elif isinstance(kind, Items):
        assert (kind.least, kind.most) == (metadata.get("min"), metadata.get("max")), at
        _compare(kind.member, shape.member, at, but)
    elif isinstance(kind, Map):
        _compare(kind.key, shape.key, at, but)
        _compare(kind.value, shape.value, at, but)
    elif isinstance(kind, Structure):
        assert kind.members.keys() == shape.members.keys(), at
        for name, each in kind.members.items():
            _compare(each, shape.members[name], f"{at}.{name}", but)
    else:
        assert shape.type_name in ("boolean", "blob"), at
