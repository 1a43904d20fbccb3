"""Functions as they are managed: what is kept, what a call runs, what a change does."""

import asyncio
import contextlib
import functools
import io
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.call import FunctionNotFound
from penstock.service.catalog import Alias, Catalog, Defaults, Entry, FunctionExists, Version
from penstock.service.code import Code, CodeStore
from penstock.service.functions import LATEST, Function
from penstock.service.store import Store, StoreError

CONFIGURATION = {"Runtime": "python3.12", "Handler": "app.handler", "Timeout": 3, "MemorySize": 128}
ARN = "arn:aws:lambda:us-east-1:000000000000:function:app"


def opened(folder: Path) -> tuple[Store, Catalog]:
    store = Store.open(folder, durable=False)
    defaults = Defaults("/usr/bin/python3", {"PATH": "/bin", "A": "default"}, idle_timeout=7.0)
    return store, Catalog(store, CodeStore(folder / "code"), defaults, "us-east-1")


def entry(name: str = "app", **configuration: Any) -> Entry:
    code = Code("c2hh", 10, "/code/app")
    return Entry(name, Version(LATEST, CONFIGURATION | configuration, code, 1.0))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    store, catalog = opened(tmp_path)
    yield catalog
    asyncio.run(store.close())


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@asynchronous
async def test_a_function_s_concurrency_is_a_variable_of_its_own(catalog: Catalog) -> None:
    for said, expected in (("100", 100), ("many", 1)):
        variables = {"Variables": {"PENSTOCK_CONCURRENCY": said}}
        await catalog.add(entry(f"app-{said}", Environment=variables))
        assert catalog.resolve(f"app-{said}").concurrency == expected


@asynchronous
async def test_a_function_is_run_as_its_configuration_says(catalog: Catalog) -> None:
    variables = {"Variables": {"A": "own"}}
    logging = {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"}
    await catalog.add(entry(Environment=variables, LoggingConfig=logging))
    function = catalog.resolve("app")
    assert (function.handler, function.root, function.python) == (
        "app.handler",
        "/code/app",
        "/usr/bin/python3",
    )
    assert (function.runtime, function.timeout, function.memory_mb) == ("python3.12", 3, 128)
    assert (function.idle_timeout, function.version, function.tenants) == (7.0, LATEST, False)
    assert function.concurrency == 1
    assert (function.log_format, function.log_level) == ("JSON", "DEBUG")
    assert function.environment == {"PATH": "/bin", "A": "own"}
    assert catalog.resolve("app") is function
    assert catalog.resolve("app", LATEST) is function


@asynchronous
async def test_everything_is_there_after_another_start(tmp_path: Path) -> None:
    store, catalog = opened(tmp_path)
    made = entry()
    made.versions["1"] = Version("1", dict(CONFIGURATION), made.latest.code, 2.0)
    made.aliases["live"] = Alias("live", "1", "what runs")
    made.tags["team"] = "a"
    made.reserved = 3
    made.urls[""] = {"AuthType": "NONE"}
    made.event_invoke[LATEST] = {"MaximumRetryAttempts": 1}
    made.policies[""] = {"sid": {"Effect": "Allow"}}
    await catalog.add(made)
    await store.close()
    store, catalog = opened(tmp_path)
    assert catalog.entries() == [made]
    assert catalog.resolve("app", "live").version == "1"
    assert catalog.reserved("app") == 3
    await store.close()


@asynchronous
async def test_what_is_not_there_is_told_in_aws_words(catalog: Catalog) -> None:
    await catalog.add(entry())
    with pytest.raises(FunctionNotFound, match=r"^Function not found: .*:function:nope:\$LATEST$"):
        catalog.resolve("nope")
    with pytest.raises(FunctionNotFound, match=f"^Function not found: {ARN}:prod$"):
        catalog.resolve("app", "prod")
    with pytest.raises(FunctionNotFound, match=r"^Function not found: .*:function:nope$"):
        catalog.entry("nope")
    assert catalog.reserved("nope") is None
    assert catalog.keys("nope") == set()


@asynchronous
async def test_a_name_is_given_once(catalog: Catalog) -> None:
    added = await asyncio.gather(catalog.add(entry()), catalog.add(entry()), return_exceptions=True)
    assert [type(each) for each in added] == [type(None), FunctionExists]


@asynchronous
async def test_a_change_is_taken_over_as_a_whole(catalog: Catalog) -> None:
    await catalog.add(entry())
    told: list[str] = []
    catalog.on_change.append(told.append)
    before = catalog.resolve("app")
    async with catalog.edit("app") as changed:
        changed.latest.configuration["Timeout"] = 9
        changed.latest.changed()
        assert catalog.resolve("app") is before
    after = catalog.resolve("app")
    assert (after.timeout, after.key != before.key, told) == (9, True, ["app"])
    assert catalog.keys("app") == {after.key}


@asynchronous
async def test_a_change_that_fails_has_not_been(catalog: Catalog) -> None:
    await catalog.add(entry())
    with contextlib.suppress(ZeroDivisionError):
        async with catalog.edit("app") as changed:
            changed.latest.configuration["Timeout"] = 9
            raise ZeroDivisionError
    assert catalog.resolve("app").timeout == 3


@asynchronous
async def test_a_change_that_cannot_be_written_has_not_been(tmp_path: Path) -> None:
    store, catalog = opened(tmp_path)
    await catalog.add(entry())
    await store.close()
    edit = catalog.edit("app")
    changed = await edit.__aenter__()
    changed.tags["a"] = "b"
    with pytest.raises(StoreError):
        await edit.__aexit__(None, None, None)
    assert catalog.entry("app").tags == {}


@asynchronous
async def test_changes_of_one_function_wait_for_each_other(catalog: Catalog) -> None:
    await catalog.add(entry())

    async def tag(key: str) -> None:
        async with catalog.edit("app") as changed:
            await asyncio.sleep(0)
            changed.tags[key] = "x"

    await asyncio.gather(*(tag(str(number)) for number in range(10)))
    assert len(catalog.entry("app").tags) == 10


@asynchronous
async def test_published_versions_are_functions_of_their_own(catalog: Catalog) -> None:
    await catalog.add(entry())
    async with catalog.edit("app") as changed:
        changed.versions["1"] = Version("1", CONFIGURATION | {"Timeout": 5}, changed.latest.code, 2.0)
        changed.aliases["live"] = Alias("live", "1")
        changed.aliases["newest"] = Alias("newest", LATEST)
    assert catalog.resolve("app", "1").timeout == 5
    assert catalog.resolve("app", "live") is catalog.resolve("app", "1")
    assert catalog.resolve("app", "newest") is catalog.resolve("app")
    assert len(catalog.keys("app")) == 2


@asynchronous
async def test_snap_start_is_for_published_versions(catalog: Catalog) -> None:
    await catalog.add(entry(SnapStart={"ApplyOn": "PublishedVersions"}))
    assert catalog.published("app") is None
    assert catalog.published("other") is None
    async with catalog.edit("app") as app:
        for number in ("1", "2"):
            app.versions[number] = replace(app.latest, version=number)
    assert not catalog.resolve("app").snapshot
    assert catalog.resolve("app", "1").snapshot
    newest = catalog.published("app")
    assert newest is not None
    assert newest.version == "2"
    assert newest.snapshot


@asynchronous
async def test_a_change_shares_the_published_versions(catalog: Catalog) -> None:
    made = entry()
    made.versions = {str(number): replace(made.latest, version=str(number)) for number in range(1, 4)}
    await catalog.add(made)
    async with catalog.edit("app") as changed:
        assert changed is not made
        assert changed.latest is not made.latest
        assert changed.latest.configuration is not made.latest.configuration
        assert all(changed.versions[number] is made.versions[number] for number in made.versions)
        del changed.versions["2"]
    assert list(made.versions) == ["1", "2", "3"]
    assert list(catalog.entry("app").versions) == ["1", "3"]


@asynchronous
async def test_nothing_is_kept_of_functions_that_are_not_there(catalog: Catalog) -> None:
    for number in range(10):
        with pytest.raises(FunctionNotFound):
            async with catalog.edit(f"missing{number}"):
                pass
    assert not catalog._locks


@pytest.mark.parametrize("document", ["{}", "[]", "", '{"name":"app","latest":{},"later":1}'])
@asynchronous
async def test_a_function_that_cannot_be_read_is_named(tmp_path: Path, document: str) -> None:
    store, _ = opened(tmp_path)
    await store.write(lambda db: db.execute("INSERT INTO functions VALUES ('app', ?)", (document,)))
    await store.close()
    with pytest.raises(StoreError, match=r"the function app in .*penstock\.db cannot be read"):
        opened(tmp_path)


@asynchronous
async def test_a_removed_function_is_gone(catalog: Catalog) -> None:
    await catalog.add(entry())
    told: list[str] = []
    catalog.on_change.append(told.append)
    await catalog.remove("app")
    assert ("app" in catalog, catalog.entries(), told) == (False, [], ["app"])
    with pytest.raises(FunctionNotFound):
        await catalog.remove("app")
    with pytest.raises(FunctionNotFound):
        async with catalog.edit("app"):
            pass
    await catalog.add(entry())  # the name is free again


@asynchronous
async def test_a_live_folder_is_another_function_after_each_edit(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "app.py").write_text("one")
    made = entry()
    made.latest.code = catalog.codes.live(folder)
    await catalog.add(made)
    told: list[str] = []
    catalog.on_change.append(told.append)
    first = catalog.resolve("app")
    assert catalog.resolve("app") is first
    (folder / "app.py").write_text("another")
    second = catalog.resolve("app")
    assert (second.key != first.key, told) == (True, ["app"])
    assert catalog.keys("app") == {second.key}


# Functions of TARGET.

TARGET = Function("seed", "seed.handler", "/src", "/venv/bin/python", environment={"B": "1"})


@asynchronous
async def test_functions_of_target_run_as_they_were_given(catalog: Catalog) -> None:
    assert await catalog.set_targets({"seed": (TARGET, dict(CONFIGURATION))}) == []
    found = catalog.resolve("seed")
    assert (found.python, found.runtime, found.environment) == ("/venv/bin/python", "", {"B": "1"})
    assert [each.name for each in catalog] == ["seed"]
    assert catalog.entry("seed").target


@asynchronous
async def test_a_published_version_of_a_target_runs_on_its_interpreter(catalog: Catalog) -> None:
    await catalog.set_targets({"seed": (TARGET, dict(CONFIGURATION))})
    async with catalog.edit("seed") as changed:
        changed.versions["1"] = Version("1", dict(CONFIGURATION), Code("x", 1, "/code/x"), 1.0)
    found = catalog.resolve("seed", "1")
    assert (found.python, found.runtime, found.root) == ("/venv/bin/python", "", "/code/x")


@asynchronous
async def test_what_was_set_for_a_target_outlives_the_service_and_its_code_does_not(tmp_path: Path) -> None:
    store, catalog = opened(tmp_path)
    await catalog.set_targets({"seed": (TARGET, dict(CONFIGURATION)), "old": (TARGET, dict(CONFIGURATION))})
    async with catalog.edit("seed") as changed:
        changed.reserved = 2
    await store.close()
    store, catalog = opened(tmp_path)
    moved = Function("seed", "seed.other", "/elsewhere", "python")
    assert await catalog.set_targets({"seed": (moved, CONFIGURATION | {"Handler": "seed.other"})}) == ["old"]
    assert (catalog.resolve("seed").root, catalog.reserved("seed")) == ("/elsewhere", 2)
    assert [each.name for each in catalog.entries()] == ["seed"]
    await store.close()


@asynchronous
async def test_a_target_does_not_replace_what_the_api_made(catalog: Catalog) -> None:
    await catalog.add(entry("seed"))
    with pytest.raises(FunctionExists, match="seed was created through the Lambda API"):
        await catalog.set_targets({"seed": (TARGET, dict(CONFIGURATION))})


@asynchronous
async def test_code_in_use(catalog: Catalog) -> None:
    made = entry()
    made.versions["1"] = Version("1", dict(CONFIGURATION), Code("older", 1, "/code/older"), 1.0)
    await catalog.add(made)
    assert catalog.used_code() == {"c2hh", "older"}


def zipped(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return data.getvalue()


@asynchronous
async def test_code_is_found_where_the_folder_is_now(tmp_path: Path) -> None:
    store, catalog = opened(tmp_path / "before")
    made = entry()
    made.latest.code = catalog.codes.add_zip(zipped(app="1"))
    await catalog.add(made)
    await store.close()
    (tmp_path / "before").rename(tmp_path / "after")
    store, catalog = opened(tmp_path / "after")
    root = Path(catalog.resolve("app").root)
    assert (root / "app.py").read_text() == "1"
    assert root.is_relative_to(tmp_path / "after")
    await store.close()


@asynchronous
async def test_code_that_is_gone_is_told_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, catalog = opened(tmp_path)
    for name in ("app", "other"):
        made = entry(name)
        made.latest.code = catalog.codes.add_zip(zipped(app=name))
        await catalog.add(made)
    await store.close()
    path = catalog.codes.zip_path(catalog.entry("app").latest.code.sha256)
    assert path is not None
    path.unlink()
    store, catalog = opened(tmp_path)
    assert [each.name for each in catalog.entries()] == ["app", "other"]
    assert (Path(catalog.resolve("other").root) / "app.py").read_text() == "other"
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("function app, version $LATEST: the code ")
    await store.close()
