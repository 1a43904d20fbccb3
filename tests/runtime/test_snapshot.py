"""Hooks, and where they are registered."""

import random
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from penstock.runtime import snapshot, snapshot_restore_py


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What a function has imported as `snapshot_restore_py`."""
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", snapshot_restore_py)
    yield snapshot_restore_py
    snapshot_restore_py.get_before_snapshot().clear()
    snapshot_restore_py.get_after_restore().clear()


def test_hooks_run_in_awss_order(registry: ModuleType) -> None:
    called: list[object] = []
    for number in (1, 2):
        registry.register_before_snapshot(called.append, ("before", number))
        registry.register_after_restore(called.append, ("after", number))
    snapshot.run_before_snapshot()
    snapshot.run_after_restore()
    assert called == [("before", 2), ("before", 1), ("after", 1), ("after", 2)]


def test_what_a_hook_raises_ends_the_rest(registry: ModuleType) -> None:
    registry.register_after_restore(int, "no number")
    registry.register_after_restore(pytest.fail)
    with pytest.raises(ValueError, match="invalid literal"):
        snapshot.run_after_restore()


def test_a_function_without_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "snapshot_restore_py", raising=False)
    snapshot.run_before_snapshot()
    snapshot.run_after_restore()


@pytest.mark.parametrize("installed", [False, True])
def test_the_stand_in_is_found_where_nothing_is_installed(installed: bool, tmp_path: object) -> None:
    code = f"""
import sys
sys.path = [each for each in sys.path if "site-packages" not in each]
from penstock.runtime import snapshot
snapshot.offer()
snapshot.offer()
if {installed}:
    sys.path.insert(0, {str(tmp_path)!r})
    open({str(tmp_path)!r} + "/snapshot_restore_py.py", "w").write("register_after_restore = 'theirs'")
from snapshot_restore_py import register_after_restore
print(register_after_restore if {installed} else register_after_restore.__module__)
"""
    path = {"PYTHONPATH": snapshot.__file__.rpartition("/penstock/")[0]}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True)
    assert said.stdout == ("theirs\n" if installed else "snapshot_restore_py\n")


def test_random_numbers_are_seeded_anew() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    snapshot.reseed()
    assert random.random() != expected
