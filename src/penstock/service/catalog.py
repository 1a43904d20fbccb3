"""What the Lambda API manages: functions, their versions and aliases, and everything set for them.

All of it is in memory, and each function is one row of the store. A change is made on a copy, which is
written first and taken over when the write is durable: what was answered is true after a kill, and nobody
ever sees half a change.
"""

import asyncio
import contextlib
import copy
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from weakref import WeakValueDictionary

from penstock.protocol.call import FunctionNotFound

from . import runtimes
from .code import Code, CodeMissing, CodeStore
from .functions import LATEST, Function, function_arn
from .store import Store, StoreError

Document = dict[str, Any]

logger = logging.getLogger("penstock.service")


@dataclass(slots=True)
class Version:
    """$LATEST, or what was published of it: then it does not change any more."""

    version: str
    configuration: Document  # AWS's members: Runtime, Handler, Role, Timeout, MemorySize, Environment, …
    code: Code
    last_modified: float  # epoch seconds
    generation: str = field(default_factory=lambda: uuid.uuid4().hex)  # changes with code and configuration
    revision_id: str = field(default_factory=lambda: str(uuid.uuid4()))  # changes with anything

    def changed(self) -> None:
        """Code or configuration are others now: environments of before are not to be used."""
        self.generation = uuid.uuid4().hex
        self.revision_id = str(uuid.uuid4())
        self.last_modified = time.time()


@dataclass(slots=True)
class Alias:
    """A name for a version."""

    name: str
    version: str
    description: str = ""
    revision_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(slots=True)
class Entry:
    """One function, with everything that belongs to it."""

    name: str
    latest: Version
    versions: dict[str, Version] = field(default_factory=dict)  # published ones, oldest first
    next_version: int = 1
    aliases: dict[str, Alias] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    reserved: int | None = None
    provisioned: dict[str, Document] = field(default_factory=dict)  # by version or alias
    urls: dict[str, Document] = field(default_factory=dict)  # by alias; "" is the function's own
    event_invoke: dict[str, Document] = field(default_factory=dict)  # by qualifier, $LATEST among them
    policies: dict[str, dict[str, Document]] = field(default_factory=dict)  # by qualifier or "": statements
    target: bool = False  # it comes from TARGET: its code and configuration are not the API's to change

    def version(self, qualifier: str = "") -> Version | None:
        """What a qualifier means: a version, an alias, or $LATEST."""
        if qualifier in ("", LATEST):
            return self.latest
        if (alias := self.aliases.get(qualifier)) is not None:
            qualifier = alias.version
        return self.latest if qualifier == LATEST else self.versions.get(qualifier)

    def all_provisioned(self) -> int:
        """How many invocations all that is provisioned can run at once."""
        return sum(each["Requested"] for each in self.provisioned.values())

    def taken(self) -> int:
        """What it takes of the account's concurrency for itself."""
        return self.all_provisioned() if self.reserved is None else self.reserved

    def all_versions(self) -> Iterator[Version]:
        yield self.latest
        yield from self.versions.values()

    def copy(self) -> "Entry":
        """To be changed. Published versions, which do not change, are shared: there may be many."""
        return copy.deepcopy(self, {id(version): version for version in self.versions.values()})

    def to_document(self) -> str:
        return json.dumps(self, default=_members, separators=(",", ":"))

    @classmethod
    def from_document(cls, text: str) -> "Entry":
        document = json.loads(text)
        document["latest"] = _version(document["latest"])
        document["versions"] = {name: _version(each) for name, each in document["versions"].items()}
        document["aliases"] = {name: Alias(**each) for name, each in document["aliases"].items()}
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What functions made through the API get where their configuration says nothing."""

    python: str  # the service's own interpreter
    environment: Mapping[str, str] = field(default_factory=dict)  # seen beside the function's own variables
    idle_timeout: float | None = None


class FunctionExists(ValueError):
    """There is a function of this name already."""


class Catalog:
    """The functions there are, as the API manages them and as the service runs them."""

    def __init__(
        self, store: Store, codes: CodeStore, defaults: Defaults, region: str, account: str = "000000000000"
    ) -> None:
        self.region = region
        self.account = account
        self.codes = codes
        self.on_change: list[Callable[[str], None]] = []  # told the name of each function that has changed
        self._store = store
        self._defaults = defaults
        self._entries: dict[str, Entry] = {}
        self._runnable: dict[tuple[str, str], Function] = {}  # by name and version
        self._targets: dict[str, Function] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # those in use
        for name, document in store.read("SELECT name, document FROM functions ORDER BY name"):
            try:
                entry = Entry.from_document(document)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise StoreError(
                    f"the function {name} in {store.path} cannot be read: a later version of Penstock may"
                    f" have written it ({type(error).__name__}: {error})"
                ) from error
            self._find_code(entry)
            self._entries[entry.name] = entry

    # As the service sees it: Functions.

    def __iter__(self) -> Iterator[Function]:
        return iter(self._targets.values())

    def resolve(self, name: str, qualifier: str = "") -> Function:
        """What a call of `name` runs. Raises FunctionNotFound."""
        entry = self._entries.get(name)
        version = entry.version(qualifier) if entry is not None else None
        if entry is None or version is None:
            raise FunctionNotFound(f"Function not found: {self.arn(name, qualifier or LATEST)}")
        key = (name, version.version)
        function = self._runnable.get(key)
        if version.code.live:
            return self._live(entry, version, function)
        if function is None:
            function = self._runnable[key] = self._function(entry, version)
        return function

    def arn(self, name: str, qualifier: str = "") -> str:
        return function_arn(self.region, self.account, name, qualifier)

    def reservations(self) -> dict[str, int]:
        """What is reserved, by function."""
        return {each.name: each.reserved for each in self._entries.values() if each.reserved is not None}

    def reserved(self, name: str) -> int | None:
        entry = self._entries.get(name)
        return entry.reserved if entry is not None else None

    def provisions(self) -> list[str]:
        return [entry.name for entry in self._entries.values() if entry.provisioned]

    def provisioned(self, name: str) -> list[tuple[Function, int]]:
        entry = self._entries.get(name)
        if entry is None:
            return []
        counts = Counter[str]()
        for qualifier, config in entry.provisioned.items():
            if (version := entry.version(qualifier)) is not None:
                counts[version.version] += config["Requested"]
        return [(self.resolve(name, version), count) for version, count in counts.items()]

    def keys(self, name: str) -> set[str]:
        """The keys of everything of this function that may still be called."""
        entry = self._entries.get(name)
        if entry is None:
            return set()
        return {self.resolve(name, version.version).key for version in entry.all_versions()}

    def published(self, name: str) -> Function | None:
        entry = self._entries.get(name)
        if entry is None or not entry.versions:
            return None
        return self.resolve(name, next(reversed(entry.versions)))

    # As the API sees it.

    def entries(self) -> list[Entry]:
        """Every function, by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def entry(self, name: str, qualifier: str = "") -> Entry:
        """A function that has this qualifier, for reading. Raises FunctionNotFound."""
        entry = self._entries.get(name)
        if entry is None or entry.version(qualifier) is None:
            raise FunctionNotFound(f"Function not found: {self.arn(name, qualifier)}")
        return entry

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @contextlib.asynccontextmanager
    async def edit(self, name: str) -> AsyncIterator[Entry]:
        """A copy of a function to be changed: saved and taken over at the end, dropped at an exception.

        Edits of one function wait for each other. Raises FunctionNotFound, and StoreError when it could not
        be saved: then nothing has changed.
        """
        async with self._lock(name):
            entry = self.entry(name).copy()
            yield entry
            await self._save(entry)

    async def add(self, entry: Entry) -> None:
        """Take in a new function. Raises FunctionExists, StoreError."""
        async with self._lock(entry.name):
            if entry.name in self._entries:
                raise FunctionExists(f"Function already exist: {entry.name}")
            await self._save(entry)

    async def remove(self, name: str) -> None:
        """Forget a function. Raises FunctionNotFound, StoreError."""
        async with self._lock(name):
            self.entry(name)
            await self._store.write(lambda db: db.execute("DELETE FROM functions WHERE name = ?", (name,)))
            del self._entries[name]
            self._targets.pop(name, None)
            self._changed(name)

    async def set_targets(self, functions: Mapping[str, tuple[Function, Document]]) -> list[str]:
        """The functions of TARGET, with their configurations: they are here until another TARGET is served.

        The names of those that are gone with an earlier TARGET. Raises FunctionExists for a name that was
        created through the API.
        """
        for name, (function, configuration) in functions.items():
            old = self._entries.get(name)
            if old is not None and not old.target:
                raise FunctionExists(f"a function {name} was created through the Lambda API")
            code = Code("", 0, function.root)
            latest = Version(LATEST, configuration, code, time.time())
            entry = Entry(name, latest, target=True) if old is None else replace(old, latest=latest)
            self._targets[name] = replace(function, generation=latest.generation)
            async with self._lock(name):
                await self._save(entry)
        gone = [entry.name for entry in self.entries() if entry.target and entry.name not in functions]
        for name in gone:
            await self.remove(name)
        return gone

    def used_code(self) -> set[str]:
        """The SHA-256 of all code that some version still is."""
        return {each.code.sha256 for entry in self._entries.values() for each in entry.all_versions()}

    # How.

    def _find_code(self, entry: Entry) -> None:
        """Have the code where the store is now: it may have been moved, or come from a backup."""
        for version in entry.all_versions():
            if version.code.sha256:
                try:
                    version.code = self.codes.find(version.code.sha256)
                except CodeMissing as error:
                    logger.warning("function %s, version %s: %s", entry.name, version.version, error)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _save(self, entry: Entry) -> None:
        document = entry.to_document()
        await self._store.write(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO functions (name, document) VALUES (?, ?)", (entry.name, document)
            )
        )
        self._entries[entry.name] = entry
        self._changed(entry.name)

    def _changed(self, name: str) -> None:
        for key in [key for key in self._runnable if key[0] == name]:
            del self._runnable[key]
        for tell in self.on_change:
            tell(name)

    def _live(self, entry: Entry, version: Version, known: Function | None) -> Function:
        """A function whose code is a folder: another one whenever a file in it was edited."""
        generation = f"{version.generation}-{self.codes.fingerprint(version.code)}"
        if known is not None and known.generation == generation:
            return known
        function = replace(self._function(entry, version), generation=generation)
        self._runnable[entry.name, version.version] = function
        if known is not None:
            for tell in self.on_change:
                tell(entry.name)
        return function

    def _function(self, entry: Entry, version: Version) -> Function:
        configuration = version.configuration
        logging = configuration.get("LoggingConfig") or {}
        tenancy = configuration.get("TenancyConfig") or {}
        target = self._targets.get(entry.name)
        if version is entry.latest and target is not None:
            return target
        base = target.environment if target else self._defaults.environment
        runtime = "" if target else configuration.get("Runtime", "")
        variables = {**base, **(configuration.get("Environment") or {}).get("Variables", {})}
        on_versions = (configuration.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions"
        snapshot = target.snapshot if target else on_versions and version is not entry.latest
        return Function(
            name=entry.name,
            handler=configuration.get("Handler", ""),
            root=version.code.root,
            python=target.python if target else self._defaults.python,  # what was published of a target
            timeout=configuration["Timeout"],
            memory_mb=configuration["MemorySize"],
            idle_timeout=self._defaults.idle_timeout,
            environment=variables,
            version=version.version,
            runtime=runtime,
            generation=version.generation,
            tenants=tenancy.get("TenantIsolationMode") == "PER_TENANT",
            log_format=logging.get("LogFormat", "Text"),
            log_level=logging.get("ApplicationLogLevel", ""),
            concurrency=target.concurrency if target else _concurrency(variables),
            snapshot=snapshot,
        )


def _concurrency(variables: Mapping[str, str]) -> int:
    """How many invocations its environments run at once."""
    try:
        return runtimes.concurrency(variables)
    except runtimes.Unavailable:
        return 1  # no environment will start, and each call is told why


def _members(value: Any) -> Document:
    """One of the classes above, as JSON has it; as `asdict`, but nothing is copied."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _version(document: Document) -> Version:
    return Version(**{**document, "code": Code(**document["code"])})
