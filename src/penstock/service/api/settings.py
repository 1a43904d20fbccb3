"""What is set for functions beside their code: every operation of it, in one table.

Concurrency, Function URLs, asynchronous invocation, permissions and tags have a file each. Here is what AWS's
clients ask whenever they look at a function, and what has one honest answer: there is no code signing, and
nothing looks for functions that call each other in circles.
"""

from collections.abc import Callable

from penstock.service.catalog import Catalog

from .concurrency import Concurrency
from .errors import ApiError
from .eventinvoke import EventInvoke
from .naming import named, unqualified
from .policies import Policies
from .provisioned import ProvisionedConcurrency, Ready
from .request import ApiRequest, Handler, Reply
from .shapes import CODE_SIGNING
from .tags import Tags
from .urls import Urls
from .validation import Structure, Text, read

_SIGNING = Structure({"CodeSigningConfigArn": CODE_SIGNING}, required=("CodeSigningConfigArn",))
_RECURSION = Structure({"RecursiveLoop": Text(enum=("Terminate", "Allow"))}, required=("RecursiveLoop",))

PARTIAL = {
    "AddPermission": "statements are kept and shown; they are not enforced, as there is one account",
    "CreateFunctionUrlConfig": "`InvokeMode` is kept and shown; the gateway's response mode decides",
    "GetAccountSettings": "`TotalCodeSize` is AWS's limit: here the disk is",
    "GetFunctionRecursionConfig": "always `Allow`: loops are not looked for",
    "PutFunctionCodeSigningConfig": "there is no code signing configuration to be put: always its 404",
    "PutFunctionConcurrency": (
        "at least 100 invocations stay unreserved; a tenth where `--max-environments` is below 1,000"
    ),
    "PutFunctionEventInvokeConfig": "destinations are functions and, beyond AWS, `file:///absolute/path`",
    "PutFunctionRecursionConfig": "`Terminate` is refused: loops are not looked for",
    "PutProvisionedConcurrencyConfig": "environments there already are count as provisioned",
    "TagResource": "functions only",
    "UpdateFunctionEventInvokeConfig": "destinations are functions and, beyond AWS, `file:///absolute/path`",
    "UpdateFunctionUrlConfig": "`InvokeMode` is kept and shown; the gateway's response mode decides",
}
"""What operations of this table do otherwise than AWS, for the table of compatibility."""


def handlers(catalog: Catalog, gateway: Callable[[], str], limit: int, ready: Ready) -> dict[str, Handler]:
    """Operations by name. `gateway` gives the gateway's base URL, `limit` is the account's concurrency.

    `ready` tells how much of what is provisioned is.
    """
    concurrency = Concurrency(catalog, limit)
    return {
        **concurrency.handlers(),
        **ProvisionedConcurrency(catalog, concurrency, ready).handlers(),
        **EventInvoke(catalog).handlers(),
        **Policies(catalog).handlers(),
        **Tags(catalog).handlers(),
        **Urls(catalog, gateway).handlers(),
        **_Answers(catalog).handlers(),
    }


class _Answers:
    """Operations with one answer."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "DeleteFunctionCodeSigningConfig": self.delete_function_code_signing_config,
            "GetFunctionCodeSigningConfig": self.get_function_code_signing_config,
            "GetFunctionRecursionConfig": self.get_function_recursion_config,
            "PutFunctionCodeSigningConfig": self.put_function_code_signing_config,
            "PutFunctionRecursionConfig": self.put_function_recursion_config,
        }

    async def get_function_code_signing_config(self, request: ApiRequest) -> Reply:
        """Without a configuration AWS answers with no member at all."""
        self._catalog.entry(named(request, self._catalog).function)
        return Reply(200, {})

    async def put_function_code_signing_config(self, request: ApiRequest) -> Reply:
        arn = read(request, _SIGNING)["CodeSigningConfigArn"]
        message = (
            "The code signing configuration cannot be found."
            f" Check that the provided configuration is not deleted: {arn}."
        )
        raise ApiError("CodeSigningConfigNotFoundException", message)

    async def delete_function_code_signing_config(self, request: ApiRequest) -> Reply:
        """There is never one to be deleted, which AWS takes as done."""
        self._catalog.entry(named(request, self._catalog).function)
        return Reply(204)

    async def get_function_recursion_config(self, request: ApiRequest) -> Reply:
        self._catalog.entry(unqualified(request, self._catalog))
        return Reply(200, {"RecursiveLoop": "Allow"})

    async def put_function_recursion_config(self, request: ApiRequest) -> Reply:
        wanted = read(request, _RECURSION)["RecursiveLoop"]
        self._catalog.entry(unqualified(request, self._catalog))
        if wanted != "Allow":
            message = "PutFunctionRecursionConfig with Terminate is not built into Penstock"
            raise ApiError("NotImplementedException", message)
        return Reply(200, {"RecursiveLoop": "Allow"})
