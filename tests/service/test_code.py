"""Code storage: what is kept, what is unpacked, and what hostile zips cannot do."""

import base64
import hashlib
import io
import itertools
import os
import stat
import struct
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.service import code as module
from penstock.service.code import (
    ENTRIES,
    UNZIPPED,
    ZIPPED,
    Code,
    CodeMissing,
    CodeStore,
    InvalidZip,
    TooLarge,
)

NOT_A_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
EMPTY = "Uploaded file must be a non-empty zip"
TOO_LARGE = "Unzipped size must be smaller than 262144000 bytes"


def zipped(files, *, compression=zipfile.ZIP_DEFLATED):
    """A zip of these names; a value is content, or content and mode."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            content, mode = content if isinstance(content, tuple) else (content, stat.S_IFREG | 0o644)
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: ZipInfo itself ends names at a NUL
            info.external_attr = mode << 16
            info.compress_type = compression
            archive.writestr(info, content)
    return out.getvalue()


def tree(folder):
    """Everything below a folder: files with their content, folders with None."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
    }


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def store(tmp_path):
    return CodeStore(tmp_path / "data" / "code")


# What is kept.


def test_a_zip_is_kept_and_unpacked_by_its_content(store, tmp_path):
    data = zipped({"app.py": b"x = 1\n", "lib/deep/er.py": b"", "empty/": b""})
    code = store.add_zip(data)
    digest = hashlib.sha256(data)
    assert code == Code(
        base64.b64encode(digest.digest()).decode(),
        len(data),
        str(tmp_path / "data/code" / digest.hexdigest()),
    )
    assert tree(code.root) == {
        "app.py": b"x = 1\n",
        "lib": None,
        "lib/deep": None,
        "lib/deep/er.py": b"",
        "empty": None,
    }
    assert store.zip_path(code.sha256).read_bytes() == data
    assert sorted(os.listdir(tmp_path / "data/code")) == [digest.hexdigest(), f"{digest.hexdigest()}.zip"]


def test_modes_are_normalised_and_executable_bits_kept(store):
    old = os.umask(0o077)
    try:
        code = store.add_zip(
            zipped(
                {
                    "bootstrap": (b"#!/bin/sh\n", stat.S_IFREG | 0o500),
                    "secret": (b"", stat.S_IFREG | 0o600),
                    "open": (b"", stat.S_IFREG | 0o666),
                    "without": (b"", 0),
                    "shared/": (b"", stat.S_IFDIR | 0o2777),
                    "unnamed": (b"", stat.S_IFDIR | 0o700),
                }
            )
        )
    finally:
        os.umask(old)
    root = Path(code.root)
    assert {path.name: oct(mode(path)) for path in [root, *root.iterdir()]} == {
        root.name: "0o755",
        "bootstrap": "0o755",
        "secret": "0o644",
        "open": "0o644",
        "without": "0o644",
        "shared": "0o755",
        "unnamed": "0o755",
    }
    assert (root / "unnamed").is_dir()
    assert mode(root.with_suffix(".zip")) == 0o600
    assert mode(root.parent) == 0o700


def test_the_same_again_is_the_same_and_touches_nothing(store):
    data = zipped({"app.py": b""})
    code = store.add_zip(data)
    before = os.stat(code.root).st_ino
    os.utime(store.zip_path(code.sha256), (1, 1))
    assert store.add_zip(data) == code
    assert os.stat(code.root).st_ino == before
    assert store.zip_path(code.sha256).stat().st_mtime > 1  # it counts as new


def test_two_at_once(store):
    data = zipped({f"m{number}.py": os.urandom(1000) for number in range(200)})
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(store.add_zip(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == 4
    assert len(set(codes)) == 1
    assert len(os.listdir(codes[0].root)) == 200


def test_what_a_kill_left_is_removed_at_the_next_start(store, tmp_path):
    left = tmp_path / "data/code/.new-abc"
    (left / "code/lib").mkdir(parents=True)
    (left / "code/lib/x.py").write_text("half")
    CodeStore(tmp_path / "data/code")
    assert not left.exists()


def test_a_full_disk_leaves_nothing(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space"):
        store.add_zip(zipped({"app.py": b"x"}))
    assert os.listdir(tmp_path / "data/code") == []


def test_zip_paths(store):
    code = store.add_zip(zipped({"app.py": b""}))
    assert store.zip_path(code.sha256).is_file()
    for unknown in ("", "AAAA", "no Base64", "../../etc", base64.b64encode(bytes(32)).decode()):
        assert store.zip_path(unknown) is None


def test_what_is_found_again(store, tmp_path):
    data = zipped({"app.py": b"x", "lib/a.py": b"y"})
    code = store.add_zip(data)
    assert store.find(code.sha256) == code
    (tmp_path / "moved").mkdir()
    path = store.zip_path(code.sha256)
    path.rename(tmp_path / "moved" / path.name)  # as out of a backup
    found = CodeStore(tmp_path / "moved").find(code.sha256)
    assert (found.sha256, found.size) == (code.sha256, code.size)
    assert tree(found.root) == tree(code.root)
    assert Path(found.root).parent == tmp_path / "moved"
    with pytest.raises(CodeMissing, match="is not in"):
        store.find(code.sha256)


def test_what_was_unpacked_is_made_whole_again(store):
    code = store.add_zip(zipped({"app.py": b"x", "lib/a.py": b"y"}))
    whole = tree(code.root)
    (Path(code.root) / "__pycache__").mkdir()  # what was added does no harm
    (Path(code.root) / "lib/a.py").write_bytes(b"")  # as after a power cut
    assert tree(store.find(code.sha256).root) == whole
    (Path(code.root) / "lib/a.py").unlink()
    assert tree(store.find(code.sha256).root) == whole


def test_a_damaged_zip_is_told(store):
    code = store.add_zip(zipped({"app.py": b"x"}))
    path = store.zip_path(code.sha256)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(CodeMissing, match="is damaged"):
        store.find(code.sha256)
    assert store.add_zip(data) == code  # and uploaded again it is well
    assert store.find(code.sha256) == code
    assert path.read_bytes() == data


def test_unused_code_is_forgotten_once_it_is_old(store, tmp_path):
    used, unused, new = (store.add_zip(zipped({"app.py": text})) for text in (b"a", b"b", b"c"))
    (tmp_path / "data/code/notes.txt").write_text("not ours")
    for each in (used, unused):
        os.utime(store.zip_path(each.sha256), (time.time() - 7200,) * 2)
    store.forget_unused([used.sha256, ""])
    assert store.zip_path(unused.sha256) is None
    assert not Path(unused.root).exists()
    assert store.find(used.sha256) == used
    assert store.find(new.sha256) == new
    store.forget_unused([used.sha256], [new.root, "/elsewhere"], grace=-1)
    assert store.find(new.sha256) == new
    store.forget_unused([used.sha256], grace=-1)
    assert not Path(new.root).exists()
    name = Path(used.root).name
    assert sorted(os.listdir(tmp_path / "data/code")) == sorted([name, f"{name}.zip", "notes.txt"])


# What is refused.


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"/etc/passwd": b""}, "'/etc/passwd' is an absolute path"),
        ({"\\etc": b""}, r"'\\\\etc' is an absolute path"),
        ({"C:\\x": b""}, "is an absolute path"),
        ({"c:x": b""}, "is an absolute path"),
        ({"../x": b""}, "'../x' leads out of the folder"),
        ({"a/../../x": b""}, "leads out of the folder"),
        ({"a/../x": b""}, "leads out of the folder"),
        ({"a\\..\\x": b""}, "leads out of the folder"),
        ({"..": b""}, "leads out of the folder"),
        ({"app.py\0.txt": b""}, "has a NUL in its name"),
        ({"link": (b"/etc/passwd", stat.S_IFLNK | 0o777)}, "'link' is a symbolic link"),
        ({"link/": (b"/etc", stat.S_IFLNK | 0o777)}, "'link/' is a symbolic link"),
        ({"tty": (b"", stat.S_IFCHR | 0o666)}, "is a device, a pipe or a socket"),
        ({"sda": (b"", stat.S_IFBLK | 0o666)}, "is a device, a pipe or a socket"),
        ({"fifo": (b"", stat.S_IFIFO | 0o666)}, "is a device, a pipe or a socket"),
        ({"sock": (b"", stat.S_IFSOCK | 0o666)}, "is a device, a pipe or a socket"),
        ({"su": (b"", stat.S_IFREG | 0o4755)}, "has a set-user-id or set-group-id bit"),
        ({"sg": (b"", stat.S_IFREG | 0o2755)}, "has a set-user-id or set-group-id bit"),
        ({"a": b"", "a/b": b""}, "'a' is a file and a folder"),
        ({"a/b": b"", "a": b""}, "'a' is a file and a folder"),
        ({"a/": b"", "a": b""}, "'a' is a file and a folder"),
        ({"x" * 256: b""}, "has too long a name"),
        ({"ü" * 128: b""}, "has too long a name"),
        ({"x/" * 1025: b""}, "has too long a name"),
    ],
)
def test_what_is_refused(store, tmp_path, files, reason):
    with pytest.raises(InvalidZip, match=r"^Could not unzip uploaded file: ") as raised:
        store.add_zip(zipped({"app.py": b"", **files}))
    assert reason.replace("\\\\\\\\", "\\\\") in str(raised.value)
    assert len(str(raised.value)) < 400
    assert os.listdir(tmp_path / "data/code") == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(store, method):
    with pytest.raises(InvalidZip, match="is compressed by another method than deflate"):
        store.add_zip(zipped({"app.py": b"x"}, compression=method))


def test_encrypted_entries_are_refused(store):
    data = bytearray(zipped({"app.py": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(InvalidZip, match="is encrypted"):
        store.add_zip(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", EMPTY),
        (zipped({}), EMPTY),
        (zipped({"only/": b""}), EMPTY),
        (b"no zip", NOT_A_ZIP),
        (zipped({"app.py": b"x" * 100})[:-4], NOT_A_ZIP),
        (zipped({"app.py": b"x" * 100})[10:], NOT_A_ZIP),
    ],
)
def test_what_is_no_zip(store, data, message):
    with pytest.raises(InvalidZip) as raised:
        store.add_zip(data)
    assert str(raised.value) == message


def test_a_wrong_checksum(store):
    data = zipped({"app.py": b"content"}, compression=zipfile.ZIP_STORED)
    with pytest.raises(InvalidZip) as raised:
        store.add_zip(data.replace(b"content", b"CONTENT"))
    assert str(raised.value) == NOT_A_ZIP


def test_backslashes_are_separators(store):
    code = store.add_zip(zipped({"lib\\a.py": b"a", "dir\\": b"", ".\\app.py": b"b"}))
    assert tree(code.root) == {"lib": None, "lib/a.py": b"a", "dir": None, "app.py": b"b"}


def test_of_two_files_with_one_name_the_later_counts(store):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("app.py", b"old"), ("./app.py", b"other"), ("app.py", b"new")])
    assert tree(store.add_zip(data).root) == {"app.py": b"new"}


def test_a_nested_zip_stays_one(store):
    inner = zipped({"inner.py": b""})
    assert tree(store.add_zip(zipped({"a.zip": inner})).root) == {"a.zip": inner}


# Limits.


def test_a_zip_larger_than_aws_takes(store):
    with pytest.raises(TooLarge) as raised:
        store.add_zip(bytes(ZIPPED + 1))
    assert str(raised.value) == "Zipped size must be smaller than 52428800 bytes"
    assert raised.value.zipped


def lying(size, claimed):
    """A zip whose one file has `size` zeros, and says it had `claimed`."""
    data = bytearray(zipped({"big": bytes(size)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", data, data.index(signature) + offset, claimed)
    return bytes(data)


@pytest.mark.parametrize("claimed", [0, 1, 999, 1001, 2**32 - 2])
def test_a_size_that_is_not_true(store, claimed):
    with pytest.raises(InvalidZip) as raised:
        store.add_zip(lying(1000, claimed))
    assert str(raised.value) == NOT_A_ZIP


def test_sizes_are_counted_together(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNZIPPED", 1000)
    assert store.add_zip(zipped({"a": bytes(500), "b": bytes(499)}))
    with pytest.raises(TooLarge):
        store.add_zip(zipped({"a": bytes(500), "b": bytes(500)}))
    assert len(os.listdir(tmp_path / "data/code")) == 2


def test_folders_count_as_entries(store, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 10)
    assert store.add_zip(zipped({"a/b/c/d/e/f": b"", "a/b/x": b"", "a/b/y": b"", "a/b/z": b""}))
    with pytest.raises(TooLarge, match="it has more than"):
        store.add_zip(zipped({"a/b/c/d/e/f/g/h/i/j": b"", "x": b""}))


def test_entries_that_share_their_bytes(store):
    """A bomb without nesting: each entry of the directory names the same compressed bytes."""
    data = zipped({"a": os.urandom(2000)})
    directory = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[directory:end]
    ending = bytearray(data[end:])
    struct.pack_into("<HHLL", ending, 8, 3, 3, 3 * len(entry), directory)
    others = b"".join(entry[:46] + name + entry[47:] for name in (b"b", b"c"))
    with pytest.raises(InvalidZip) as raised:
        store.add_zip(data[:directory] + entry + others + bytes(ending))
    assert str(raised.value) == NOT_A_ZIP


@pytest.mark.slow
def test_a_bomb_of_300_mb(store, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in "abc":
            with archive.open(name, "w") as entry:
                for _ in range(100):
                    entry.write(bytes(1_000_000))
    with pytest.raises(TooLarge) as raised:
        store.add_zip(out.getvalue())
    assert str(raised.value) == TOO_LARGE
    assert not raised.value.zipped
    assert os.listdir(tmp_path / "data/code") == []


@pytest.mark.slow
def test_too_many_entries(store):
    data = zipped({f"{number}": b"" for number in range(ENTRIES + 1)}, compression=zipfile.ZIP_STORED)
    began = time.monotonic()
    with pytest.raises(TooLarge, match="it has more than 100000 files and folders"):
        store.add_zip(data)
    assert time.monotonic() - began < 1


# Hostile bytes.

SAMPLE = zipped(
    {
        "app.py": b"import lib\n" * 50,
        "lib/": b"",
        "lib/__init__.py": b"",
        "lib/data.bin": bytes(range(256)) * 8,
        "bootstrap": (b"#!/bin/sh\n", stat.S_IFREG | 0o755),
    }
)
PARTS = st.sampled_from(
    ["..", ".", "", "a", "b", "C:", "~", "\0", "ü", "x" * 300, " ", "con", "\\", "\ud7ff", "\n"]
)
NAMES = st.lists(PARTS, min_size=1, max_size=6).flatmap(
    lambda parts: st.sampled_from(["/", "\\"]).map(lambda separator: separator.join(parts))
)
KINDS = st.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, 0o170000])
NUMBER = itertools.count()


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """A folder with a store deep in it, and with nothing else."""
    return tmp_path_factory.mktemp("around")


def try_zip(around, data):
    """Add a zip; whatever it does, it does it below its own folder."""
    folder = around / f"{next(NUMBER)}"
    store = CodeStore(folder / "deep/er/code")
    try:
        code = store.add_zip(data)
    except (InvalidZip, TooLarge):
        code = None
    written = [Path(base) / name for base, folders, files in os.walk(folder) for name in (*folders, *files)]
    allowed = {folder / "deep", folder / "deep/er", folder / "deep/er/code"}
    if code is not None:
        allowed |= {Path(code.root), store.zip_path(code.sha256)}
        size = 0
        for path in written:
            status = path.lstat()
            assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
            assert status.st_nlink == 1 or path.is_dir()
            size += status.st_size
        assert size < UNZIPPED
        assert store.find(code.sha256) == code
    assert {path for path in written if code is None or Path(code.root) not in path.parents} <= allowed
    assert not [path for path in around.iterdir() if not path.name.isdigit()]


HOSTILE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@HOSTILE
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes(around, changes):
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    try_zip(around, bytes(data))


@HOSTILE
@given(
    st.integers(SAMPLE.index(b"PK\x01\x02"), len(SAMPLE) - 4),
    st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xA1FF0000]),
)
def test_changed_numbers_of_the_directory(around, position, value):
    data = bytearray(SAMPLE)
    struct.pack_into("<L", data, position, value)
    try_zip(around, bytes(data))


@HOSTILE
@given(st.integers(0, len(SAMPLE)), st.integers(0, len(SAMPLE)), st.binary(max_size=30))
def test_what_was_cut_out_and_put_in(around, start, end, between):
    try_zip(around, SAMPLE[:start] + between + SAMPLE[end:])


@HOSTILE
@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(st.tuples(NAMES, KINDS, st.integers(0, 0o7777)), min_size=1, max_size=5))
def test_crafted_names(around, entries):
    try_zip(around, zipped([(name, (b"content", kind | bits)) for name, kind, bits in entries]))


@HOSTILE
@given(st.binary(max_size=200))
def test_any_bytes(around, data):
    try_zip(around, data)


# Folders.


@pytest.fixture
def folder(tmp_path):
    """A function's folder, with what is beside it in a developer's life."""
    folder = tmp_path / "project"
    for name in ("app.py", "lib/a.py", "node_modules/m/index.js", ".git/HEAD", ".venv/bin/python"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("__pycache__/app.pyc", "lib/__pycache__/a.pyc", ".penstock/penstock.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "bootstrap").write_text("#!/bin/sh\n")
    (folder / "bootstrap").chmod(0o700)
    return folder


def test_a_live_folder(store, folder, monkeypatch):
    assert store.live(folder) == Code("", 0, str(folder), live=True)
    monkeypatch.chdir(folder.parent)
    assert store.live(Path("project/lib/..")) == Code("", 0, str(folder), live=True)


@pytest.mark.parametrize("path", ["nowhere", "project/app.py", "nul\0", "x" * 5000])
def test_what_is_no_folder(store, folder, path):
    with pytest.raises(InvalidZip, match=r"^Could not use the folder '"):
        store.live(folder.parent / path)


def test_a_copy_of_a_folder(store, folder):
    (folder / "lib/again").symlink_to(folder)  # a circle
    (folder / "lib/linked.py").symlink_to(folder / "app.py")
    (folder / "nothing").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe")
    code = store.add_folder(folder)
    assert tree(code.root) == {
        "app.py": b"app.py",
        "bootstrap": b"#!/bin/sh\n",
        "lib": None,
        "lib/a.py": b"lib/a.py",
        "lib/linked.py": b"app.py",
        "node_modules": None,
        "node_modules/m": None,
        "node_modules/m/index.js": b"node_modules/m/index.js",
    }
    assert mode(Path(code.root) / "bootstrap") == 0o755
    data = store.zip_path(code.sha256).read_bytes()
    assert (code.sha256, code.size) == (base64.b64encode(hashlib.sha256(data).digest()).decode(), len(data))
    assert not code.live


def test_a_copy_depends_on_the_files_only(store, folder, tmp_path):
    code = store.add_folder(folder)
    for path in folder.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (folder / "__pycache__/more.pyc").write_text("")
    assert store.add_folder(folder) == code
    assert store.add_zip(store.zip_path(code.sha256).read_bytes()) == code
    (folder / "app.py").write_text("other")
    assert store.add_folder(folder) != code
    assert len(os.listdir(tmp_path / "data/code")) == 4


def test_a_folder_that_cannot_be_copied(store, folder, tmp_path, monkeypatch):
    with pytest.raises(InvalidZip, match="there are no files in it"):
        store.add_folder(folder / ".git" / "nowhere")
    monkeypatch.setattr(module, "UNZIPPED", 20)
    with pytest.raises(TooLarge, match=r"^Unzipped size must be smaller than 20 bytes$"):
        store.add_folder(folder)
    monkeypatch.setattr(module, "ENTRIES", 2)
    with pytest.raises(TooLarge, match="it has more than"):
        store.add_folder(folder)
    assert os.listdir(tmp_path / "data/code") == []


def test_a_fingerprint_changes_with_every_file(store, folder):
    code = store.live(folder)
    seen = [store.fingerprint(code)]
    assert store.fingerprint(code) == seen[0]

    def changed():
        seen.append(store.fingerprint(code))
        return seen[-1] != seen[-2]

    (folder / "lib/a.py").write_text("edited")
    assert changed()
    (folder / "lib/new.py").write_text("")
    assert changed()
    (folder / "lib/new.py").rename(folder / "lib/renamed.py")
    assert changed()
    (folder / "lib/renamed.py").unlink()
    assert changed()
    (folder / "bootstrap").chmod(0o600)
    assert changed()
    status = (folder / "lib/a.py").stat()
    (folder / "lib/a.py").write_text("EDITED")  # of the same size, and with its old date
    os.utime(folder / "lib/a.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changed()


def test_a_fingerprint_knows_what_is_no_code(store, folder):
    code = store.live(folder)
    before = store.fingerprint(code)
    for name in ("__pycache__/x", "lib/__pycache__/x", ".git/x", ".venv/x", "node_modules/x", ".penstock/x"):
        (folder / name).write_text("")
    assert store.fingerprint(code) == before


def test_only_live_folders_have_a_fingerprint(store, folder):
    assert store.fingerprint(store.add_folder(folder)) == ""


def test_a_folder_that_is_gone_has_a_fingerprint_too(store, tmp_path):
    assert store.fingerprint(Code("", 0, str(tmp_path / "gone"), live=True))


def test_a_slow_look_holds_for_a_moment(store, folder, monkeypatch):
    now = [100.0]
    looks = []

    def look(path):
        looks.append(path)
        now[0] += took
        return str(len(looks))

    monkeypatch.setattr(module, "_fingerprint", look)
    clock = SimpleNamespace(monotonic=lambda: now[0], thread_time=lambda: now[0])
    monkeypatch.setattr(module, "time", clock)
    code = store.live(folder)
    took = 0.0001
    assert [store.fingerprint(code) for _ in range(3)] == ["1", "2", "3"]
    took = 0.01
    assert [store.fingerprint(code) for _ in range(3)] == ["4", "4", "4"]
    now[0] += 0.2
    assert store.fingerprint(code) == "5"


def test_files_may_vanish_during_a_look(store, folder):
    """Somebody builds while we look: neither look nor copy fails."""
    code = store.live(folder)
    stop = threading.Event()

    def build():
        while not stop.is_set():
            for number in range(20):
                (folder / f"out{number % 4}").mkdir(exist_ok=True)
                (folder / f"out{number % 4}/{number}.py").write_text("x" * number)
            for number in range(20):
                (folder / f"out{number % 4}/{number}.py").unlink()
            for number in range(4):
                (folder / f"out{number}").rmdir()

    thread = threading.Thread(target=build)
    thread.start()
    try:
        for _ in range(20):
            assert store.fingerprint(code)
            assert store.add_folder(folder).sha256
    finally:
        stop.set()
        thread.join()


def test_a_look_at_2000_files_is_quick(store, tmp_path):
    folder = tmp_path / "large"
    for number in range(40):
        (folder / f"package{number}").mkdir(parents=True)
        for each in range(50):
            (folder / f"package{number}/module{each}.py").touch()
    took = []
    for _ in range(10):  # other work may hold the machine up
        began = time.perf_counter()
        module._fingerprint(folder)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.025  # 8 ms, with room for a slower machine
