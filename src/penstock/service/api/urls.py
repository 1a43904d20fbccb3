"""Function URLs: a function, or an alias of it, to be called over HTTP through the gateway.

What is configured here is what the gateway finds with `service.urls`. InvokeMode is kept and shown; whether a
response is streamed is for the function to say, and for the gateway's response mode. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html and
API_CreateFunctionUrlConfig.html.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from penstock.protocol.urls import URL_PREFIX
from penstock.service import names
from penstock.service.catalog import Catalog, Entry

from .errors import ApiError, not_found
from .naming import named, page
from .request import ApiRequest, Document, Handler, Reply
from .validation import Flag, Items, Kind, Number, Structure, Text, read

_HEADERS = Items(Text(0, 1024, ".*"), 0, 100)
_MEMBERS: dict[str, Kind] = {
    "AuthType": Text(enum=("NONE", "AWS_IAM")),
    "Cors": Structure(
        {
            "AllowCredentials": Flag(),
            "AllowHeaders": _HEADERS,
            "AllowMethods": Items(Text(0, 6, ".*"), 0, 6),
            "AllowOrigins": Items(Text(1, 253, ".*"), 0, 100),
            "ExposeHeaders": _HEADERS,
            "MaxAge": Number(0, 86_400),
        }
    ),
    "InvokeMode": Text(enum=("RESPONSE_STREAM", "BUFFERED")),
}
_CREATE = Structure(_MEMBERS, required=("AuthType",))
_UPDATE = Structure(_MEMBERS)

_ANYWHERE = re.compile(r"http://(0\.0\.0\.0|\[::\])(?=:|$)")
_PORT = re.compile(r":\d*$")
_NO_FUNCTION = "Function does not exist"
_NO_CONFIG = "The resource you requested does not exist."


class Urls:
    """The five operations on a function's URLs."""

    def __init__(self, catalog: Catalog, gateway: Callable[[], str]) -> None:
        """`gateway` gives the gateway's base URL: its port may be known only when it listens."""
        self._catalog = catalog
        self._gateway = gateway

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateFunctionUrlConfig": self.create_function_url_config,
            "DeleteFunctionUrlConfig": self.delete_function_url_config,
            "GetFunctionUrlConfig": self.get_function_url_config,
            "ListFunctionUrlConfigs": self.list_function_url_configs,
            "UpdateFunctionUrlConfig": self.update_function_url_config,
        }

    async def create_function_url_config(self, request: ApiRequest) -> Reply:
        values = read(request, _CREATE)
        name = named(request, self._catalog, names.URL)
        _check_known(self._catalog, name)
        async with self._catalog.edit(name.function) as entry:
            if name.qualifier in entry.urls:
                arn = self._catalog.arn(name.function, name.qualifier)
                message = (
                    f"Failed to create function url config for [functionArn = {arn}]."
                    " Error message:  FunctionUrlConfig exists for this Lambda function"
                )
                raise ApiError("ResourceConflictException", message)
            now = _now()
            times = {"CreationTime": now, "LastModifiedTime": now}
            config = entry.urls[name.qualifier] = _merged({"InvokeMode": "BUFFERED", **times}, values)
        shown = self._shown(request, name, config, without=() if "InvokeMode" in values else ("InvokeMode",))
        del shown["LastModifiedTime"]
        return Reply(201, shown)

    async def get_function_url_config(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog, names.URL)
        return Reply(200, self._shown(request, name, _config(self._entry(name), name)))

    async def update_function_url_config(self, request: ApiRequest) -> Reply:
        """Members that are given replace what was there; an empty Cors is none any more."""
        values = read(request, _UPDATE)
        name = named(request, self._catalog, names.URL)
        _check_known(self._catalog, name)
        async with self._catalog.edit(name.function) as entry:
            old = {**_config(entry, name), "LastModifiedTime": _now()}
            config = entry.urls[name.qualifier] = _merged(old, values)
        without = () if "InvokeMode" in values else ("InvokeMode",)
        return Reply(200, self._shown(request, name, config, without=without))

    async def delete_function_url_config(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog, names.URL)
        self._entry(name)
        async with self._catalog.edit(name.function) as entry:
            _config(entry, name)
            del entry.urls[name.qualifier]
        return Reply(204)

    async def list_function_url_configs(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog, names.URL)
        if name.function not in self._catalog:
            raise not_found(_NO_FUNCTION)
        configs = self._catalog.entry(name.function).urls
        if name.qualifier:
            configs = {key: each for key, each in configs.items() if key == name.qualifier}
        all = {
            qualifier: self._shown(request, names.Name(name.function, qualifier), config)
            for qualifier, config in configs.items()
        }
        shown, more = page(request, all)
        return Reply(200, {"FunctionUrlConfigs": shown, **more})

    def _entry(self, name: names.Name) -> Entry:
        if name.function not in self._catalog:
            raise not_found(_NO_CONFIG)
        return self._catalog.entry(name.function)

    def _shown(
        self, request: ApiRequest, name: names.Name, config: Document, *, without: tuple[str, ...] = ()
    ) -> Document:
        """A configuration as the API answers it."""
        called = f"{name.function}:{name.qualifier}" if name.qualifier else name.function
        return {
            "FunctionUrl": f"{_reachable(self._gateway().rstrip('/'), request.host)}{URL_PREFIX}{called}/",
            "FunctionArn": self._catalog.arn(name.function, name.qualifier),
            **{member: value for member, value in config.items() if member not in without},
        }


def _reachable(gateway: str, host: str) -> str:
    """The gateway's address for who has reached the Lambda API as `host`: 0.0.0.0 is nobody's address."""
    match = _ANYWHERE.match(gateway)
    name = _PORT.sub("", host)
    return f"http://{name}{gateway[match.end() :]}" if match and name else gateway


def _config(entry: Entry, name: names.Name) -> Document:
    config = entry.urls.get(name.qualifier)
    if config is None:
        raise not_found(_NO_CONFIG)
    return config


def _check_known(catalog: Catalog, name: names.Name) -> None:
    """Raises ApiError if there is no such function or alias."""
    if name.function not in catalog:
        raise not_found(_NO_FUNCTION)
    if name.qualifier and name.qualifier not in catalog.entry(name.function).aliases:
        raise not_found(_NO_FUNCTION)


def _merged(old: Document, values: Document) -> Document:
    config = {**old, **values}
    if not config.get("Cors"):
        config.pop("Cors", None)
    return config


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
