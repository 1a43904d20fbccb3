"""A function's output: line by line, logging and errors in AWS's formats. Each in a process of its own."""

import re
import subprocess
import sys
import textwrap


def printed(code: str) -> tuple[str, str]:
    """What `code` prints with a function's output, on both streams; `mark()` shows what has left."""
    script = (
        "import logging, os, sys\nfrom penstock.runtime import logs\n"
        "def mark(): os.write(1, b'|'); os.write(2, b'|')\n"
        "logs.install()\n" + textwrap.dedent(code)
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True, timeout=20
    )
    return done.stdout, done.stderr


def test_each_line_leaves_at_once() -> None:
    out, err = printed(
        """
        print("one"); print("bad", file=sys.stderr); mark()
        print("two", end=""); mark()
        logs.flush(); mark()
        """
    )
    assert out == "one\n||two|"
    assert err == "bad\n|||"


def test_any_text_can_be_printed() -> None:
    assert printed("print('caf\\u00e9 \\ud83d')")[0] == "caf\u00e9 \\ud83d\n"


def test_records_look_as_on_aws() -> None:
    out, err = printed(
        """
        logs.begin("id-1")
        logging.getLogger("any").warning("said %d", 7)
        logs.begin("id-2")
        logging.error("again")
        """
    )
    first, second = out.splitlines()
    assert re.fullmatch(r"\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\tid-1\tsaid 7", first)
    assert second.startswith("[ERROR]\t")
    assert second.endswith("\tid-2\tagain")
    assert err == ""


def test_the_level_is_the_functions_to_choose() -> None:
    out, _ = printed("logging.info('no'); logging.getLogger().setLevel('INFO'); logging.info('yes')")
    assert out.endswith("yes\n")
    assert "no" not in out


def test_an_error_with_its_trace() -> None:
    out, _ = printed(
        """
        try:
            raise ValueError("no")
        except ValueError as error:
            logs.error(error)
        """
    )
    assert out.splitlines()[:2] == ["[ERROR] ValueError: no", "Traceback (most recent call last):"]


def test_records_and_prints_keep_their_order() -> None:
    out, _ = printed("print('one', end=' '); logging.error('two'); print('three')")
    assert re.fullmatch(r"one \[ERROR\].*two\nthree\n", out)


def test_a_function_may_close_or_replace_its_output() -> None:
    out, err = printed(
        """
        import io
        sys.stdout.close()
        sys.stderr = None
        logs.flush()
        sys.stdout = io.StringIO()
        logs.flush()
        logs.error(ValueError("still said"))
        """
    )
    assert out == "[ERROR] ValueError: still said\n"
    assert err == ""


def test_with_its_descriptor_closed_nothing_can_be_said_and_nothing_fails() -> None:
    assert printed("os.close(1); logs.error(ValueError('no')); logs.flush()") == ("", "")
