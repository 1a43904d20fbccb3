"""What `import penstock` gives, and what it costs: nothing is loaded before it is used."""

import json
import subprocess
import sys

import pytest

import penstock


def loaded_by(code: str) -> set[str]:
    """The modules that `code` adds to a bare interpreter."""
    script = (
        f"import sys; before = set(sys.modules)\n{code}\n"
        "after = set(sys.modules) - before\nimport json; print(json.dumps(sorted(after)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    return set(json.loads(done.stdout))


def test_every_name_is_there() -> None:
    assert penstock.__all__ == sorted(penstock.__all__)
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None


def test_names_come_from_where_they_are_written() -> None:
    from penstock.runtime.cancel import Cancelled
    from penstock.runtime.result import StreamingResponse

    assert penstock.Cancelled is Cancelled
    assert penstock.StreamingResponse is StreamingResponse


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'penstock' has no attribute 'nope'"):
        _ = penstock.nope


def test_importing_penstock_imports_nothing_else() -> None:
    assert {name for name in loaded_by("import penstock") if name.startswith("penstock")} == {"penstock"}
    assert "asyncio" not in loaded_by("import penstock")


@pytest.mark.parametrize("name", penstock.__all__)
def test_a_name_loads_the_runtime_at_most(name: str) -> None:
    loaded = loaded_by(f"from penstock import {name}")
    ours = {module.split(".")[1] for module in loaded if module.startswith("penstock.")}
    assert ours <= {"runtime", "protocol"}
    assert not loaded & {"asyncio", "typing_extensions"}


def test_the_runtime_loads_the_standard_library_only_and_asyncio_not_at_all() -> None:
    loaded = loaded_by("import penstock.runtime.__main__")
    assert not loaded & {"asyncio", "logging"}
    loaded = loaded_by("import penstock.runtime.__main__, penstock.runtime.spawner")  # its forks have both
    packages = {name.partition(".")[0] for name in loaded}
    assert packages - {"penstock"} <= sys.stdlib_module_names
    assert not loaded & {"email", "http", "multiprocessing"}
    ours = {name.split(".")[1] for name in loaded if name.startswith("penstock.")}
    assert ours == {"runtime", "protocol"}


def test_async_handlers_need_the_standard_library_only() -> None:
    packages = {name.partition(".")[0] for name in loaded_by("import penstock.runtime.aio")}
    assert packages - {"penstock"} <= sys.stdlib_module_names


def test_the_clients_readers_need_the_standard_library_only() -> None:
    loaded = loaded_by("import penstock.client")
    packages = {name.partition(".")[0] for name in loaded}
    assert packages - {"penstock"} <= sys.stdlib_module_names
    ours = {name.split(".")[1] for name in loaded if name.startswith("penstock.")}
    assert ours == {"client", "protocol"}
