"""[tool.penstock] of a pyproject.toml."""

import pytest

from penstock.cli.errors import ProjectError
from penstock.cli.project import read_project


def test_no_file_and_no_table_are_an_empty_table(tmp_path):
    assert read_project(tmp_path).table == {}
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert read_project(tmp_path).table == {}


def test_the_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.penstock]\nport = 1\n")
    assert read_project(tmp_path).table == {"port": 1}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[tool.penstock\n", "Expected ']' at the end of a table declaration"),
        (b"[tool]\npenstock = 1\n", "tool.penstock: expected a table, got 1"),
        (b"[tool.penstock]\nx = '\xff'\n", "can't decode byte 0xff"),
    ],
)
def test_a_bad_file(tmp_path, data, said):
    path = tmp_path / "pyproject.toml"
    path.write_bytes(data)
    with pytest.raises(ProjectError) as raised:
        read_project(tmp_path)
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)


def test_a_file_of_others_is_not_judged(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[not toml")
    assert read_project(tmp_path).table == {}
