"""`penstock`: what it understands, and what it says when something is wrong.

Importing this module is cheap: `--help` and a slip of the fingers must not wait for asyncio. The commands
themselves are `run` (dev, serve) and `invoke`.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from penstock import __version__

from .errors import CommandError

DESCRIPTION = "Lambda response streaming for Python: on a laptop, on your own servers and on AWS."

EPILOG = """\
examples:
  penstock dev app.py                  serve the handler of app.py, and try it with
                                       curl -N http://127.0.0.1:3000/
  penstock dev                         serve the function of this folder, or
                                       each of them: see `penstock dev --help`
  penstock invoke app --payload '{}'   call a function, watch its response come

`penstock COMMAND --help` tells more.
"""

TARGET_HELP = """\
TARGET is one of
  file.py        its handler: lambda_handler, else handler
  file.py:name   that function of it
  module:name    the same, by module
  folder         what `target` in [tool.penstock] of its pyproject.toml says;
                 else the first of app.py, lambda_function.py, handler.py and
                 main.py with a handler; else every *.py with one
and the current folder if left out. Handlers are found without running code.
"""

SETTINGS_HELP = """\
Every option but --env is also a variable (--idle-timeout:
PENSTOCK_IDLE_TIMEOUT), and each is a key of [tool.penstock] in the
pyproject.toml beside TARGET (idle-timeout = 30).
An option goes over a variable, and a variable over the file.
"""

DEV_HELP = f"""\
Serve functions to yourself: on this machine only, with a log for reading.
Functions see your shell's environment.

{TARGET_HELP}"""

SERVE_HELP = f"""\
Serve functions to others, behind a reverse proxy, with a JSON log on stderr:
its first line is {{"event": "listening", "gateway": URL, "lambda": URL, ...}}.
Functions see PATH, HOME, LANG, TZ and what --env and --env-file give them.

{TARGET_HELP}"""

INVOKE_HELP = """\
Call a function and write its response to stdout as it comes; its status and
headers go to stderr. The exit code is 0 if the function ended well, and 1 if
it failed: then its error is on stderr.
"""

INVOKE_EPILOG = """\
examples:
  penstock invoke seed                           watch it stream
  penstock invoke app --payload '{"n": 3}' | jq  an event of your own
  penstock invoke app --payload @event.json      from a file; - reads stdin
"""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"penstock: {message}; see {self.prog} --help\n")

    def flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


class Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=28, width=min(columns, 110) - 2)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of `arguments`, `command` among them. Raises SystemExit."""
    parser = Parser(prog="penstock", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    # Only what is asked for is made in full: reading the settings' types takes longer than all else here.
    asked = arguments[0] if arguments else ""
    for name, (told, described, epilog, add) in COMMANDS.items():
        command = commands.add_parser(
            name, help=told, description=described, epilog=epilog, usage=f"penstock {name} {USAGE[name]}"
        )
        if name == asked:
            add(command)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands.choices[parsed.command]
        kind = "option" if unknown[0].startswith("-") else "argument"
        command.error(f"unknown {kind} {unknown[0]!r}{_meant(unknown[0], command.flags())}")
    return vars(parsed)


def _meant(flag: str, flags: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(flag.partition("=")[0], flags, 1)
    return f", did you mean {near[0]}?" if near else ""


def _add_serving(command: argparse.ArgumentParser) -> None:
    from .settings import add_options

    command.add_argument("target", metavar="TARGET", nargs="?", help="what to serve (the current folder)")
    add_options(command)


def _add_invoke(command: argparse.ArgumentParser) -> None:
    command.add_argument("function", metavar="FUNCTION", help="its name, or its ARN")
    command.add_argument(
        "--payload",
        metavar="JSON|@FILE|-",
        default="{}",
        help="the event: JSON text, a file of it, or stdin ({})",
    )
    command.add_argument(
        "--buffered", action="store_true", help="call Invoke: the whole response at the end, 6 MB at most"
    )
    command.add_argument(
        "--raw", action="store_true", help="write the payload as it is, a streamed response's prelude too"
    )
    command.add_argument(
        "--log-type",
        choices=("None", "Tail"),
        default="None",
        help="Tail: the last 4 KB of the function's log, to stderr",
    )
    command.add_argument(
        "--endpoint-url",
        metavar="URL",
        help="the Lambda API ($PENSTOCK_ENDPOINT_URL, $AWS_ENDPOINT_URL_LAMBDA, else http://127.0.0.1:3001)",
    )


COMMANDS = {
    "dev": ("serve functions to yourself, with a log for reading", DEV_HELP, SETTINGS_HELP, _add_serving),
    "serve": ("serve functions to others, with a JSON log", SERVE_HELP, SETTINGS_HELP, _add_serving),
    "invoke": ("call a function; its response as it comes", INVOKE_HELP, INVOKE_EPILOG, _add_invoke),
}
USAGE = {"dev": "[TARGET] [options]", "serve": "[TARGET] [options]", "invoke": "FUNCTION [options]"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. What argparse itself refuses, and --help, raise SystemExit."""
    _open_closed_streams()
    try:
        return _main(argv)
    finally:
        _let_go(sys.stderr)


def _main(argv: Sequence[str] | None) -> int:
    try:
        try:
            code = _run(parse(sys.argv[1:] if argv is None else argv))
        except SystemExit:
            sys.stdout.flush()  # here, where a broken pipe is understood, not at the interpreter's end
            raise
        sys.stdout.flush()
        return code
    except CommandError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has what it wanted (`| head`).
        _let_go(sys.stdout)
        return 1
    except Exception as error:
        if os.environ.get("PENSTOCK_DEBUG"):
            raise
        told = " ".join(str(error).split())
        return _say(
            f"unexpected {type(error).__name__}: {told} (a fault of ours; PENSTOCK_DEBUG=1 shows where)", 1
        )


def _let_go(stream: TextIO) -> None:
    """Python flushes its streams once more at exit, and exits with 120 if nobody reads them any more."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_closed_streams() -> None:
    """Started with `>&-` or `2>&-` there is no stream at all, and the next socket would take its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


def _run(options: dict[str, Any]) -> int:
    command = options.pop("command")
    if command == "invoke":
        from . import invoke

        return invoke.invoke(options, os.environ)
    try:
        import httptools  # noqa: F401
    except ImportError:
        raise CommandError(
            f"`penstock {command}` needs the platform's parts: pip install 'penstock[serve]'"
        ) from None
    from . import run

    return run.run(command, options, os.environ)


def _say(text: str, code: int) -> int:
    from .output import escape

    print(f"penstock: {escape(text)}", file=sys.stderr)
    return code
