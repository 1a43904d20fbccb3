"""`penstock`: what it understands, and what it says when something is wrong.

Importing this module is cheap: `--help` and a slip of the fingers must not wait for asyncio. The commands
themselves are `run` (dev, serve), `invoke`, `logs`, `backup` and `runtimes`.
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
  penstock logs app --follow           see what it prints

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
PENSTOCK_ACCESS_KEYS has the keys themselves, not a file's name.
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

LOGS_HELP = """\
Show what a function has printed, and AWS's START, END and REPORT lines: the
last 100 lines, or what the options ask for. `serve` keeps --log-size of each
function's log; `dev` keeps 1 MB in memory.
"""

LOGS_EPILOG = """\
examples:
  penstock logs app                      the last 100 lines
  penstock logs app --follow             and what comes, until Ctrl-C
  penstock logs app --since 10m --json   for another program
"""

BACKUP_HELP = """\
Copy what `penstock serve` keeps, while it runs: functions with their code, and
the events that wait. Logs are left out. To restore it, stop the service, put
the copy in the place of its --data folder, and start it again.
"""

BACKUP_EPILOG = """\
examples:
  penstock backup monday           a folder, as --data takes it
  penstock backup monday.tar.gz    one file, with that folder in it
"""


RUNTIMES_HELP = """\
What runs functions on this machine, by AWS's names of runtimes; and installing
what does not come with Penstock: AWS's runtime client for Node, with Node in
the version wanted, from npm, and AWS's own for Python, from PyPI.
They go to $PENSTOCK_RUNTIMES, else ~/.local/share/penstock/runtimes.
"""

RUNTIMES_EPILOG = """\
examples:
  penstock runtimes list
  penstock runtimes install nodejs       for every version, on this machine's Node
  penstock runtimes install nodejs22.x   with a Node of its own
  penstock runtimes install awslambdaric --python 3.12
"""


_WORDS = {
    "argument --": "--",
    "expected one argument": "expected a value, got none",
    "ignored explicit argument": "expected no value, got",
}


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        for argparse_s, ours in _WORDS.items():
            message = message.replace(argparse_s, ours)
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


_ENDPOINT = "the Lambda API ($PENSTOCK_ENDPOINT_URL, $AWS_ENDPOINT_URL_LAMBDA, else http://127.0.0.1:3001)"


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
    command.add_argument("--endpoint-url", metavar="URL", help=_ENDPOINT)


def _add_logs(command: argparse.ArgumentParser) -> None:
    command.add_argument("function", metavar="FUNCTION", help="its name")
    command.add_argument("-f", "--follow", action="store_true", help="go on with what it prints, as it comes")
    command.add_argument(
        "--since", metavar="TIME", help="not before: 30s, 10m, 2h or 1d ago, or 2026-01-31T12:00"
    )
    command.add_argument("--lines", metavar="N", help="so many lines at most (100; all with --since)")
    command.add_argument("--request-id", metavar="ID", help="of this request only; its beginning is enough")
    command.add_argument("--json", action="store_true", help="NDJSON instead of lines for reading")
    command.add_argument("--endpoint-url", metavar="URL", help=_ENDPOINT)


def _add_backup(command: argparse.ArgumentParser) -> None:
    command.add_argument("to", metavar="TO", help="a folder, or a .tar.gz; it must not be there")
    command.add_argument(
        "--data", metavar="FOLDER", help="that of `penstock serve` ($PENSTOCK_DATA, else .penstock)"
    )


def _add_runtimes(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", metavar="ACTION", choices=("list", "install"), help="list, or install")
    command.add_argument("names", metavar="NAME", nargs="*", help="nodejs, nodejs22.x or so, awslambdaric")
    command.add_argument(
        "--python", metavar="VERSION", help="of awslambdaric: for this version of Python (Penstock's own)"
    )


COMMANDS = {
    "dev": ("serve functions to yourself, with a log for reading", DEV_HELP, SETTINGS_HELP, _add_serving),
    "serve": ("serve functions to others, with a JSON log", SERVE_HELP, SETTINGS_HELP, _add_serving),
    "invoke": ("call a function; its response as it comes", INVOKE_HELP, INVOKE_EPILOG, _add_invoke),
    "logs": ("show what a function has printed", LOGS_HELP, LOGS_EPILOG, _add_logs),
    "backup": ("copy what `serve` keeps, while it runs", BACKUP_HELP, BACKUP_EPILOG, _add_backup),
    "runtimes": ("what runs functions here; install Node's", RUNTIMES_HELP, RUNTIMES_EPILOG, _add_runtimes),
}
USAGE = {
    "dev": "[TARGET] [options]",
    "serve": "[TARGET] [options]",
    "invoke": "FUNCTION [options]",
    "logs": "FUNCTION [options]",
    "backup": "TO [options]",
    "runtimes": "list | install NAME...",
}


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
    if command == "logs":
        from . import logs

        return logs.logs(options, os.environ)
    if command == "backup":
        from . import backup

        return backup.backup(options, os.environ)
    if command == "runtimes":
        from . import runtimes

        return runtimes.run(options, os.environ)
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
