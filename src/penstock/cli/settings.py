"""Settings: from a flag, else a PENSTOCK_ variable, else [tool.penstock] of pyproject.toml, else the default.

A setting is written once, as a field of a component's frozen Config: the gateway's, the service's, or the
two here for what the command line itself needs. Its flag, its variable, its key in pyproject.toml and its
line of --help all come from the field: `idle_timeout` is --idle-timeout, PENSTOCK_IDLE_TIMEOUT and
idle-timeout.
"""

import argparse
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from penstock.gateway.config import Config as GatewayConfig
from penstock.service.config import Config as ServiceConfig

from .errors import SettingError
from .project import Project

WEEK = 7 * 86_400


@dataclass(frozen=True, slots=True)
class CommandConfig:
    """Settings of `dev` and `serve` themselves."""

    host: str = field(
        default="127.0.0.1",
        metadata={
            "help": "address to listen on; any but a loopback one needs access keys",
            "metavar": "ADDRESS",
        },
    )
    port: int = field(default=3000, metadata={"help": "the gateway's port; 0: any free one"})
    lambda_port: int = field(default=3001, metadata={"help": "the Lambda API's port; 0: any free one"})
    allow_host: tuple[str, ...] = field(
        default=(),
        metadata={"help": "another Host name the Lambda API answers to; may be repeated", "metavar": "NAME"},
    )
    access_keys: str | None = field(
        default=None,
        metadata={
            "help": "file of access keys, id:secret a line; or $PENSTOCK_ACCESS_KEYS: id:secret,id:secret",
            "metavar": "FILE",
        },
    )
    require_auth: bool = field(
        default=False, metadata={"help": "the Lambda API takes only requests signed with an access key"}
    )
    drain: float | None = field(
        default=None,
        metadata={"help": "seconds running responses may go on when it is told to stop (dev 5, serve 30)"},
    )
    data: str = field(
        default=".penstock",
        metadata={"help": "in serve, the folder that functions and events are kept in", "metavar": "FOLDER"},
    )
    verbose: bool = field(
        default=False, metadata={"help": "in dev, also log AWS's START, END and REPORT lines"}
    )


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """Settings every function of TARGET gets."""

    timeout: float = field(
        default=900.0, metadata={"help": "seconds an invocation may take; AWS allows 900 at most"}
    )
    idle_timeout: float | None = field(
        default=None,
        metadata={"help": "seconds a function may go without sending anything; 0: no limit"},
    )
    memory: int = field(
        default=1024, metadata={"help": "MB of memory one environment may use", "metavar": "MB"}
    )
    snapshot: bool = field(
        default=False,
        metadata={"help": "run each function's init once, and fork its environments from what it has made"},
    )
    concurrency: int = field(
        default=1,
        metadata={"help": "how many invocations one environment runs at once; above 1, of async handlers"},
    )
    python: str | None = field(
        default=None,
        metadata={
            "help": "interpreter the functions run on (TARGET's .venv, else $VIRTUAL_ENV, else this one)",
            "metavar": "PATH",
        },
    )
    env: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "a variable for the functions; NAME alone passes the shell's on; may be repeated",
            "metavar": "NAME[=VALUE]",
        },
    )
    env_file: str | None = field(
        default=None, metadata={"help": "file of NAME=VALUE lines for the functions", "metavar": "FILE"}
    )


GROUPS: tuple[tuple[str, type[Any]], ...] = (
    ("where it listens, what it says", CommandConfig),
    ("functions", FunctionConfig),
    ("gateway", GatewayConfig),
    ("service", ServiceConfig),
)

# --env is many; and PENSTOCK_ACCESS_KEYS is no file's name, but the keys.
_NO_VARIABLE = ("env", "access_keys")

_PATHS = ("access_keys", "data", "env_file")

# What a number must lie in, both ends included. Wider than AWS's own quotas: this is against slips.
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "lambda_port": (0, 65_535),
    "drain": (0, WEEK),
    "timeout": (0.001, WEEK),
    "idle_timeout": (0, WEEK),
    "memory": (128, 1_048_576),
    "concurrency": (1, 1600),
    "max_environments": (1, 100_000),
    "start_ahead": (0, 100_000),
    "init_timeout": (0.001, WEEK),
    "idle_expiry": (0, WEEK),
    "max_templates": (1, 10_000),
    "cancel_grace": (0, WEEK),
    "log_size": (1, 100_000),
    "event_concurrency": (1, 100_000),
    "event_retry_delay": (0, WEEK),
}
_UNITS = {"SECONDS": "seconds", "MB": "MB"}  # by metavar


@dataclass(frozen=True, slots=True)
class Settings:
    """Every component's settings, and where each value that is not a default came from."""

    command: CommandConfig
    functions: FunctionConfig
    gateway: GatewayConfig
    service: ServiceConfig
    sources: Mapping[str, str]

    def not_flags(self) -> list[tuple[str, str]]:
        """Those that a person may have forgotten, not seeing them on the command line: value and source."""
        values = {
            item.name: getattr(config, item.name)
            for config in (self.command, self.functions, self.gateway, self.service)
            for item in fields(config)
        }
        return [
            (f"{name.replace('_', '-')} = {_shown(values[name])}", source)
            for name, source in self.sources.items()
            if not source.startswith("--")
        ]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(part.partition("=")[0] for part in value)  # of variables the names: no secrets
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` a flag for every setting. Values stay text: `resolve` converts and checks them."""
    for title, config in GROUPS:
        group = parser.add_argument_group(title)
        for setting in _settings_of(config):
            options: dict[str, Any] = {"dest": setting.name, "default": None, "help": setting.help()}
            if setting.kind is bool:
                options.update(action="store_const", const="true")
            else:
                options.update(action="append" if setting.many else "store", metavar=setting.metavar)
            group.add_argument(setting.flag, **options)


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str], project: Project) -> Settings:
    """The settings, each from the first place that has it. Raises SettingError."""
    known = {setting.name: setting for _, config in GROUPS for setting in _settings_of(config)}
    table = _known_keys(project, known)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in known.values():
        if flags.get(setting.name) is not None:
            source, value = setting.flag, flags[setting.name]
        elif setting.variable in environ and setting.name not in _NO_VARIABLE:
            source, value = setting.variable, environ[setting.variable]
            if setting.many:
                value = [part.strip() for part in value.split(",") if part.strip()]
        elif setting.name in table:
            source = f"{project.path} [tool.penstock] {setting.key}"
            value = _from_toml(setting, table[setting.name], source, project.path.parent)
        else:
            continue
        values[setting.name] = setting.convert(value, source)
        sources[setting.name] = source
    if "env" in table and flags.get("env") is not None:
        # The one setting that adds up: a flag's variables go over the file's, name by name.
        values["env"] = (*_from_toml(known["env"], table["env"], "", project.path.parent), *values["env"])

    def build(config: type[Any]) -> Any:
        return config(**{item.name: values[item.name] for item in fields(config) if item.name in values})

    return Settings(
        build(CommandConfig), build(FunctionConfig), build(GatewayConfig), build(ServiceConfig), sources
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    kind: type  # bool, int, float or str
    many: bool
    choices: tuple[str, ...]
    default: Any
    metadata: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return "--" + self.key

    @property
    def variable(self) -> str:
        return "PENSTOCK_" + self.name.upper()

    @property
    def metavar(self) -> str:
        if self.choices:
            return "{" + ",".join(self.choices) + "}"
        return str(self.metadata.get("metavar", {int: "N", float: "SECONDS", str: "TEXT"}[self.kind]))

    def help(self) -> str:
        told = str(self.metadata["help"]).replace("%", "%%")
        if self.kind is bool or self.many or self.default is None:
            return told
        default = f"{self.default:g}" if self.kind is float else self.default
        return f"{told} ({default})"

    def convert(self, value: Any, source: str) -> Any:
        """`value`, text or already of its kind, checked. Raises SettingError naming `source`."""
        if self.many:
            return tuple(value)
        if self.kind is bool:
            words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
            try:
                return words[str(value).lower()]
            except KeyError:
                raise SettingError(f"{source}: expected true or false, got {value!r}") from None
        if self.kind is str:
            if self.choices and value not in self.choices:
                raise SettingError(f"{source}: expected {' or '.join(self.choices)}, got {value!r}")
            if not value:
                raise SettingError(f"{source}: expected a value, got none")
            return value
        return self._number(value, source)

    def _number(self, value: Any, source: str) -> float:
        low, high = RANGES[self.name]
        whole = self.kind is int
        unit = f" of {_UNITS[self.metavar]}" if self.metavar in _UNITS else ""
        expected = f"{'a whole number' if whole else 'a number'}{unit} from {low:,} to {high:,}"
        try:
            number = self.kind(value)
        except ValueError:
            raise SettingError(f"{source}: expected {expected}, got {value!r}") from None
        if not math.isfinite(number) or not low <= number <= high:
            raise SettingError(f"{source}: expected {expected}, got {value}")
        return typing.cast(float, number)


def _settings_of(config: type[Any]) -> Iterator[_Setting]:
    hints = typing.get_type_hints(config)
    item: Field[Any]
    for item in fields(config):
        if item.metadata.get("shared"):
            continue  # it is another component's, and has its value
        hint = hints[item.name]
        if isinstance(hint, types.UnionType):  # X | None: None is the default, and cannot be written
            (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        choices: tuple[str, ...] = ()
        many = typing.get_origin(hint) is tuple
        if typing.get_origin(hint) is Literal:
            choices, hint = typing.get_args(hint), str
        default = None if item.default is MISSING else item.default
        yield _Setting(item.name, str if many else hint, many, choices, default, item.metadata)


def _known_keys(project: Project, known: Mapping[str, _Setting]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in project.table.items():
        name = key.replace("-", "_")
        if name == "target":
            continue
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {known[near[0]].key}?" if near else ""
            raise SettingError(f"{project.path} [tool.penstock]: unknown key {key!r}{hint}")
        table[name] = value
    return table


def _from_toml(setting: _Setting, value: Any, source: str, folder: Path) -> Any:
    """`value` as a flag would have given it, or of the setting's kind."""

    def wrong(expected: str) -> SettingError:
        return SettingError(f"{source}: expected {expected}, got {value!r}")

    if setting.name == "env":
        if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
            return [f"{name}={text}" for name, text in value.items()]
        raise wrong('a table of text, such as {STAGE = "dev"}')
    if setting.many:
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return value
        raise wrong("a list of text")
    if setting.kind is bool:
        if isinstance(value, bool):
            return value
        raise wrong("true or false")
    if setting.kind is str:
        if setting.choices and isinstance(value, float):
            return str(value)  # event-format = 2.0
        if not isinstance(value, str):
            raise wrong("text")
        # A path in a file is relative to that file, wherever the command is started.
        is_path = setting.name in _PATHS or (setting.name == "python" and "/" in value)
        return str(folder / value) if is_path else value
    if isinstance(value, bool) or not isinstance(value, int if setting.kind is int else int | float):
        raise wrong("a whole number" if setting.kind is int else "a number")
    return value


def function_environment(settings: FunctionConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables --env-file and --env declare; the flag's go over the file's. Raises SettingError."""
    declared = _read_env_file(Path(settings.env_file)) if settings.env_file else {}
    for item in settings.env:
        name, equals, value = item.partition("=")
        if not name or "\0" in item:
            raise SettingError(f"--env {item!r}: expected NAME or NAME=VALUE")
        if not equals:
            if name not in environ:
                raise SettingError(f"--env {name}: the shell has no such variable; give it as {name}=VALUE")
            value = environ[name]
        declared[name] = value
    return declared


def _read_env_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise SettingError(f"--env-file: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"--env-file: cannot read {path}: it is not UTF-8") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").lstrip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingError(f"{path}:{number}: expected NAME=VALUE, got {line.strip()!r}")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
