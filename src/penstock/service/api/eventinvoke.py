"""How asynchronous invocations of a function go on: attempts, age, and where their records are sent.

A function, each version and each alias has a configuration of its own, or none. The dispatcher asks
`event_settings` for what holds. Destinations are functions of this account and, an extension, files:
`file:///absolute/path`. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html and
API_PutFunctionEventInvokeConfig.html.
"""

import re
import time
from collections.abc import Callable

from penstock.protocol.call import FunctionNotFound
from penstock.service import names
from penstock.service.catalog import Catalog, Entry
from penstock.service.events.destinations import check_destination
from penstock.service.events.schedule import EventSettings
from penstock.service.functions import LATEST

from .errors import VALIDATION, ApiError, invalid_parameter, not_found
from .naming import named, page
from .request import ApiRequest, Document, Handler, Reply
from .shapes import ARN
from .validation import Number, Structure, Text, constraint_error, read

_KAFKA = r"kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))"
_PATTERN = f"$|{_KAFKA}|{ARN}"  # AWS's, which knows no files
_FILE = "file://"

_DESTINATION = Structure({"Destination": Text(0, 350)})
_SET = Structure(
    {
        "MaximumRetryAttempts": Number(0, 2),
        "MaximumEventAgeInSeconds": Number(60, 21_600),
        "DestinationConfig": Structure({"OnSuccess": _DESTINATION, "OnFailure": _DESTINATION}),
    }
)

_NO_FUNCTION = "The function doesn't exist."
_NOTHING = "You must specify at least one of error handling or destination setting."
_ITSELF = "You can't specify the function as a destination for itself."


class EventInvoke:
    """The five operations on configurations of asynchronous invocation."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "DeleteFunctionEventInvokeConfig": self.delete_function_event_invoke_config,
            "GetFunctionEventInvokeConfig": self.get_function_event_invoke_config,
            "ListFunctionEventInvokeConfigs": self.list_function_event_invoke_configs,
            "PutFunctionEventInvokeConfig": self.put_function_event_invoke_config,
            "UpdateFunctionEventInvokeConfig": self.update_function_event_invoke_config,
        }

    async def put_function_event_invoke_config(self, request: ApiRequest) -> Reply:
        """What was there is replaced as a whole."""
        return await self._set(request, keep=False)

    async def update_function_event_invoke_config(self, request: ApiRequest) -> Reply:
        """Members that are given replace what was there."""
        return await self._set(request, keep=True)

    async def _set(self, request: ApiRequest, *, keep: bool) -> Reply:
        values = read(request, _SET)
        name = self._named(request)
        if not values:
            raise invalid_parameter(_NOTHING)
        entry = self._catalog.entry(name.function) if name.function in self._catalog else None
        if entry is None or entry.version(name.qualifier) is None:
            raise not_found(_NO_FUNCTION)
        self._check_destinations(values.get("DestinationConfig") or {}, name.function)
        async with self._catalog.edit(name.function) as entry:
            old = self._config(entry, name) if keep else {}
            config = entry.event_invoke[name.qualifier] = {**old, **values, "LastModified": time.time()}
        return Reply(200, self._shown(name, config))

    async def get_function_event_invoke_config(self, request: ApiRequest) -> Reply:
        name = self._named(request)
        return Reply(200, self._shown(name, self._config(self._entry(name), name)))

    async def delete_function_event_invoke_config(self, request: ApiRequest) -> Reply:
        name = self._named(request)
        self._entry(name)
        async with self._catalog.edit(name.function) as entry:
            self._config(entry, name)
            del entry.event_invoke[name.qualifier]
        return Reply(204)

    async def list_function_event_invoke_configs(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog)
        if name.function not in self._catalog:
            raise not_found(_NO_FUNCTION)
        configs = {
            qualifier: self._shown(names.Name(name.function, qualifier), config)
            for qualifier, config in self._catalog.entry(name.function).event_invoke.items()
            if name.qualifier in ("", qualifier)
        }
        shown, more = page(request, configs)
        return Reply(200, {"FunctionEventInvokeConfigs": shown, **more})

    def _named(self, request: ApiRequest) -> names.Name:
        name = named(request, self._catalog)
        return name if name.qualifier else names.Name(name.function, LATEST)

    def _entry(self, name: names.Name) -> Entry:
        if name.function not in self._catalog:
            raise self._missing(name)
        return self._catalog.entry(name.function)

    def _config(self, entry: Entry, name: names.Name) -> Document:
        config = entry.event_invoke.get(name.qualifier)
        if config is None:
            raise self._missing(name)
        return config

    def _missing(self, name: names.Name) -> ApiError:
        arn = self._catalog.arn(name.function, name.qualifier)
        return not_found(f"The function {arn} doesn't have an EventInvokeConfig")

    def _shown(self, name: names.Name, config: Document) -> Document:
        """A configuration as the API answers it. Both destinations are there, if only empty."""
        destinations = config.get("DestinationConfig") or {}
        return {
            **config,
            "FunctionArn": self._catalog.arn(name.function, name.qualifier),
            "DestinationConfig": {
                side: {"Destination": text} if (text := _destination(destinations, side)) else {}
                for side in ("OnSuccess", "OnFailure")
            },
        }

    def _check_destinations(self, config: Document, function: str) -> None:
        """Raises ApiError for a destination nothing can be sent to."""
        for side in ("OnFailure", "OnSuccess"):
            text = _destination(config, side)
            if not text.startswith(_FILE) and not re.fullmatch(_PATTERN, text, re.ASCII):
                at = f"destinationConfig.{side[0].lower()}{side[1:]}.destination"
                rule = f"Member must satisfy regular expression pattern: {_PATTERN}"
                raise ApiError(VALIDATION, constraint_error(at, text, rule))
            if text:
                self._check_destination(text, config, function)

    def _check_destination(self, text: str, config: Document, function: str) -> None:
        reason = check_destination(text)
        if not text.startswith("arn:") or text.split(":")[2] != "lambda":
            if reason:
                raise invalid_parameter(f"{_invalid(config)} {reason}")
            return
        name = None if reason else self._known(text)
        if name is None:
            raise invalid_parameter(f"The destination ARN {text} is invalid.")
        if name.function == function:
            raise invalid_parameter(_ITSELF)

    def _known(self, arn: str) -> names.Name | None:
        """What an ARN means, if it is there."""
        try:
            name = names.parse(arn, "", self._catalog.region, self._catalog.account)
            self._catalog.entry(name.function, name.qualifier)
        except (names.InvalidName, FunctionNotFound):
            return None
        return name


def event_settings(entry: Entry, qualifier: str = "") -> EventSettings:
    """What holds for asynchronous invocations of a function, as their dispatcher takes it."""
    config = entry.event_invoke.get(qualifier or LATEST, {})
    destinations = config.get("DestinationConfig") or {}
    return EventSettings(
        config.get("MaximumRetryAttempts"),
        config.get("MaximumEventAgeInSeconds"),
        _destination(destinations, "OnSuccess"),
        _destination(destinations, "OnFailure"),
    )


def settings_of(catalog: Catalog) -> Callable[[str, str], EventSettings]:
    """The settings of any function and qualifier, as they are now; of one that is gone, the defaults."""

    def settings(function: str, qualifier: str) -> EventSettings:
        try:
            return event_settings(catalog.entry(function), qualifier)
        except FunctionNotFound:
            return EventSettings()

    return settings


def _destination(config: Document, side: str) -> str:
    """What a DestinationConfig says of OnSuccess or OnFailure; "" for nothing."""
    text: str = (config.get(side) or {}).get("Destination", "")
    return text


def _invalid(config: Document) -> str:
    """AWS's text about destinations of a kind that cannot be."""
    success, failure = (
        f"{side}(destination={text})" if (text := _destination(config, side)) else "null"
        for side in ("OnSuccess", "OnFailure")
    )
    return (
        "The provided destination config"
        f" DestinationConfig(onSuccess={success}, onFailure={failure}) is invalid."
    )
