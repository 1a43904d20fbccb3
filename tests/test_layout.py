"""Tests mirror the source, module by module; and nothing grows beyond what can be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "penstock"
MODULES = sorted(SOURCE.rglob("*.py"))

LONGEST_MODULE = 600  # lines
LONGEST_FUNCTION = 80

# Modules without a test file of their own, each with its reason.
EXEMPT = {
    "http/exchange.py": "a base class whose methods do nothing; every test of http/ subclasses it",
}
# Test files without a module of their own, each with its reason.
EXTRA = {
    "cli/test_examples.py": "examples/ is no part of the package",
    "service/api/test_fuzz.py": "the whole of service/api, under requests that are anything",
    "service/test_misbehaving_runtimes.py": "seat.py with runtime_api.py, under runtimes that err",
    "service/test_runtime_api_fuzz.py": "the same, under runtimes that do anything",
}


def name_of(module: Path) -> str:
    return str(module.relative_to(SOURCE))


def mirror(module: Path) -> Path:
    """a/b.py → tests/a/test_b.py; a/__main__.py → test_main.py; a/__init__.py → test_init.py."""
    return TESTS / module.relative_to(SOURCE).parent / f"test_{module.stem.strip('_')}.py"


def has_code(module: Path) -> bool:
    """Whether there is anything to test: an `__init__` may just re-export."""
    if module.name != "__init__.py":
        return True
    body = ast.parse(module.read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in body)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_has_its_mirror(module: Path) -> None:
    if module == SOURCE / "__init__.py":
        expected = TESTS / "test_exports.py"
    elif module == SOURCE / "__main__.py":
        expected = TESTS / "cli" / "test_main.py"  # all it does is call that
    else:
        expected = mirror(module)
    if name_of(module) in EXEMPT or not has_code(module):
        assert not expected.exists(), "it has tests: it needs no exemption"
    else:
        assert expected.exists(), f"{name_of(module)} has no {expected.relative_to(TESTS)}"


def test_no_exemption_is_left_over() -> None:
    assert EXEMPT.keys() <= {name_of(module) for module in MODULES}
    assert all((TESTS / name).exists() for name in EXTRA)


def test_every_test_file_has_its_module() -> None:
    expected = {mirror(module) for module in MODULES}
    packages = {path for path in TESTS.iterdir() if (SOURCE / path.name).is_dir() and path.is_dir()}
    orphans = {path for package in packages for path in package.rglob("test_*.py")} - expected
    assert {str(path.relative_to(TESTS)) for path in orphans} <= EXTRA.keys()


def test_test_folders_are_no_packages() -> None:
    assert not list(TESTS.rglob("__init__.py"))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_nothing_is_too_long(module: Path) -> None:
    text = module.read_text()
    assert text.count("\n") <= LONGEST_MODULE
    long = [f"{name}: {length} lines" for name, length in functions(text) if length > LONGEST_FUNCTION]
    assert not long


def functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1
