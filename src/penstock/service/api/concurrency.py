"""How many invocations a function may have at once, and what the account has in all.

Reserved concurrency is a function's share and its limit; 0 throttles everything. What the functions
reserve must leave something for the others: 100 on AWS, and here as well, but where the whole limit is
small a tenth of it, or a service with 8 environments could reserve none. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html,
API_PutFunctionConcurrency.html and API_GetAccountSettings.html.
"""

import asyncio

from penstock.protocol.call import FunctionNotFound
from penstock.service.catalog import Catalog
from penstock.service.code import UNZIPPED, ZIPPED
from penstock.service.functions import LATEST

from .errors import invalid_parameter
from .naming import unqualified
from .request import ApiRequest, Handler, Reply
from .validation import Number, Structure, read

_UNRESERVED = 100  # that no function may take for itself
_STORAGE = 75 << 30  # bytes of code, as AWS has it: told, while the disk is what counts here
_PUT = Structure({"ReservedConcurrentExecutions": Number(0)}, required=("ReservedConcurrentExecutions",))
_TOO_MANY = (
    "Specified ReservedConcurrentExecutions for function decreases account's"
    " UnreservedConcurrentExecution below its minimum value of [{}]."
)
_BELOW_PROVISIONED = (
    " ReservedConcurrentExecutions  {} should not be lower than"
    " function's total provisioned concurrency [{}]."
)


class Concurrency:
    """The operations on reserved concurrency, and GetAccountSettings."""

    def __init__(self, catalog: Catalog, limit: int) -> None:
        """`limit` is how many invocations the service runs at once."""
        self._catalog = catalog
        self.limit = limit
        self.minimum = min(_UNRESERVED, limit // 10)  # that stays for everybody
        self.changing = asyncio.Lock()  # the sum over all functions holds while one is changed

    def handlers(self) -> dict[str, Handler]:
        return {
            "DeleteFunctionConcurrency": self.delete_function_concurrency,
            "GetAccountSettings": self.get_account_settings,
            "GetFunctionConcurrency": self.get_function_concurrency,
            "PutFunctionConcurrency": self.put_function_concurrency,
        }

    async def put_function_concurrency(self, request: ApiRequest) -> Reply:
        values = read(request, _PUT)
        name = self._known(request)
        wanted: int = values["ReservedConcurrentExecutions"]
        async with self.changing, self._catalog.edit(name) as entry:
            if wanted < (provisioned := entry.all_provisioned()):
                raise invalid_parameter(_BELOW_PROVISIONED.format(wanted, provisioned))
            if self.unreserved() + entry.taken() - wanted < self.minimum:
                raise invalid_parameter(_TOO_MANY.format(self.minimum))
            entry.reserved = wanted
        return Reply(200, {"ReservedConcurrentExecutions": wanted})

    async def get_function_concurrency(self, request: ApiRequest) -> Reply:
        reserved = self._catalog.entry(unqualified(request, self._catalog)).reserved
        return Reply(200, {} if reserved is None else {"ReservedConcurrentExecutions": reserved})

    async def delete_function_concurrency(self, request: ApiRequest) -> Reply:
        async with self.changing, self._catalog.edit(self._known(request)) as entry:
            entry.reserved = None
        return Reply(204)

    async def get_account_settings(self, request: ApiRequest) -> Reply:
        entries = self._catalog.entries()
        versions = [version for entry in entries for version in entry.all_versions()]
        limit = {
            "TotalCodeSize": _STORAGE,
            "CodeSizeUnzipped": UNZIPPED,
            "CodeSizeZipped": ZIPPED,
            "ConcurrentExecutions": self.limit,
            "UnreservedConcurrentExecutions": self.unreserved(),
        }
        usage = {"TotalCodeSize": sum(each.code.size for each in versions), "FunctionCount": len(entries)}
        return Reply(200, {"AccountLimit": limit, "AccountUsage": usage})

    def _known(self, request: ApiRequest) -> str:
        """The name of a function that is there. Raises FunctionNotFound, in the words of the changes."""
        name = unqualified(request, self._catalog)
        if name not in self._catalog:
            raise FunctionNotFound(f"Function not found: {self._catalog.arn(name, LATEST)}")
        return name

    def unreserved(self) -> int:
        """What no function has reserved or provisioned."""
        return max(0, self.limit - sum(entry.taken() for entry in self._catalog.entries()))
