"""TARGET: every form people type, and what is said of the wrong ones."""

import errno
import sys
from pathlib import Path

import pytest

from penstock.cli.errors import TargetError
from penstock.cli.target import interpreter, resolve

HANDLER = "def lambda_handler(event, context): ...\n"


@pytest.fixture
def write(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def found(text, folder):
    return [(each.name, each.handler, each.root) for each in resolve(text, folder).functions]


BINDINGS = [
    "def handler(event, context): ...",
    "async def handler(event, context): ...",
    "handler = print",
    "handler: object = print",
    "one, (handler, *rest) = 1, (2, 3)",
    "from library import handler",
    "from library import main as handler",
    "import library as handler",
    "class handler: ...",
    "@wrapped\ndef handler(event, context): ...",
    "if True:\n    pass\nelse:\n    handler = print",
    "try:\n    import fast\nexcept ImportError:\n    handler = print",
    "try:\n    pass\nfinally:\n    handler = print",
    "with open(path) as file:\n    def handler(event, context): ...",
    "match 1:\n    case 1:\n        handler = print",
]


@pytest.mark.parametrize("source", BINDINGS)
def test_a_handler_is_whatever_is_bound_at_top_level(write, source):
    folder = write(app=source)
    assert found("app.py", folder) == [("app", "app.handler", folder)]


@pytest.mark.parametrize(
    "source",
    [
        "def other():\n    def handler(event, context): ...",
        "handler: object",
        "x.handler = 1",
        "handler == 1",
    ],
)
def test_what_is_not_bound_at_top_level_is_no_handler(write, source):
    folder = write(app=source)
    with pytest.raises(TargetError, match=r"^app.py: no handler: expected lambda_handler or handler"):
        resolve("app.py", folder)


def test_lambda_handler_goes_before_handler(write):
    folder = write(app="handler = lambda_handler = print")
    assert found("app.py", folder) == [("app", "app.lambda_handler", folder)]


def test_a_file_with_a_name(write):
    folder = write(src__api="def main(event, context): ...")
    assert found("src/api.py:main", folder) == [("api", "api.main", folder / "src")]
    assert resolve("src/api.py:main", folder).folder == folder / "src"


def test_a_module(write):
    folder = write(shop__api="from .core import main", shop__cart__core="")
    (folder / "shop/cart/__init__.py").write_text("def main(event, context): ...")
    assert found("shop.api:main", folder) == [("api", "shop.api.main", folder)]
    assert found("shop.cart:main", folder) == [("cart", "shop.cart.main", folder)]


def test_a_star_import_may_bind_any_name(write):
    folder = write(app="from library import *")
    assert found("app.py:main", folder) == [("app", "app.main", folder)]


def test_a_name_made_fit_for_a_function(tmp_path):
    (tmp_path / "my app+2.py").write_text(HANDLER)
    assert found("my app+2.py", tmp_path) == [("my-app-2", "my app+2.lambda_handler", tmp_path)]


def test_the_current_folder_is_the_default(write):
    folder = write(handler=HANDLER)
    assert found(None, folder) == [("handler", "handler.lambda_handler", folder)]


@pytest.mark.parametrize("first", ["app", "lambda_function", "handler", "main"])
def test_a_folder_gives_its_first_usual_file(write, first):
    usual = ["app", "lambda_function", "handler", "main"]
    files = {name: HANDLER if usual.index(name) >= usual.index(first) else "x = 1" for name in usual}
    folder = write(**files, other=HANDLER)
    assert found(".", folder) == [(first, f"{first}.lambda_handler", folder)]


def test_a_folder_without_a_usual_file_gives_every_file_with_a_handler(write):
    folder = write(csv=HANDLER, tool="x = 1", sse="async def handler(event, context): ...", sub__deep=HANDLER)
    assert [name for name, _, _ in found(".", folder)] == ["csv", "sse"]


def test_one_broken_file_does_not_keep_the_others_from_being_served(write):
    folder = write(good=HANDLER, broken="def")
    target = resolve(".", folder)
    assert [each.name for each in target.functions] == ["good"]
    assert target.notes == ("passed over: broken.py:1: syntax error: invalid syntax",)


def test_pyproject_names_the_target(write):
    folder = write(app=HANDLER, src__api="def main(event, context): ...")
    (folder / "pyproject.toml").write_text('[tool.penstock]\ntarget = "src/api.py:main"\n')
    assert found(".", folder) == [("api", "api.main", folder / "src")]
    assert resolve(".", folder).folder == folder, "settings are read where the target is named"


SAID = [
    ("nope.py", "'nope.py': no such file or folder; give a file.py, file.py:name, module:name or a folder"),
    ("app", "'app': no such file or folder; did you mean app.py?"),
    ("app.main", "'app.main': no such file or folder; for a handler by its module write app:main"),
    ("no.py:main", "'no.py': no such file or folder; give a file.py, file.py:name, module:name or a folder"),
    ("app.py:main", "app.py: 'main' is not bound at top level; it binds lambda_handler"),
    ("app.py:", "'app.py:': expected the name of a handler after the colon, got ''"),
    ("empty.py", "empty.py: no handler: expected lambda_handler or handler at top level, it binds no name; "
     "name another as empty.py:name"),
    ("broken.py", "broken.py:2: syntax error: '(' was never closed"),
    ("notes.txt", "'notes.txt' is not a Python file: expected a name that ends in .py"),
    ("app.v2.py", "app.v2.py: a module's name cannot hold a dot; rename the file"),
    ("app:main", "module 'app': 'main' is not bound at top level; it binds lambda_handler"),
    ("nope:main", "no module 'nope' in the current folder: looked for nope.py and nope/__init__.py"),
    ("no-pe:main", "'no-pe:main': expected a file.py or a module's name before the colon"),
    ("bare", "no handler in folder 'bare': no file binds lambda_handler or handler at top level "
     "(seen: one.py, two.py); name one as file.py:name"),
    ("void", "no handler in folder 'void': no file binds lambda_handler or handler at top level "
     "(it holds no .py file); name one as file.py:name"),
    ("onlybroken", "onlybroken/x.py:1: syntax error: invalid syntax"),
    ("clash", "clash/a b.py and clash/a-b.py would both be function 'a-b'; rename one, "
     "or name one file as TARGET"),
    ("wrongkey", "wrongkey/pyproject.toml [tool.penstock] target: 'gone.py': no such file or folder; "
     "give a file.py, file.py:name, module:name or a folder"),
    ("badtoml", "badtoml/pyproject.toml: Invalid value (at end of document)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), SAID)
def test_what_is_said_of_a_wrong_target(tmp_path, monkeypatch, text, said):
    for name, data in {
        "app.py": HANDLER,
        "empty.py": "",
        "broken.py": "x = 1\ny = (",
        "notes.txt": "",
        "app.v2.py": HANDLER,
        "bare/one.py": "x = 1",
        "bare/two.py": "",
        "void/notes.txt": "",
        "onlybroken/x.py": "def",
        "clash/a b.py": HANDLER,
        "clash/a-b.py": HANDLER,
        "wrongkey/pyproject.toml": '[tool.penstock]\ntarget = "gone.py"',
        "badtoml/pyproject.toml": "[tool.penstock]\ntarget = ",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole text is compared
        resolve(text, Path())
    assert str(raised.value) == said


@pytest.mark.parametrize("data", [b"x = '\xff'\n", b"# coding: nonsense\n", b"x\0", b"(" * 20_000])
def test_a_file_that_is_no_source(tmp_path, data):
    (tmp_path / "app.py").write_bytes(data)
    with pytest.raises(TargetError, match=r"\Aapp.py:?\d*: syntax error: .+\Z|\Acannot read app.py: .+\Z"):
        resolve("app.py", tmp_path)


def test_a_file_that_may_not_be_read(write, monkeypatch):
    folder = write(app=HANDLER)

    def read_bytes(path):  # not by its mode: tests may run as root, who reads everything
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(TargetError, match=r"^cannot read app.py: Permission denied$"):
        resolve("app.py", folder)


def test_a_folder_named_like_a_file(tmp_path):
    (tmp_path / "app.py").mkdir()
    with pytest.raises(TargetError, match=r"is a folder: name a file in it"):
        resolve("app.py:main", tmp_path)


def test_a_warning_in_the_source_is_not_ours_to_give(write):
    folder = write(app="pattern = '\\d'\nhandler = print")
    assert found("app.py", folder) == [("app", "app.handler", folder)]


def make_executable(path):
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_interpreter_is_the_one_asked_for(tmp_path):
    python = make_executable(tmp_path / "bin" / "python3.99")
    assert interpreter(str(python), tmp_path, {}) == str(python)
    assert interpreter("python3.99", tmp_path, {"PATH": str(python.parent)}) == str(python)


def test_the_interpreter_is_the_target_s_else_the_shell_s_else_ours(tmp_path):
    shell = make_executable(tmp_path / "shell" / "bin" / "python")
    environ = {"VIRTUAL_ENV": str(tmp_path / "shell")}
    assert interpreter(None, tmp_path, {}) == sys.executable
    assert interpreter(None, tmp_path, environ) == str(shell)
    own = make_executable(tmp_path / ".venv" / "bin" / "python")
    assert interpreter(None, tmp_path, environ) == str(own)


def test_an_interpreter_that_is_not_there(tmp_path):
    with pytest.raises(TargetError, match=r"^--python '/nope': no such program, or it is not executable$"):
        interpreter("/nope", tmp_path, {})
