"""The functions the service knows, by name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.protocol.call import FunctionNotFound


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its code, and the settings AWS keeps for it."""

    name: str
    handler: str  # AWS's form, "module.function"
    root: str  # the folder the handler's module is in: LAMBDA_TASK_ROOT
    python: str  # the interpreter its environments run on
    timeout: float = 900.0  # seconds an invocation may take
    memory_mb: int = 1024
    idle_timeout: float | None = None  # seconds a stream may be silent; None: as long as `timeout`
    environment: Mapping[str, str] = field(default_factory=dict)  # what it sees, beside AWS's variables
    version: str = "$LATEST"


class Registry:
    """Functions by name, in the order they were given."""

    def __init__(self, functions: Iterable[Function], region: str, account: str = "000000000000") -> None:
        self.region = region
        self.account = account
        self._functions = {function.name: function for function in functions}

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def arn(self, name: str) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"

    def get(self, name: str) -> Function:
        """The function called `name`; raises FunctionNotFound in AWS's words."""
        try:
            return self._functions[name]
        except KeyError:
            raise FunctionNotFound(f"Function not found: {self.arn(name)}:$LATEST") from None
