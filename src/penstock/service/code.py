"""Functions' code, kept by its content: each zip once, and unpacked beside it.

    <folder>/<SHA-256 in hex>.zip    as it was uploaded; the only thing a backup needs
    <folder>/<SHA-256 in hex>/       unpacked, made again when it is missing or incomplete
    <folder>/.new-…/                 being made; what a kill leaves of it is removed at the next start

A zip is a stranger's bytes. Nothing in it is believed: paths are made of checked parts, sizes are counted
while inflating, and only plain files and folders are ever made, in a new folder that holds nothing else.

Limits and texts: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, and as AWS
answers.
"""

import base64
import contextlib
import hashlib
import io
import itertools
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from . import disk

ZIPPED = 52_428_800  # bytes of a zip within a request
UNZIPPED = 262_144_000  # bytes of what is in it
ENTRIES = 100_000  # files and folders; ours
_PATH = 2048  # bytes of a path in a zip; ours: with the folder it stays below Linux's 4,096
_NAME = 255  # bytes of one part of it: Linux's limit

_NOT_A_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
_EMPTY = "Uploaded file must be a non-empty zip"
_TOO_MANY = f"Could not unzip uploaded file: it has more than {ENTRIES} files and folders."

_NEW = ".new-"
_PIECE = 1 << 20
_ENTRY = b"PK\x01\x02"  # what each entry of a zip's directory begins with
_ENCRYPTED = 0x1  # of an entry's flags
_DRIVE = re.compile(r"[A-Za-z]:")
_HEX = re.compile(r"[0-9a-f]{64}")

# What is in a live folder and is no part of the function. A change in node_modules restarts nothing, but
# node_modules itself is needed to run: it is left out of the fingerprint only.
_NOT_COPIED = frozenset(("__pycache__", ".git", ".venv", ".penstock"))
_NOT_WATCHED = _NOT_COPIED | {"node_modules"}

_AT_ONCE = 0.002  # seconds: a look at a live folder that takes no longer is taken at every call
_REST = 10.0  # after a longer one, its answer holds so many times as long

_GRACE = 3600.0  # seconds: what was added since may be about to be used


class InvalidZip(ValueError):
    """What was given is no code. The message is AWS's where AWS has one."""


class TooLarge(ValueError):
    """The code is more than the limits allow; the message is AWS's."""

    def __init__(self, message: str, *, zipped: bool = False) -> None:
        super().__init__(message)
        self.zipped = zipped  # the zip itself, for which AWS answers 413; else what is in it: 400


class CodeMissing(LookupError):
    """Code that was there once is gone from the disk."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a function runs."""

    sha256: str  # Base64 of the zip's SHA-256, AWS's CodeSha256; "" for a folder
    size: int  # bytes of the zip; 0 for a folder
    root: str  # the folder to run from
    live: bool = False  # a local folder: edits are seen by the next call


class CodeStore:
    """Keeps code in `folder`, which is made if it is not there. Used by one process; in any thread.

    All but `zip_path` and `fingerprint` block for as long as disk and processor take, one at a time. Raises
    OSError when the disk is full or may not be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._lock = threading.RLock()
        self._looks: dict[str, tuple[float, str]] = {}  # of live folders: until when it holds, fingerprint
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._folder.glob(_NEW + "*"):
            shutil.rmtree(left, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<CodeStore {self._folder}>"

    def add_zip(self, data: bytes) -> Code:
        """Keep a zip, and unpack it. The same bytes again are the same code.

        Raises InvalidZip and TooLarge; nothing of it is kept then.
        """
        if not data:
            raise InvalidZip(_EMPTY)
        if len(data) > ZIPPED:
            raise TooLarge(f"Zipped size must be smaller than {ZIPPED} bytes", zipped=True)
        sha256 = _encoded(hashlib.sha256(data).digest())
        with self._lock:
            if (code := self._known(sha256)) is not None:
                return code
            # Before zipfile makes an object of each. Those of a zip that is stored within this one count as
            # well, but it takes more of them than any function has.
            if data.count(_ENTRY) > ENTRIES:
                raise TooLarge(_TOO_MANY)
            with self._working() as work:
                unpack(io.BytesIO(data), len(data), work / "code")
                (work / "code.zip").write_bytes(data)
                return self._take_in(work, sha256)

    def add_folder(self, folder: Path) -> Code:
        """Keep a copy of `folder`, made as a zip: the same files are the same code.

        `__pycache__`, `.git`, `.venv` and `.penstock` are left out. Raises InvalidZip and TooLarge.
        """
        with self._lock, self._working() as work:
            _zip_folder(folder, work / "code.zip")
            with (work / "code.zip").open("rb") as zipped:
                sha256 = _encoded(hashlib.file_digest(zipped, "sha256").digest())
                if (code := self._known(sha256)) is not None:
                    return code
                unpack(zipped, os.fstat(zipped.fileno()).st_size, work / "code")
            return self._take_in(work, sha256)

    def live(self, folder: Path) -> Code:
        """`folder` itself, where it is. Raises InvalidZip if there is no such folder."""
        try:
            path = folder.resolve(strict=True)
            os.listdir(path)
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InvalidZip(f"Could not use the folder {str(folder)[:200]!r}: {reason}") from None
        return Code("", 0, str(path), live=True)

    def find(self, sha256: str) -> Code:
        """Code that was added once, wherever the store was then; unpacked again if it is not all there.

        For the start: after a backup was restored there are only zips, and after a power cut a file may be
        empty that was not. Raises CodeMissing.
        """
        path = self.zip_path(sha256)
        if path is None:
            raise CodeMissing(f"the code {sha256} is not in {self._folder}")
        root = path.with_suffix("")
        with self._lock, path.open("rb") as zipped:
            size = os.fstat(zipped.fileno()).st_size
            try:
                if not _is_complete(zipped, root):
                    with self._working() as work:
                        unpack(zipped, size, work / "code")
                        if root.exists():
                            os.rename(root, work / "incomplete")
                        os.rename(work / "code", root)
            except (InvalidZip, TooLarge) as error:
                message = f"the code {path} is damaged: put the one of a backup in its place"
                raise CodeMissing(message) from error
        return Code(sha256, size, str(root))

    def zip_path(self, sha256: str) -> Path | None:
        """The zip with this Base64 SHA-256."""
        try:
            path = self._folder / f"{_hex(sha256)}.zip"
        except ValueError:
            return None
        return path if path.is_file() else None

    def fingerprint(self, code: Code) -> str:
        """Of a live folder: another one whenever a file in it was edited, added or removed; else "".

        A look at 2,000 files takes some milliseconds of the caller's thread; after one that long, its answer
        holds for a moment. `__pycache__`, `.git`, `.venv`, `.penstock` and `node_modules` are not looked at,
        nor is what comes after 100,000 files.
        """
        if not code.live:
            return ""
        until, known = self._looks.get(code.root, (0.0, ""))
        if time.monotonic() < until:
            return known
        began = time.thread_time()  # our own time: on a busy machine the smallest folder may take long
        found = _fingerprint(Path(code.root))
        took = time.thread_time() - began
        if took > _AT_ONCE:
            self._looks[code.root] = (time.monotonic() + took * _REST, found)
        return found

    def forget_unused(
        self, used: Collection[str], roots: Collection[str] = (), *, grace: float = _GRACE
    ) -> None:
        """Remove all code but `used` (Base64), and but what was added in the last `grace` seconds.

        `roots` are those of running environments: a function may yet import from there.
        """
        kept = {_hex(sha256) for sha256 in used if sha256} | {os.path.basename(root) for root in roots}
        oldest = time.time() - grace
        with self._lock:
            found = {path.name.removesuffix(".zip") for path in self._folder.iterdir()}
            for name in filter(_HEX.fullmatch, found - kept):
                root, path = self._folder / name, self._folder / f"{name}.zip"
                with contextlib.suppress(OSError), self._working() as work:
                    if (path if path.exists() else root).stat().st_mtime > oldest:
                        continue
                    for each in (root, path):  # of a zip that is there the rest can be made
                        if each.exists():
                            os.rename(each, work / each.name)

    # How.

    def _known(self, sha256: str) -> Code | None:
        """What is there already; it counts as added now."""
        try:
            code = self.find(sha256)
        except CodeMissing:
            return None
        os.utime(self._folder / f"{_hex(sha256)}.zip")
        return code

    @contextlib.contextmanager
    def _working(self) -> Iterator[Path]:
        """A new folder on the same file system, gone at the end with what is still in it."""
        work = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._folder))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _take_in(self, work: Path, sha256: str) -> Code:
        """What is complete in `work` becomes what there is: first the zip, of which the rest can be made."""
        made, path = work / "code.zip", self._folder / f"{_hex(sha256)}.zip"
        root = path.with_suffix("")
        os.chmod(made, 0o600)
        disk.sync(made)
        os.replace(made, path)
        disk.sync(self._folder)
        if root.exists():  # without its zip until now, so of no worth
            os.rename(root, work / "old")
        os.rename(work / "code", root)
        return Code(sha256, path.stat().st_size, str(root))


def unpack(zipped: BinaryIO, size: int, into: Path) -> None:
    """Unpack a zip of `size` bytes into `into`, a folder that is not there yet.

    Never writes anywhere else. Raises InvalidZip and TooLarge; `into` may hold a part then.
    """
    archive = _opened(zipped)
    files, folders = _plan(archive)
    if not files:
        raise InvalidZip(_EMPTY)
    if sum(info.compress_size for info in files.values()) > size:
        raise InvalidZip(_NOT_A_ZIP)  # entries that share their bytes: each would be inflated anew
    for path in ("", *sorted(folders)):
        with contextlib.suppress(FileExistsError):  # where a file system takes two names for the same
            os.mkdir(into / path)
        os.chmod(into / path, 0o755)
    left = UNZIPPED
    for path, info in files.items():
        left -= _unpack_file(archive, info, into / path, left)


def _unpack_file(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, left: int) -> int:
    """Unpack one file of less than `left` bytes; its size."""
    mode = 0o755 if info.external_attr >> 16 & 0o111 else 0o644
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:  # as above
        raise _refused(info, "has the name of another one") from None
    size = 0
    with open(number, "wb") as file:
        for piece in _inflated(archive, info):
            size += len(piece)
            if size >= left:
                raise TooLarge(f"Unzipped size must be smaller than {UNZIPPED} bytes")
            file.write(piece)
        os.fchmod(number, mode)  # whatever the umask says
    if size != info.file_size:
        raise InvalidZip(_NOT_A_ZIP)
    return size


def _opened(zipped: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(zipped)
    except Exception as error:  # of bytes that mean harm zipfile makes nearly every kind
        raise InvalidZip(_NOT_A_ZIP) from error


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """What is in an entry, compared with its checksum at the end."""
    try:
        with archive.open(info) as entry:
            while piece := entry.read(_PIECE):
                yield piece
    except Exception as error:  # as above; what the taker of a piece raises does not come here
        raise InvalidZip(_NOT_A_ZIP) from error


def _plan(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], set[str]]:
    """The files to be made and the folders they are in, as relative paths. Raises InvalidZip, TooLarge.

    Of two files with one path the later is taken, as `unzip -o` does.
    """
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for info in archive.infolist():
        path, is_folder = _checked(info)
        if is_folder and path:
            folders.add(path)
        elif path:
            files[path] = info
        while path := path.rpartition("/")[0]:
            if path in folders:
                break
            folders.add(path)
        if len(files) + len(folders) > ENTRIES:
            raise TooLarge(_TOO_MANY)
    for path in files.keys() & folders:
        raise _refused(files[path], "is a file and a folder")
    return files, folders


def _checked(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """The path an entry is unpacked to, and whether it is a folder. Raises InvalidZip."""
    name = info.orig_filename.replace("\\", "/")  # as some Windows tools write it
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    is_folder = name.endswith("/") or kind == stat.S_IFDIR
    if name.startswith("/") or _DRIVE.match(name):
        raise _refused(info, "is an absolute path")
    if "\0" in name:
        raise _refused(info, "has a NUL in its name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refused(info, "leads out of the folder")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        special = "a symbolic link" if kind == stat.S_IFLNK else "a device, a pipe or a socket"
        raise _refused(info, f"is {special}")
    if not is_folder and mode & (stat.S_ISUID | stat.S_ISGID):
        raise _refused(info, "has a set-user-id or set-group-id bit")
    if info.flag_bits & _ENCRYPTED:
        raise _refused(info, "is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(info, "is compressed by another method than deflate")
    path = "/".join(parts)
    try:
        sizes = [len(os.fsencode(part)) for part in (path, *parts)]
    except ValueError:
        raise _refused(info, "has a name that this system cannot write") from None
    if sizes[0] > _PATH or max(sizes[1:], default=0) > _NAME:
        raise _refused(info, "has too long a name")
    if not parts and not is_folder:
        raise InvalidZip(_NOT_A_ZIP)
    return path, is_folder


def _refused(info: zipfile.ZipInfo, reason: str) -> InvalidZip:
    return InvalidZip(f"Could not unzip uploaded file: {info.orig_filename[:200]!r} {reason}.")


def _is_complete(zipped: BinaryIO, root: Path) -> bool:
    """Whether everything in a zip, one that was unpacked before, is below `root`."""
    files, _ = _plan(_opened(zipped))
    try:
        return all(os.lstat(root / path).st_size == info.file_size for path, info in files.items())
    except OSError:
        return False


# Folders.


def _walk(folder: Path, skipped: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The files below `folder`: their relative paths, links followed; what vanishes meanwhile is left out."""
    top = _stat(folder)
    todo = [("", ((top.st_dev, top.st_ino),) if top else ())]
    while todo:
        below, ancestors = todo.pop()
        try:
            with os.scandir(folder / below) as found:
                entries = list(found)
        except OSError:
            continue
        for entry in entries:
            if entry.name in skipped:
                continue
            try:
                status = entry.stat()
            except OSError:
                continue  # it has vanished, or is a link to nothing
            if stat.S_ISREG(status.st_mode):
                yield below + entry.name, status
            elif stat.S_ISDIR(status.st_mode):
                identity = (status.st_dev, status.st_ino)
                if identity not in ancestors:  # a link in a circle
                    todo.append((f"{below}{entry.name}/", (*ancestors, identity)))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _fingerprint(folder: Path) -> str:
    lines = [
        # A change keeps neither both times nor, if the file was replaced, its number.
        f"{path}\0{status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}"
        for path, status in itertools.islice(_walk(folder, _NOT_WATCHED), ENTRIES)
    ]
    lines.sort()
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _zip_folder(folder: Path, to: Path) -> None:
    """Make a zip of the files below `folder`, the same of the same files. Raises InvalidZip, TooLarge."""
    files = sorted(itertools.islice(_walk(folder, _NOT_COPIED), ENTRIES + 1))
    if not files:
        raise InvalidZip(f"Could not use the folder {str(folder)[:200]!r}: there are no files in it")
    if len(files) > ENTRIES:
        raise TooLarge(_TOO_MANY)
    left = UNZIPPED
    with zipfile.ZipFile(to, "x") as archive:
        for path, status in files:
            info = zipfile.ZipInfo(path)  # with a date that is always the same
            info.create_system = 3  # Unix
            info.external_attr = (stat.S_IFREG | (0o755 if status.st_mode & 0o111 else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            try:
                # A pipe may have taken the file's place, and must not be waited for.
                file = open(os.open(folder / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InvalidZip(f"Could not read {path[:200]!r} of the folder: {error.strerror}") from None
            with file, _named(archive, info) as entry:
                while piece := file.read(_PIECE):
                    left -= len(piece)
                    if left <= 0:
                        raise TooLarge(f"Unzipped size must be smaller than {UNZIPPED} bytes")
                    entry.write(piece)


def _named(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info, "w")
    except UnicodeEncodeError:
        raise _refused(info, "has a name that is not UTF-8") from None


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _hex(sha256: str) -> str:
    """The name of what has this Base64 SHA-256. Raises ValueError."""
    digest = base64.b64decode(sha256, validate=True)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"{sha256[:100]!r} is not the Base64 of a SHA-256")
    return digest.hex()
