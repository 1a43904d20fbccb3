"""Provisioned concurrency: environments of a version that are ready before anybody calls.

A version has them, by its number or by an alias. They are taken from the function's reserved concurrency,
else from what the account has unreserved. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html and
API_PutProvisionedConcurrencyConfig.html.
"""

import time
from collections.abc import Callable

from penstock.protocol.call import FunctionNotFound
from penstock.service import names
from penstock.service.catalog import Catalog, Entry
from penstock.service.functions import LATEST, Function

from .concurrency import Concurrency
from .describe import timestamp
from .errors import ApiError, invalid_parameter, not_found
from .naming import named, page
from .request import ApiRequest, Document, Handler, Reply
from .validation import Number, Structure, read

Ready = Callable[[Function], tuple[int, bool]]
"""How many invocations a version's environments are ready for, and whether more fail to start."""

_PUT = Structure(
    {"ProvisionedConcurrentExecutions": Number(1)}, required=("ProvisionedConcurrentExecutions",)
)
_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_NEITHER = "The function resource provided must be an alias or a published version."
_MISSING = "No Provisioned Concurrency Config found for this function"
_ABOVE_RESERVED = (
    "Requested Provisioned Concurrency should not be greater than the"
    " reservedConcurrentExecution for function"
)
_ABOVE_ACCOUNT = (
    "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{}]."
)
_TOO_MANY = (
    "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its"
    " minimum value of [{}]."
)
_OF_VERSION = (
    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
)
_OF_ALIAS = "Version is pointed by a Provisioned Concurrency alias"
_SNAP_START = "Provisioned Concurrency is not supported for functions enabled with SnapStart."
_TENANTS = "Provisioned Concurrency is not supported for functions with tenant isolation."


class ProvisionedConcurrency:
    """The four operations on it."""

    def __init__(self, catalog: Catalog, concurrency: Concurrency, ready: Ready) -> None:
        self._catalog = catalog
        self._concurrency = concurrency
        self._ready = ready

    def handlers(self) -> dict[str, Handler]:
        return {
            "DeleteProvisionedConcurrencyConfig": self.delete_provisioned_concurrency_config,
            "GetProvisionedConcurrencyConfig": self.get_provisioned_concurrency_config,
            "ListProvisionedConcurrencyConfigs": self.list_provisioned_concurrency_configs,
            "PutProvisionedConcurrencyConfig": self.put_provisioned_concurrency_config,
        }

    async def put_provisioned_concurrency_config(self, request: ApiRequest) -> Reply:
        wanted: int = read(request, _PUT)["ProvisionedConcurrentExecutions"]
        name = self._named(request, _UNPUBLISHED)
        self._entry(name)
        async with self._concurrency.changing, self._catalog.edit(name.function) as entry:
            self._check(entry, name.qualifier, wanted)
            config = {"Requested": wanted, "LastModified": time.time()}
            entry.provisioned[name.qualifier] = config
        document = {
            **_described(config, 0),
            "Status": "IN_PROGRESS",  # as AWS answers, and who asks next is told how far it has come
        }
        return Reply(202, document)

    async def get_provisioned_concurrency_config(self, request: ApiRequest) -> Reply:
        name = self._named(request, _NEITHER)
        entry = self._entry(name)
        if name.qualifier not in entry.provisioned:
            raise ApiError("ProvisionedConcurrencyConfigNotFoundException", _MISSING)
        return Reply(200, self._shown(entry, name.qualifier))

    async def delete_provisioned_concurrency_config(self, request: ApiRequest) -> Reply:
        """What is not there is gone already, as on AWS."""
        name = self._named(request, _NEITHER)
        self._entry(name)
        async with self._concurrency.changing, self._catalog.edit(name.function) as entry:
            entry.provisioned.pop(name.qualifier, None)
        return Reply(204)

    async def list_provisioned_concurrency_configs(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog, names.PLAIN)
        entry = self._catalog.entry(name.function)
        configs = {
            qualifier: {
                "FunctionArn": self._catalog.arn(entry.name, qualifier),
                **self._shown(entry, qualifier),
            }
            for qualifier in entry.provisioned
        }
        shown, more = page(request, configs)
        return Reply(200, {"ProvisionedConcurrencyConfigs": shown, **more})

    def _named(self, request: ApiRequest, unpublished: str) -> names.Name:
        """The function, and the version or alias of it. Raises ApiError."""
        name = named(request, self._catalog, names.PLAIN)
        if name.qualifier in ("", LATEST):
            raise invalid_parameter(unpublished)
        return name

    def _entry(self, name: names.Name) -> Entry:
        """Raises ApiError, FunctionNotFound."""
        try:
            return self._catalog.entry(name.function, name.qualifier)
        except FunctionNotFound:
            arn = self._catalog.arn(name.function, name.qualifier)
            if name.qualifier.isdigit():
                raise
            raise not_found(f"Cannot find alias arn: {arn}") from None

    def _check(self, entry: Entry, qualifier: str, wanted: int) -> None:
        """Raises ApiError for what cannot be provisioned."""
        refuse_unpublished(entry, qualifier)
        version = entry.version(qualifier)
        assert version is not None  # `_entry` has looked, and a version does not go while its alias is there
        if (version.configuration.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions":
            raise invalid_parameter(_SNAP_START)
        if version.configuration.get("TenancyConfig"):
            raise invalid_parameter(_TENANTS)
        limit, minimum = self._concurrency.limit, self._concurrency.minimum
        others = sum(config["Requested"] for other, config in entry.provisioned.items() if other != qualifier)
        if entry.reserved is not None:
            if wanted + others > entry.reserved:
                raise invalid_parameter(_ABOVE_RESERVED)
        elif wanted > limit:
            raise invalid_parameter(_ABOVE_ACCOUNT.format(limit))
        elif self._concurrency.unreserved() + entry.taken() - others - wanted < minimum:
            raise invalid_parameter(_TOO_MANY.format(minimum))

    def _shown(self, entry: Entry, qualifier: str) -> Document:
        """A configuration as the API answers it."""
        config = entry.provisioned[qualifier]
        ready, failing = self._ready(self._catalog.resolve(entry.name, qualifier))
        document = _described(config, min(ready, config["Requested"]))
        if ready >= config["Requested"]:
            document["Status"] = "READY"
        elif failing:
            document |= {"Status": "FAILED", "StatusReason": "FUNCTION_ERROR_INIT_FAILURE"}
        else:
            document["Status"] = "IN_PROGRESS"
        return document


def refuse_unpublished(entry: Entry, qualifier: str) -> None:
    """Raises ApiError for a qualifier of no published version, or of one that has its own by another."""
    if (alias := entry.aliases.get(qualifier)) is None:
        aliases = [name for name in entry.provisioned if name in entry.aliases]
        if any(entry.aliases[name].version == qualifier for name in aliases):
            raise ApiError("ResourceConflictException", _OF_ALIAS)
    elif alias.version == LATEST:
        raise invalid_parameter(_UNPUBLISHED)
    elif alias.version in entry.provisioned:
        raise ApiError("ResourceConflictException", _OF_VERSION)


def _described(config: Document, ready: int) -> Document:
    return {
        "RequestedProvisionedConcurrentExecutions": config["Requested"],
        "AvailableProvisionedConcurrentExecutions": ready,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "LastModified": timestamp(config["LastModified"]),
    }
