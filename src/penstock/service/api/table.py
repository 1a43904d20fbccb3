"""Every operation of the Lambda API: who serves it, and what of it is built."""

from collections.abc import Callable, Collection

from penstock.protocol.operations import OPERATIONS
from penstock.service.catalog import Catalog

from . import settings
from .functions import FOLDERS, FunctionOperations
from .provisioned import Ready
from .request import Handler
from .versions import VersionOperations

INVOCATIONS = frozenset(("Invoke", "InvokeWithResponseStream"))  # served beside the managing ones

_KEPT = (
    "`VpcConfig`, `FileSystemConfigs`, `DeadLetterConfig`, `EphemeralStorage`, `TracingConfig` and"
    " `KMSKeyArn` are kept and shown, and have no effect; layers and container images are refused"
)
_SOURCES = f"code is a zip, or a folder (`S3Bucket={FOLDERS}`); `Architectures` has no effect"
PARTIAL = {
    "CreateAlias": "an alias points to one version: weights are refused",
    "CreateFunction": f"{_SOURCES}; {_KEPT}",
    "GetFunction": "`Code.Location` is an address of this service, or of a folder",
    "ListFunctions": "`MasterRegion` is ignored",
    "UpdateAlias": "an alias points to one version: weights are refused",
    "UpdateFunctionCode": _SOURCES,
    "UpdateFunctionConfiguration": _KEPT,
    **settings.PARTIAL,
}
"""What operations do otherwise than AWS, in a sentence each."""


def operation_handlers(
    catalog: Catalog, gateway: Callable[[], str], limit: int, ready: Ready
) -> dict[str, Handler]:
    """The managing operations that are built, by AWS's names.

    `gateway` gives the gateway's base URL, `limit` is the account's concurrency, and `ready` tells how much
    of what is provisioned is.
    """
    return {
        **FunctionOperations(catalog).handlers(),
        **VersionOperations(catalog).handlers(),
        **settings.handlers(catalog, gateway, limit, ready),
    }


def rendered(handled: Collection[str]) -> str:
    """The table of compatibility, Markdown. `handled` are the names `operation_handlers` gives."""
    built = [each.name for each in OPERATIONS if each.name in handled or each.name in INVOCATIONS]
    partly = [name for name in built if name in PARTIAL]
    lines = [
        f"Of AWS's {len(OPERATIONS)} operations {len(built) - len(partly)} are built, {len(partly)} differ as"
        f" the table says, and {len(OPERATIONS) - len(built)} answer 501.",
        "",
        "| operation | | |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {'partial' if name in PARTIAL else 'built'} | {PARTIAL.get(name, '')} |"
            for name in built
        ),
    ]
    missing = ", ".join(each.name for each in OPERATIONS if each.name not in built)
    return "\n".join([*lines, "", f"501: {missing}."])
