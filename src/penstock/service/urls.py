"""Which functions have a Function URL, for the gateway: asked for each request, so it is as it is now."""

from penstock.protocol.call import FunctionNotFound
from penstock.protocol.urls import FunctionUrl, Lookup

from .catalog import Catalog


def lookup(catalog: Catalog, *, every: bool) -> Lookup:
    """Finds Function URLs: what is configured, and an open one for functions of TARGET.

    `every`: functions that were made through the Lambda API, and aliases, have an open one as well until
    one is configured.
    """

    def url(name: str, qualifier: str) -> FunctionUrl | None:
        try:
            entry = catalog.entry(name, qualifier)
        except FunctionNotFound:
            return None
        document = entry.urls.get(qualifier)
        if document is not None:
            return FunctionUrl.of(name, qualifier, document)
        if qualifier and qualifier not in entry.aliases:
            return None  # a version, or $LATEST: those have none on AWS either
        if every or (entry.target and not qualifier):
            return FunctionUrl(name, qualifier)
        return None

    return url
