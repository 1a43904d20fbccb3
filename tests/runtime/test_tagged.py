"""Whose line is it? Each test in a process of its own."""

import json
import re
import subprocess
import sys
import textwrap


def printed(code: str, own: bool = True) -> list[str]:
    """The lines that `code` prints; `of(id, function, ...)` calls it within that invocation."""
    script = (
        "import contextvars, logging, os, sys, threading\nfrom penstock.runtime import logs, tagged\n"
        "def of(id, function, *args):\n"
        "    def within():\n        tagged.current.set(id)\n        function(*args)\n"
        "    contextvars.copy_context().run(within)\n"
        f"logs.install()\ntagged.install({own})\n" + textwrap.dedent(code)
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=20,
    )
    return done.stdout.decode().splitlines()


def test_a_line_is_its_invocation_s() -> None:
    assert printed(
        """
        print("none's")
        of("a", print, "one\\ntwo")
        of("b", lambda: print("bad", file=sys.stderr))
        of("c", lambda: sys.stdout.buffer.write(b"bytes\\n"))
        """
    ) == ["none's", "\0a\0one", "\0a\0two", "\0b\0bad", "\0c\0bytes"]


def test_lines_of_two_invocations_do_not_mix() -> None:
    assert printed(
        """
        of("a", lambda: print("begun, ", end=""))
        of("b", print, "whole")
        of("a", lambda: print("ended"))
        of("a", lambda: print("without an end", end="", flush=True))
        of("b", lambda: print("likewise", end="", file=sys.stderr))
        tagged.end("b")
        tagged.end("a")
        tagged.end("a")
        """
    ) == ["\0b\0whole", "\0a\0begun, ended", "\0b\0likewise", "\0a\0without an end"]


def test_records_and_what_the_runtime_says() -> None:
    record, *said = printed(
        """
        of("a", logging.warning, "careful")
        of("b", logs.write, "two\\nlines")
        of("c", logs.error, ValueError("no"))
        """
    )
    assert re.fullmatch(r"\0a\0\[WARNING\]\t[\d-]+T[\d:.]+Z\ta\tcareful", record)
    assert said == ["\0b\0two", "\0b\0lines", "\0c\0[ERROR] ValueError: no"]


def test_a_line_that_does_not_end_is_cut() -> None:
    first, rest, after = printed("of('a', print, 'x' * 300_000); of('a', print, 'y')")
    assert len(first.encode()) < 256 * 1024  # or the service would cut it once more
    assert first + rest.removeprefix("\0a\0") == "\0a\0" + "x" * 300_000
    assert after == "\0a\0y"


def test_what_is_printed_without_an_end_after_the_end_is_not_kept_for_ever() -> None:
    lines = printed(
        """
        for number in range(5000):
            of(str(number), lambda: print("late", end=""))
        print(len(sys.stdout._unended))
        """
    )
    assert lines[0] == "\0000\0late"
    assert lines[-1] == "4096"
    assert len(lines) == 5000 - 4096 + 2  # the number has made room for itself


def test_what_functions_do_to_standard_output() -> None:
    assert printed(
        """
        sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
        print(sys.stdout.name, sys.stderr.line_buffering)
        import io
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", line_buffering=True)
        of("a", print, "wrapped")
        """
    ) == ["<fd 1> True", "\0a\0wrapped"]


def test_what_may_be_written() -> None:
    assert printed(
        """
        print("caf\\u00e9 \\ud83d", sys.stdout.writable(), sys.stdout.isatty(), sys.stdout.fileno())
        try:
            sys.stdout.write(b"bytes")
        except TypeError as error:
            print(error)
        """
    ) == ["café \\ud83d True False 1", "write() argument must be str, not bytes"]


def test_threads_print_whole_lines() -> None:
    lines = printed(
        """
        def each(id):
            of(id, lambda: [print(id * 50) for _ in range(200)])
        threads = [threading.Thread(target=each, args=(id,)) for id in "abcd"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    assert sorted(lines) == [f"\0{id}\0{id * 50}" for id in "abcd" for _ in range(200)]


def test_on_aws_every_line_is_json() -> None:
    lines = printed(
        """
        print("none's")
        of("a", print, "one")
        of("b", logging.error, "bad %s", "thing")
        def fails():
            try: 1 / 0
            except ZeroDivisionError: logging.exception("caught")
        of("c", fails)
        of("d", logs.write, "two\\nlines")
        """,
        own=False,
    )
    said = [json.loads(line) for line in lines]
    assert all(re.fullmatch(r"[\d-]+T[\d:]+Z", record.pop("timestamp")) for record in said)
    trace = said[3].pop("stackTrace")
    assert "1 / 0" in trace[0] or "fails" in trace[0]
    assert said == [
        {"message": "none's"},
        {"message": "one", "requestId": "a"},
        {"level": "ERROR", "message": "bad thing", "logger": "root", "requestId": "b"},
        {
            "level": "ERROR",
            "message": "caught",
            "logger": "root",
            "requestId": "c",
            "errorType": "ZeroDivisionError",
            "errorMessage": "division by zero",
        },
        {"message": "two\nlines", "requestId": "d"},
    ]
