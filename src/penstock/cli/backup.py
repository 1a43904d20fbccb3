"""`penstock backup`: a copy of what `serve` keeps, made while it runs.

The database first, as it is at one moment, then the zips of the code: all that the copied database names is
there then, since code outlives the last function that uses it. What was unpacked of them is left out, and so
are logs.
"""

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.service import disk

from .errors import CommandError, UsageError
from .output import escape, size
from .project import read_project

DEFAULT_DATA = ".penstock"
ARCHIVES = (".tar.gz", ".tgz")


def backup(options: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Make the copy that `options` ask for; the exit code. Raises CommandError."""
    from penstock.service.store import DATABASE, StoreError
    from penstock.service.store import backup as copy_database

    data, to = _data_folder(options["data"], environ), Path(options["to"])
    if os.path.lexists(to):
        raise UsageError(f"{to} is there already: name a folder or file that is not")
    if not (data / DATABASE).is_file():
        raise CommandError(f"nothing is kept in {data}: give --data as `penstock serve` has it")
    try:
        with _beside(to) as work:
            copy = work / "copy"
            copy.mkdir(mode=0o700)
            copy_database(data / DATABASE, copy / DATABASE)
            (copy / ".gitignore").write_text("*\n")
            zips = sorted((data / "code").glob("*.zip"))
            if to.name.endswith(ARCHIVES):
                written = _archive(copy, zips, work / "archive", _stem(to.name))
                os.rename(work / "archive", to)
            else:
                written = _fill(copy, zips)
                os.rename(copy, to)
            disk.sync(to.absolute().parent)
    except StoreError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise CommandError(f"cannot make the backup {to}: {error.strerror}{where}") from error
    count = "1 zip" if len(zips) == 1 else f"{len(zips):,} zips"
    print(f"{escape(str(to))}: the database and {count} of code, {size(written)}")
    return 0


def _data_folder(flag: str | None, environ: Mapping[str, str]) -> Path:
    """What `penstock serve`, started here, would use."""
    if given := flag or environ.get("PENSTOCK_DATA"):
        return Path(given)
    project = read_project(Path())
    named = project.table.get("data")
    return project.path.parent / named if isinstance(named, str) else Path(DEFAULT_DATA)


@contextlib.contextmanager
def _beside(to: Path) -> Iterator[Path]:
    """A folder on the same file system, gone at the end with what is still in it."""
    work = Path(tempfile.mkdtemp(prefix=f".{to.name[:100]}.", dir=to.absolute().parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(copy: Path, zips: list[Path]) -> int:
    """Copy the zips; how many bytes the whole copy is."""
    (copy / "code").mkdir(mode=0o700)
    for path in zips:
        with contextlib.suppress(FileNotFoundError):  # nobody uses it any more
            shutil.copy2(path, copy / "code" / path.name)
    written = 0
    for path in [*copy.rglob("*"), copy]:
        disk.sync(path)
        written += path.stat().st_size if path.is_file() else 0
    return written


def _archive(copy: Path, zips: list[Path], to: Path, stem: str) -> int:
    """Pack everything into one file, in a folder of its name; how many bytes it is."""
    number = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Zips do not become smaller, however hard one tries.
    with open(number, "wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        archive.add(copy, stem)
        for path in zips:
            with contextlib.suppress(FileNotFoundError):  # as above
                archive.add(path, f"{stem}/code/{path.name}")
    disk.sync(to)
    return to.stat().st_size


def _stem(name: str) -> str:
    for ending in ARCHIVES:
        name = name.removesuffix(ending)
    return name or "penstock"
