"""A function as the service runs it, and what the service needs of whoever keeps them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

LATEST = "$LATEST"


@dataclass(frozen=True, slots=True)
class Function:
    """One version of a function: its code, and the settings AWS keeps for it."""

    name: str
    handler: str  # AWS's form, "module.function"
    root: str  # the folder the handler's module is in: LAMBDA_TASK_ROOT
    python: str  # the interpreter its environments run on, unless `runtime` asks for another
    timeout: float = 900.0  # seconds an invocation may take
    memory_mb: int = 1024
    idle_timeout: float | None = None  # seconds a stream may be silent; None: as long as `timeout`
    environment: Mapping[str, str] = field(default_factory=dict)  # what it sees, beside AWS's variables
    version: str = LATEST
    runtime: str = ""  # AWS's identifier, python3.12 or provided.al2023; "": Python, on `python`
    generation: str = ""  # another one whenever its code or its configuration was changed
    tenants: bool = False  # an environment serves one tenant only (TenancyConfig)
    log_format: str = "Text"  # or JSON
    log_level: str = ""  # of JSON: AWS_LAMBDA_LOG_LEVEL
    snapshot: bool = False  # SnapStart: its environments are forks of an initialised template
    concurrency: int = 1  # how many invocations an environment of it runs at once
    key: str = field(init=False)  # environments of the same key are alike

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.name}:{self.version}:{self.generation}")


class Functions(Protocol):
    """The functions there are. `Catalog` is the real one."""

    region: str
    account: str

    def __iter__(self) -> Iterator[Function]:
        """Those whose interpreter is to be ready before the first call."""

    def resolve(self, name: str, qualifier: str = "") -> Function:
        """What a call of `name` runs. Raises FunctionNotFound, in AWS's words."""

    def arn(self, name: str, qualifier: str = "") -> str:
        """The function's ARN; the qualifier is part of it where one was given."""

    def keys(self, name: str) -> set[str]:
        """The keys of all versions of it that can be called now; empty: there is no such function."""

    def published(self, name: str) -> Function | None:
        """The newest version that was published of it; None: there is none."""

    def reservations(self) -> dict[str, int]:
        """What is reserved, by function."""

    def provisions(self) -> list[str]:
        """The functions with provisioned concurrency."""

    def provisioned(self, name: str) -> list[tuple[Function, int]]:
        """Versions of it with provisioned concurrency, and for how many invocations at once."""

    def reserved(self, name: str) -> int | None:
        """How many invocations are kept for this function, and are its limit; None: no such setting."""


def function_arn(region: str, account: str, name: str, qualifier: str = "") -> str:
    """The ARN of a function, a version or an alias."""
    arn = f"arn:aws:lambda:{region}:{account}:function:{name}"
    return f"{arn}:{qualifier}" if qualifier else arn
