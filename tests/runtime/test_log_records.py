"""Where `logging` is imported from, its records are AWS's. Each in a process of its own."""

import subprocess
import sys
import textwrap

import pytest


def printed(code: str) -> str:
    script = "import sys\nfrom penstock.runtime import logs\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True, timeout=20
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import logging; logs.install()",
        "logs.install(); import logging",
        "logs.install(); logs.install(); import logging.handlers",
        "logs.install(); logging = __import__('importlib').import_module('logging')",
        "logs.install(); import logging.config; logging = sys.modules['logging']",
    ],
)
def test_whenever_it_is_imported(code: str) -> None:
    code += "\nlogs.begin('id-1'); logging.error('said %d', 7)\nprint(len(logging.getLogger().handlers))"
    record, handlers = printed(code).splitlines()
    assert record.startswith("[ERROR]\t")
    assert record.endswith("\tid-1\tsaid 7")
    assert handlers == "1"


def test_logging_is_like_any_other_module() -> None:
    code = """
        logs.install()
        assert "logging" not in sys.modules
        import logging, json
        print(type(logging.__loader__) is type(json.__loader__) is type(logging.__spec__.loader))
        print([each for each in sys.meta_path if "penstock" in each.__module__])
        """
    assert printed(code).splitlines() == ["True", "[]"]
