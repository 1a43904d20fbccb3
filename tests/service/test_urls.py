"""Which functions have a Function URL, in `dev` (every) and in `serve`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.protocol.urls import Cors, FunctionUrl
from penstock.service.catalog import Alias, Catalog, Defaults, Entry, Version
from penstock.service.code import Code, CodeStore
from penstock.service.functions import LATEST
from penstock.service.store import Store
from penstock.service.urls import lookup

IAM = {"AuthType": "AWS_IAM", "Cors": {"AllowOrigins": ["*"]}}


def entry(name: str, *, target: bool = False, aliases: tuple[str, ...] = ()) -> Entry:
    def version(number: str) -> Version:
        return Version(number, {"Handler": "app.handler"}, Code("c2hh", 10, "/code"), 1.0)

    made = Entry(name, version(LATEST), {"1": version("1")}, target=target)
    made.aliases = {alias: Alias(alias, "1") for alias in aliases}
    return made


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def catalog(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Catalog]:
    store = Store.open(tmp_path, durable=False)
    catalog = Catalog(store, CodeStore(tmp_path / "code"), Defaults("python"), "us-east-1")

    async def fill() -> None:
        await catalog.add(entry("target", target=True, aliases=("live",)))
        await catalog.add(entry("made", aliases=("live",)))

    runner.run(fill())
    yield catalog
    runner.run(store.close())


async def configure(catalog: Catalog, name: str, alias: str) -> None:
    async with catalog.edit(name) as changed:
        changed.urls[alias] = IAM


@pytest.mark.parametrize(
    ("name", "alias", "in_dev", "in_serve"),
    [
        ("target", "", True, True),
        ("target", "live", True, False),
        ("made", "", True, False),
        ("made", "live", True, False),
        ("made", "1", False, False),
        ("made", LATEST, False, False),
        ("made", "gone", False, False),
        ("nobody", "", False, False),
        ("", "", False, False),
        ("..", "", False, False),
    ],
)
def test_who_has_one_without_asking(
    catalog: Catalog, name: str, alias: str, in_dev: bool, in_serve: bool
) -> None:
    for every, expected in ((True, in_dev), (False, in_serve)):
        found = lookup(catalog, every=every)(name, alias)
        assert found == (FunctionUrl(name, alias) if expected else None)


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize(("name", "alias"), [("target", ""), ("made", ""), ("made", "live")])
def test_what_is_configured_holds_at_once(
    catalog: Catalog, runner: asyncio.Runner, name: str, alias: str, every: bool
) -> None:
    url = lookup(catalog, every=every)
    runner.run(configure(catalog, name, alias))
    assert url(name, alias) == FunctionUrl(name, alias, "AWS_IAM", Cors(("*",)))


def test_the_url_of_an_alias_that_is_gone(catalog: Catalog, runner: asyncio.Runner) -> None:
    runner.run(configure(catalog, "made", "gone"))
    assert lookup(catalog, every=True)("made", "gone") is None
