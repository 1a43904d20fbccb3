"""`penstock backup`: what is copied of a data folder, and what is refused."""

import asyncio
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from penstock.cli.main import main
from penstock.service import store as store_module
from penstock.service.code import CodeStore
from penstock.service.store import DATABASE, Store

INSERT = "INSERT INTO functions (name, document) VALUES (?, ?)"


def zipped(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("app.py", text)
    return out.getvalue()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder of a service that runs, with two functions' code and a log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_DATA", raising=False)
    folder = tmp_path / ".penstock"
    codes = CodeStore(folder / "code")
    for text in ("one", "two"):
        codes.add_zip(zipped(text))
    (folder / "code/.new-half").mkdir()
    (folder / "logs/app").mkdir(parents=True)
    (folder / "logs/app/00000001.ndjson").write_text("{}\n")

    async def fill():
        store = Store.open(folder)
        await store.write(lambda connection: connection.execute(INSERT, ("app", "{}")))
        return store

    with asyncio.Runner() as runner:
        store = runner.run(fill())
        yield folder
        runner.run(store.close())


def content(folder):
    """What is in a backup: its files, and the functions of its database."""
    folder = Path(folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    async def functions():
        store = Store.open(folder)
        try:
            return store.read("SELECT name FROM functions")
        finally:
            await store.close()

    return files, asyncio.run(functions())


@pytest.fixture
def expected(data):
    zips = sorted(f"code/{path.name}" for path in (data / "code").glob("*.zip"))
    return sorted([".gitignore", *zips, DATABASE]), [("app",)]


def test_a_folder(data, expected, capfd):
    assert main(["backup", "copy"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("copy: the database and 2 zips of code, ")
    assert err == ""
    assert stat.S_IMODE(os.stat("copy").st_mode) == 0o700
    assert content("copy") == expected
    assert sorted(os.listdir()) == [".penstock", "copy"]


@pytest.mark.parametrize("name", ["monday.tar.gz", "monday.tgz"])
def test_an_archive(data, expected, name, tmp_path):
    assert main(["backup", name]) == 0
    assert stat.S_IMODE(os.stat(name).st_mode) == 0o600
    with tarfile.open(name) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert os.listdir("out") == ["monday"]
    assert content("out/monday") == expected
    assert sorted(os.listdir()) == [".penstock", name, "out"]


def test_code_from_a_backup_is_unpacked_again(data):
    assert main(["backup", "copy"]) == 0
    for path in sorted(Path("copy/code").glob("*.zip")):
        assert path.read_bytes() == (data / "code" / path.name).read_bytes()
    old, new = CodeStore(data / "code"), CodeStore(Path("copy/code"))
    code = old.add_zip(zipped("one"))
    found = new.find(code.sha256)
    assert Path(found.root, "app.py").read_text() == "one"
    assert Path(found.root).parent == Path("copy/code").absolute()


def test_which_folder(data, expected, tmp_path, monkeypatch):
    data.rename(tmp_path / "elsewhere")
    assert main(["backup", "a", "--data", "elsewhere"]) == 0
    monkeypatch.setenv("PENSTOCK_DATA", "elsewhere")
    assert main(["backup", "b"]) == 0
    monkeypatch.delenv("PENSTOCK_DATA")
    (tmp_path / "pyproject.toml").write_text('[tool.penstock]\ndata = "elsewhere"\n')
    assert main(["backup", "c"]) == 0
    (tmp_path / "elsewhere").rename(data)
    assert content("a")[1] == content("b")[1] == content("c")[1] == [("app",)]


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_nothing_is_written_over(data, kind, tmp_path, capfd):
    if kind == "file":
        (tmp_path / "copy").write_text("dear to somebody")
    elif kind == "folder":
        (tmp_path / "copy").mkdir()
    else:
        (tmp_path / "copy").symlink_to("nothing")
    assert main(["backup", "copy"]) == 2
    assert capfd.readouterr().err == ("penstock: copy is there already: name a folder or file that is not\n")
    assert sorted(os.listdir()) == [".penstock", "copy"]


def test_where_nothing_is_kept(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["backup", "copy", "--data", "nowhere"]) == 1
    assert capfd.readouterr().err == (
        "penstock: nothing is kept in nowhere: give --data as `penstock serve` has it\n"
    )
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["copy", "copy.tar.gz"])
def test_a_disk_that_is_full(data, name, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("shutil.copy2", full)
    monkeypatch.setattr("tarfile.TarFile.add", full)
    assert main(["backup", name]) == 1
    assert capfd.readouterr().err == (
        f"penstock: cannot make the backup {name}: No space left on device (somewhere)\n"
    )
    assert os.listdir() == [".penstock"]


def test_a_folder_that_is_not_there(data, capfd):
    assert main(["backup", "no/where"]) == 1
    assert capfd.readouterr().err.startswith("penstock: cannot make the backup no/where: No such file")


def test_a_database_that_cannot_be_copied(data, monkeypatch, capfd):
    def fails(database, to):
        raise store_module.StoreError("the database is damaged")

    monkeypatch.setattr(store_module, "backup", fails)
    assert main(["backup", "copy"]) == 1
    assert capfd.readouterr().err == "penstock: the database is damaged\n"
    assert os.listdir() == [".penstock"]


def test_a_zip_that_goes_meanwhile_was_used_by_nobody(data, monkeypatch):
    copy = store_module.backup

    def then_forgets(database, to):
        copy(database, to)
        monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / "gone.zip"]))

    monkeypatch.setattr(store_module, "backup", then_forgets)
    assert main(["backup", "copy"]) == 0
    assert sorted(os.listdir("copy")) == [".gitignore", "code", DATABASE]
