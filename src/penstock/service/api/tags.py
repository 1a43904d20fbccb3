"""Tags of functions. Other resources that AWS has tags for cannot be here. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html and API_TagResource.html.
"""

import uuid
from collections.abc import Mapping

from penstock.service import names
from penstock.service.catalog import Catalog

from .errors import invalid_parameter, not_found
from .naming import parsed
from .request import ApiRequest, Handler, Reply
from .shapes import TAG_KEY, TAGS
from .validation import Items, Structure, Text, read

MOST = 50  # tags of one function

_RESERVED = "aws:"
_RESOURCE = Text(
    1,
    10_000,
    rf"arn:(aws[a-zA-Z-]*):lambda:{names.REGION}:\d{{12}}:"
    r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}"
    r"|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})",
)
_LIST = Structure({"Resource": _RESOURCE})
_TAG = Structure({"Resource": _RESOURCE, "Tags": TAGS}, required=("Tags",))
_UNTAG = Structure({"Resource": _RESOURCE, "tagKeys": Items(TAG_KEY)}, required=("tagKeys",))


class Tags:
    """The three operations on tags."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "ListTags": self.list_tags,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
        }

    async def list_tags(self, request: ApiRequest) -> Reply:
        values = read(request, _LIST)
        return Reply(200, {"Tags": self._catalog.entry(self._function(values["Resource"])).tags})

    async def tag_resource(self, request: ApiRequest) -> Reply:
        values = read(request, _TAG)
        tags: dict[str, str] = values["Tags"]
        name = self._function(values["Resource"])
        if not tags:
            raise invalid_parameter("An error occurred and the request cannot be processed.")
        async with self._catalog.edit(name) as entry:
            check_tags(tags, entry.tags)
            entry.tags.update(tags)
            entry.latest.revision_id = str(uuid.uuid4())
        return Reply(204)

    async def untag_resource(self, request: ApiRequest) -> Reply:
        """Keys that are not there are no error."""
        values = read(request, _UNTAG, query=("tagKeys",))
        async with self._catalog.edit(self._function(values["Resource"])) as entry:
            for key in values["tagKeys"]:
                entry.tags.pop(key, None)
            entry.latest.revision_id = str(uuid.uuid4())
        return Reply(204)

    def _function(self, arn: str) -> str:
        """The name of the function that `arn` is. Raises ApiError, FunctionNotFound."""
        kind = arn.split(":")[5]
        if kind != "function":
            raise not_found(_MISSING[kind].format(arn))
        name = parsed(arn, "", self._catalog, names.NAMESPACED)
        if name.qualifier:
            raise invalid_parameter(
                "Tags on function aliases and versions are not supported. Please specify a function ARN."
            )
        return name.function


_MISSING = {
    "capacity-provider": "Capacity provider not found: {}",
    "code-signing-config": "The Lambda code signing configuration {} can not be found.",
    "event-source-mapping": "Event source mapping not found: {}",
    "network-connector": "Network connector not found: {}",
}


def check_tags(tags: Mapping[str, str], old: Mapping[str, str]) -> None:
    """Raises ApiError if a function that has the tags `old` cannot have `tags` as well."""
    if any(key.lower().startswith(_RESERVED) for key in tags):
        raise invalid_parameter("Tag keys that begin with aws: are reserved for AWS's own use.")
    if len({**old, **tags}) > MOST:
        raise invalid_parameter("Number of tags exceeds resource tag limit.")
