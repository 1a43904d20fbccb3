"""Our stand-in for AWS's package, beside the package itself."""

import importlib
from types import ModuleType

import pytest

from penstock.runtime import snapshot_restore_py as ours


def modules() -> list[ModuleType]:
    try:
        return [ours, importlib.import_module("snapshot_restore_py")]  # awslambdaric brings it
    except ImportError:
        return [ours]


@pytest.mark.parametrize("module", modules(), ids=["ours", "AWS's"][: len(modules())])
def test_what_is_registered_is_kept_with_its_arguments(module: ModuleType) -> None:
    def hook(*args: object, **kwargs: object) -> None: ...

    try:
        assert module.register_before_snapshot(hook) is hook
        assert module.register_after_restore(hook, 1, key="2") is hook
        assert module.get_before_snapshot() == [(hook, (), {})]
        assert module.get_after_restore() == [(hook, (1,), {"key": "2"})]
        assert sorted(module.__all__) == ["register_after_restore", "register_before_snapshot"]
    finally:
        module.get_before_snapshot().clear()
        module.get_after_restore().clear()
