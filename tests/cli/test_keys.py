import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import keys, settings
from penstock.cli.errors import CommandError, SettingError
from penstock.cli.project import Project
from penstock.service.access import Access

KEYS = {"PENSTOCK_ACCESS_KEYS": "AKID:s3cret"}


def access(
    flags: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    table: dict[str, Any] | None = None,
    folder: Path = Path(),
) -> tuple[Access, list[str]]:
    environ = environ or {}
    chosen = settings.resolve(flags or {}, environ, Project(folder / "pyproject.toml", table or {}))
    return keys.access(chosen, environ, "us-east-1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("file:s3cret\n")
    path.chmod(0o600)
    return path


def test_on_loopback_nobody_needs_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        found, notes = access({"host": host})
        assert (bool(found), found.required, notes) == (False, False, [])


def test_keys_alone_require_nothing() -> None:
    found, notes = access(environ=KEYS)
    assert (bool(found), found.required, notes) == (True, False, [])


def test_they_may_be_required() -> None:
    for flags, environ in (({"require_auth": "true"}, KEYS), ({}, KEYS | {"PENSTOCK_REQUIRE_AUTH": "1"})):
        found, notes = access(flags, environ)
        assert (bool(found), found.required, notes) == (True, True, [])


def test_required_without_any() -> None:
    with pytest.raises(SettingError, match=r"^--require-auth: there are no access keys: .*--access-keys"):
        access({"require_auth": "true"})
    with pytest.raises(SettingError, match=r"^PENSTOCK_REQUIRE_AUTH: there are no access keys"):
        access(environ={"PENSTOCK_REQUIRE_AUTH": "1", "PENSTOCK_ACCESS_KEYS": ""})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "box.example"])
def test_off_loopback_keys_are_needed_and_required(host: str) -> None:
    with pytest.raises(SettingError) as raised:
        access({"host": host})
    assert str(raised.value).startswith(f"--host: '{host}' is not a loopback address")
    assert "PENSTOCK_ACCESS_KEYS" in str(raised.value)
    found, notes = access({"host": host}, KEYS)
    assert found.required
    assert notes == [f"--host {host}: the Lambda API takes signed requests only, as with --require-auth"]
    found, notes = access({"host": host, "require_auth": "true"}, KEYS)
    assert (found.required, notes) == (True, [])


def test_a_file_goes_over_the_variable(file: Path) -> None:
    found, _ = access({"access_keys": str(file)}, KEYS)
    assert list(found._keys) == ["file"]


def test_a_file_may_be_named_in_the_project(file: Path, tmp_path: Path) -> None:
    found, _ = access(table={"access-keys": "keys"}, folder=tmp_path)
    assert list(found._keys) == ["file"]


def test_keys_themselves_in_the_project_are_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as raised:
        access(table={"access-keys": "AKID:s3cret"}, folder=tmp_path)
    assert "it is a file of lines, each id:secret" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_file_that_others_can_read_is_told_of(file: Path) -> None:
    file.chmod(0o644)
    _, notes = access({"access_keys": str(file)})
    assert notes == [f"{file} can be read by every user of this machine: chmod 600 it"]


def test_keys_that_cannot_be_used_name_their_source(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^PENSTOCK_ACCESS_KEYS, key 1: expected id:secret"):
        access(environ={"PENSTOCK_ACCESS_KEYS": "s3cret"})
    with pytest.raises(SettingError, match=r"^--access-keys: cannot read .*: No such file"):
        access({"access_keys": str(tmp_path / "none")})


def test_keys_are_no_setting_that_is_listed_at_the_start(file: Path) -> None:
    chosen = settings.resolve({}, KEYS, Project(Path("pyproject.toml"), {}))
    assert chosen.not_flags() == []


def test_without_botocore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(self: Access) -> None:
        raise ImportError("botocore")

    monkeypatch.setattr(Access, "prepare", prepare)
    with pytest.raises(CommandError, match=r"pip install 'penstock\[serve\]'"):
        access(environ=KEYS)


def test_without_keys_botocore_is_not_imported() -> None:
    import subprocess

    code = (
        "import sys; from penstock.cli import keys, settings; from penstock.cli.project import Project;"
        "from pathlib import Path; chosen = settings.resolve({}, {}, Project(Path('p'), {}));"
        "keys.access(chosen, {}, 'us-east-1'); print('botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
