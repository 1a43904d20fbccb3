"""Versions, which never change, and aliases, which point to them.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html, API_CreateAlias.html and
their neighbours; what AWS answers where those pages are silent.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from penstock.service.catalog import Alias, Catalog, Entry

from . import configuration, describe
from .errors import ApiError, check_revision, invalid_parameter, not_found
from .functions import by_number, inputs, paged, publish, whole
from .naming import named
from .provisioned import refuse_unpublished
from .request import ApiRequest, Handler, Reply


class VersionOperations:
    """The operations on versions and aliases. `catalog` has what they work on."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateAlias": self.create_alias,
            "DeleteAlias": self.delete_alias,
            "GetAlias": self.get_alias,
            "ListAliases": self.list_aliases,
            "ListVersionsByFunction": self.list_versions_by_function,
            "PublishVersion": self.publish_version,
            "UpdateAlias": self.update_alias,
        }

    async def publish_version(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        name = whole(request, self._catalog)
        configuration.refuse_not_built(values)
        async with self._catalog.edit(name) as entry:
            check_revision(values.get("RevisionId"), entry.latest.revision_id)
            current = entry.latest.code.sha256
            if (expected := values.get("CodeSha256")) and expected != current:
                message = (
                    f"CodeSHA256 ({expected[:256]}) is different from current CodeSHA256 in $LATEST"
                    f" ({current}). Please try again with the CodeSHA256 in $LATEST."
                )
                raise invalid_parameter(message)
            version = await publish(self._catalog, entry, values.get("Description"))
        return Reply(201, describe.function(self._catalog, entry, version, version.version))

    async def list_versions_by_function(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        entry = self._catalog.entry(named(request, self._catalog).function)
        found = {key: (version, version.version) for key, version in by_number(entry).items()}
        versions, more = paged(request, values, found)
        listed = [describe.listed(self._catalog, entry, *each) for each in versions]
        return Reply(200, {"Versions": listed, **more})

    async def create_alias(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        _check_routing(values)
        name = whole(request, self._catalog)
        version = values["FunctionVersion"]
        self._catalog.entry(name, version)  # a function that is not there is told with the version
        async with self._catalog.edit(name) as entry:
            if values["Name"] in entry.aliases:
                arn = self._catalog.arn(name, values["Name"])
                raise ApiError("ResourceConflictException", f"Alias already exists: {arn}")
            self._check_version(entry, version)
            alias = Alias(values["Name"], version, values.get("Description", ""))
            entry.aliases[alias.name] = alias
        return Reply(201, describe.alias(self._catalog, entry, alias))

    async def get_alias(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        name = whole(request, self._catalog)
        entry = self._catalog.entry(name) if name in self._catalog else None
        alias = entry.aliases.get(values["Name"]) if entry is not None else None
        if entry is None or alias is None:
            raise not_found(f"Cannot find alias arn: {self._catalog.arn(name, values['Name'])}")
        return Reply(200, describe.alias(self._catalog, entry, alias))

    async def update_alias(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        _check_routing(values)
        name = whole(request, self._catalog)
        async with self._catalog.edit(name) as entry:
            alias = entry.aliases.get(values["Name"])
            if alias is None:
                raise not_found(f"Alias not found: {self._catalog.arn(name, values['Name'])}")
            check_revision(values.get("RevisionId"), alias.revision_id)
            if "FunctionVersion" in values:
                self._check_version(entry, values["FunctionVersion"])
                alias.version = values["FunctionVersion"]
                if alias.name in entry.provisioned:
                    refuse_unpublished(entry, alias.name)
            alias.description = values.get("Description", alias.description)
            alias.revision_id = str(uuid.uuid4())
        return Reply(200, describe.alias(self._catalog, entry, alias))

    async def delete_alias(self, request: ApiRequest) -> Reply:
        """Forget an alias and what was set for it; one that is not there is gone already, as on AWS."""
        values = inputs(request)
        async with self._catalog.edit(whole(request, self._catalog)) as entry:
            settings = (entry.urls, entry.event_invoke, entry.policies, entry.provisioned)
            for kept in (entry.aliases, *settings):
                kept.pop(values["Name"], None)
        return Reply(204)

    async def list_aliases(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        entry = self._catalog.entry(whole(request, self._catalog))
        wanted = values.get("FunctionVersion")
        found = {
            alias.name: alias for alias in entry.aliases.values() if wanted is None or alias.version == wanted
        }
        aliases, more = paged(request, values, found)
        return Reply(
            200, {"Aliases": [describe.alias(self._catalog, entry, each) for each in aliases], **more}
        )

    def _check_version(self, entry: Entry, version: str) -> None:
        """Raises ApiError unless an alias can point there."""
        if version != entry.latest.version and version not in entry.versions:
            raise not_found(f"Function not found: {self._catalog.arn(entry.name, version)}")


def _check_routing(values: Mapping[str, Any]) -> None:
    """Raises ApiError for an alias that is to point to two versions."""
    if (values.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
        message = (
            "RoutingConfig: weighted aliases are not built into Penstock; an alias points to one version"
        )
        raise invalid_parameter(message)
