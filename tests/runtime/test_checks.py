"""What a process may hold that is forked with all its memory, and what it may not."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from penstock.runtime import checks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def why_not(source: str, folder: Path) -> str:
    """What is said of a process that has run `source`."""
    code = textwrap.dedent(source) + "\nfrom penstock.runtime import checks\nprint(checks.why_not({0, 1, 2}))"
    code += "\nimport os, sys; sys.stdout.flush(); os._exit(0)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    return said.stdout.strip()


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import json, logging, ssl, sqlite3, asyncio, concurrent.futures",
        "file = open(__import__('sys').executable, 'rb')",
        "file = open('log', 'a')",
        "import os; folder = os.open('.', os.O_RDONLY); null = open(os.devnull, 'w')",
        "import threading; thread = threading.Thread(target=int); thread.start()",
        "import subprocess; subprocess.run(['true'])",
        "import mmap; file = open(__import__('sys').executable, 'rb');"
        " pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)",
    ],
)
def test_what_may_be_forked(source: str, tmp_path: Path) -> None:
    assert why_not(source, tmp_path) == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import threading; threading.Thread(target=threading.Event().wait, name='poller').start()",
            "it has started a thread (poller)",
        ),
        (
            "import subprocess; process = subprocess.Popen(['cat'], stdin=subprocess.PIPE)",
            "it has started a process (",
        ),
        ("import socket; pair = socket.socketpair()", "it holds a socket (descriptor 3)"),
        (
            "import socket; client = socket.socket(); server = socket.create_server(('127.0.0.1', 0));"
            " client.connect(server.getsockname())",
            "it holds a socket to 127.0.0.1 port ",
        ),
        (
            "import socket; server = socket.create_server(('127.0.0.1', 0))",
            "it holds a socket that listens on 127.0.0.1 port ",
        ),
        ("import os; pipe = os.pipe()", "it holds a pipe (descriptor 3)"),
        ("import select; poll = select.epoll()", "it holds an event loop (descriptor 3)"),
        ("import os; event = os.eventfd(0)", "it holds anon_inode:[eventfd] (descriptor 3)"),
        ("file = open('log', 'w')", "it holds a file that is open for writing, "),
        ("import mmap; memory = mmap.mmap(-1, 4096)", "it has mapped shared memory (/dev/zero (deleted))"),
    ],
)
def test_what_may_not(source: str, said: str, tmp_path: Path) -> None:
    assert why_not(source, tmp_path).startswith(said)


def test_a_file_gets_a_position_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"0123456789")
    with open(path, "rb", buffering=0) as file, os.fdopen(os.dup(file.fileno()), "rb", buffering=0) as other:
        assert file.read(3) == b"012"
        path.unlink()  # it need not have a name any more
        checks.open_anew(file.fileno())
        assert file.read(2) == b"34"
        assert other.read(2) == b"34"
        assert file.fileno() in checks.regular_files({0, 1, 2})
