"""[tool.penstock] of a folder's pyproject.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ProjectError


@dataclass(frozen=True, slots=True)
class Project:
    path: Path
    table: Mapping[str, Any]  # empty without a pyproject.toml, or without the table


def read_project(folder: Path) -> Project:
    """Read [tool.penstock] of the pyproject.toml in `folder`. Raises ProjectError."""
    path = folder / "pyproject.toml"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Project(path, {})
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}") from error
    if b"penstock" not in data:
        return Project(path, {})  # most files: not ours to judge, nor worth the import of a parser
    import tomllib

    try:
        tool = tomllib.loads(data.decode()).get("tool", {})
    except ValueError as error:  # not TOML, or not UTF-8
        raise ProjectError(f"{path}: {error}") from error
    table = tool.get("penstock", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ProjectError(f"{path}: tool.penstock: expected a table, got {table!r}")
    return Project(path, table)
