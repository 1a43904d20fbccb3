import importlib.util
import inspect
import io
import json
import os
import pickle
import sys
import textwrap
import zipfile

import pytest

from penstock.runtime import lazyio
from penstock.runtime.errors import RuntimeFault, error_document, log_text
from penstock.runtime.handler import load


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A task root; what was imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield Root(tmp_path)
    for name in set(sys.modules) - before:
        del sys.modules[name]


class Root:
    def __init__(self, path):
        self.path = path

    def __str__(self):
        return str(self.path)

    def write(self, name, source):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return str(path)


HANDLER = "def handler(event, context):\n    return event\n"


@pytest.mark.parametrize(
    ("file", "name", "module"),
    [
        ("app.py", "app.handler", "app"),
        ("pkg/__init__.py", "pkg.handler", "pkg"),
        ("src/deep/app.py", "src/deep/app.handler", "src.deep.app"),
        ("src/deep/app.py", "src.deep.app.handler", "src.deep.app"),
        ("src/deep/app.py", "src.deep/app.handler", "src.deep.app"),
    ],
)
@pytest.mark.parametrize("source", [HANDLER, "import io\n" + HANDLER], ids=["plain", "io"])
def test_names(root, file, name, module, source):
    path = root.write(file, source)
    handler = load(name, str(root))
    assert handler(5, None) == 5
    loaded = sys.modules[module]
    assert handler is loaded.handler
    assert (loaded.__name__, loaded.__file__, loaded.__spec__.name) == (module, path, module)
    assert loaded.__package__ == (module if file.endswith("__init__.py") else module.rpartition(".")[0])
    assert loaded.__loader__ is loaded.__spec__.loader
    assert type(loaded.__loader__).__name__ == "SourceFileLoader"
    assert loaded.__spec__.origin == path
    assert inspect.getsource(handler) == HANDLER
    assert sys.path[0] == str(root)
    assert load(name, str(root)) is handler
    assert sys.path.count(str(root)) == 1


def test_handlers_of_any_kind(root):
    root.write(
        "app.py",
        """
        import functools
        class Handler:
            def __call__(self, event, context):
                return "object"
        handler = Handler()
        partial = functools.partial(lambda word, event, context: word, "partial")
        async def coroutine(event, context):
            yield
        def __getattr__(name):
            if name == "late":
                return lambda event, context: "late"
            raise AttributeError(name)
        """,
    )
    assert load("app.handler", str(root))(None, None) == "object"
    assert load("app.partial", str(root))(None, None) == "partial"
    assert load("app.late", str(root))(None, None) == "late"
    assert callable(load("app.coroutine", str(root)))


SOURCES = {
    "app.py": HANDLER
    + "number = 5\nclass Thing: pass\ndef _hidden(): pass\nimport os\nfrom os.path import join\n",
    "empty.py": "",
    "needs.py": "import a_module_that_is_not_there\n",
    "takes.py": "from os import a_name_that_is_not_there\n",
    "wrong.py": "def handler(:\n    pass\n",
    "deeper.py": "import wrong\n",
    "raises.py": "def fail():\n    raise ValueError('at import')\nfail()\n",
    "raises_io.py": "import io\n1/0\n",
    "folder/app.py": "from . import missing\n",
}
IMPORT, SYNTAX, NOT_FOUND = (
    "Runtime.ImportModuleError",
    "Runtime.UserCodeSyntaxError",
    "Runtime.HandlerNotFound",
)
MALFORMED, BUILT_IN = "Runtime.MalformedHandlerName", "Runtime.BuiltInModuleConflict"
FAULTS = [
    ("app", MALFORMED, "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
    ("", MALFORMED, "Bad handler '': not enough values to unpack (expected 2, got 1)"),
    ("sys.handler", BUILT_IN, "Cannot use built-in module sys as a handler module"),
    ("time.x.y", BUILT_IN, "Cannot use built-in module time.x as a handler module"),
    ("nowhere.handler", IMPORT, "Unable to import module 'nowhere': No module named 'nowhere'"),
    ("no/where.handler", IMPORT, "Unable to import module 'no/where': No module named 'no'"),
    ("app.Thing.handler", IMPORT, "Unable to import module 'app.Thing': No module named 'app.Thing'"),
    ("needs.handler", IMPORT, "Unable to import module 'needs': No module named 'a_module_that_is"),
    ("takes.handler", IMPORT, "Unable to import module 'takes': cannot import name 'a_name_that_is"),
    ("folder/app.handler", IMPORT, "Unable to import module 'folder/app': cannot import name 'missing'"),
    ("wrong.handler", SYNTAX, "Syntax error in module 'wrong': "),
    ("deeper.handler", SYNTAX, "Syntax error in module 'deeper': "),
    ("app.main", NOT_FOUND, "Handler 'main' missing on module 'app'"),
    ("app.", NOT_FOUND, "Handler '' missing on module 'app'"),
    ("folder.x", NOT_FOUND, "Handler 'x' missing on module 'folder'"),
]


@pytest.mark.parametrize(("name", "error_type", "message"), FAULTS, ids=[case[0] for case in FAULTS])
def test_faults_are_those_of_aws(root, name, error_type, message):
    for file, source in SOURCES.items():
        root.write(file, source)
    with pytest.raises(RuntimeFault) as ours:
        load(name, str(root))
    assert ours.value.error_type == error_type
    assert str(ours.value).startswith(message)

    bootstrap = pytest.importorskip("awslambdaric.bootstrap")
    for file in SOURCES:
        sys.modules.pop(file.removesuffix(".py").replace("/", "."), None)
    with pytest.raises(bootstrap.FaultException) as theirs:
        bootstrap._get_handler(name)
    assert theirs.value.exception_type == error_type
    if error_type == "Runtime.HandlerNotFound":
        assert str(ours.value).startswith(theirs.value.msg)
    else:
        assert str(ours.value) == theirs.value.msg
    assert json.loads(error_document(ours.value)[1])["stackTrace"] == (theirs.value.trace or [])


def test_a_module_below_a_folder_is_told_of(root):
    root.write("seed/app.py", HANDLER)
    with pytest.raises(RuntimeFault) as raised:
        load("app.handler", str(root))
    assert str(raised.value) == (
        "Unable to import module 'app': No module named 'app'"
        " (there is seed/app.py: zip what is in seed, not seed itself)"
    )


def test_what_was_found_is_listed(root):
    path = root.write("app.py", SOURCES["app.py"])
    with pytest.raises(RuntimeFault) as error:
        load("app.main", str(root))
    assert str(error.value) == f"Handler 'main' missing on module 'app' ({path}; found: handler, Thing)"
    root.write("empty.py", "")
    with pytest.raises(RuntimeFault, match="found: no function"):
        load("empty.main", str(root))
    with pytest.raises(RuntimeFault, match="'number' on module 'app' is of type int, which cannot be called"):
        load("app.number", str(root))


def test_a_module_of_pythons_own_is_named(root):
    root.write("json.py", HANDLER)
    with pytest.raises(RuntimeFault) as error:
        load("json.handler", str(root))
    assert json.__file__ in str(error.value)


@pytest.mark.parametrize("name", ["raises", "raises_io"])
def test_other_errors_of_the_module_are_its_own(root, name):
    path = root.write(f"{name}.py", SOURCES[f"{name}.py"])
    with pytest.raises((ValueError, ZeroDivisionError)) as error:
        load(f"{name}.handler", str(root))
    frames = json.loads(error_document(error.value.with_traceback(error.value.__traceback__.tb_next))[1])
    assert frames["stackTrace"][0].startswith(f'  File "{path}", line')
    assert name not in sys.modules
    assert not any(type(finder).__module__.startswith("penstock") for finder in sys.meta_path)


def test_the_log_of_an_import_error_shows_the_functions_own_frames(root):
    path = root.write("needs.py", "import io\n\nimport a_module_that_is_not_there\n")
    with pytest.raises(RuntimeFault) as error:
        load("needs.handler", str(root))
    fault = error.value
    fault.__cause__.__traceback__ = fault.__cause__.__traceback__.tb_next
    assert log_text(fault).split("\n") == [
        "[ERROR] Runtime.ImportModuleError: Unable to import module 'needs': "
        "No module named 'a_module_that_is_not_there'",
        "Traceback (most recent call last):",
        f'  File "{path}", line 3, in <module>',
        "    import a_module_that_is_not_there",
    ]


def test_leaving_at_import_passes(root):
    root.write("leaves.py", "import sys\nsys.exit(3)\n")
    with pytest.raises(SystemExit):
        load("leaves.handler", str(root))


def test_relative_and_circular_imports_pickles_and_dataclasses(root):
    root.write("pkg/__init__.py", "")
    root.write("pkg/helper.py", "from . import app\nimport io\nclass Genuine(io.StringIO): pass\n")
    root.write(
        "pkg/app.py",
        """
        from __future__ import annotations
        import io
        from dataclasses import dataclass
        from . import helper
        from .helper import Genuine

        @dataclass
        class Point:
            x: int

        def handler(event, context):
            return Point(event)
        """,
    )
    handler = load("pkg/app.handler", str(root))
    point = handler(5, None)
    assert pickle.loads(pickle.dumps(point)) == point
    loaded = sys.modules["pkg.app"]
    assert sys.modules["pkg"].app is loaded
    assert loaded.helper.app is loaded
    assert loaded.io.StringIO is lazyio.StringIO
    assert loaded.helper.io is io
    assert importlib.reload(loaded) is loaded
    assert loaded.io.StringIO is lazyio.StringIO


def test_a_module_its_own_package_imports_is_covered(root):
    root.write("pkg/__init__.py", "from .app import handler\nimport io\n")
    root.write("pkg/app.py", "from io import StringIO\n" + HANDLER)
    load("pkg.app.handler", str(root))
    assert sys.modules["pkg.app"].StringIO is lazyio.StringIO
    assert sys.modules["pkg"].io is io


@pytest.mark.parametrize(
    "line",
    [
        "import io",
        "import os,io",
        "import os, \\\nio",
        "import\tio",
        "from io import StringIO",
        "if True: import io",
    ],
)
def test_a_module_that_imports_io_has_builtins_of_its_own(root, line):
    root.write("app.py", f"{line}\n{HANDLER}")
    handler = load("app.handler", str(root))
    assert handler.__builtins__["__import__"] is lazyio.import_for_handler


def test_other_modules_are_left_as_they_are(root):
    root.write("app.py", "import os, json\nfrom collections import *\n" + HANDLER)
    handler = load("app.handler", str(root))
    assert handler.__builtins__["__import__"] is __import__


def test_compiled_and_zipped_modules(root):
    import py_compile

    source = root.write("source.py", "import io\n" + HANDLER)
    py_compile.compile(source, cfile=os.path.join(str(root), "compiled.pyc"))
    archive = os.path.join(str(root), "code.zip")
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(source, "zipped.py")
    load("compiled.handler", str(root))
    load("zipped.handler", archive)
    for name in ("compiled", "zipped"):
        assert sys.modules[name].io.StringIO is lazyio.StringIO
        assert sys.modules[name].__loader__ is sys.modules[name].__spec__.loader


def test_hooks_of_other_tools_still_run(root):
    """Tracers wrap the loaders they are given by the other finders."""
    from importlib.machinery import PathFinder

    ran = []

    class Loader:
        def __init__(self, genuine):
            self.genuine = genuine

        def __getattr__(self, name):
            return getattr(self.genuine, name)

        def exec_module(self, module):
            self.genuine.exec_module(module)
            ran.append(module.__name__)

    class Finder:
        def find_spec(self, name, path=None, target=None):
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and name == "app":
                spec.loader = Loader(spec.loader)
            return spec

    sys.meta_path.insert(0, Finder())
    root.write("app.py", "import io\n" + HANDLER)
    load("app.handler", str(root))
    assert ran == ["app"]
    assert sys.modules["app"].io.StringIO is lazyio.StringIO


def test_a_loader_that_does_not_show_its_source(root):
    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            exec("import io\n" + HANDLER, vars(module))  # noqa: S102

    class Finder:
        def find_spec(self, name, path=None, target=None):
            return importlib.util.spec_from_loader(name, Loader(), origin="app.py") if name == "app" else None

    sys.meta_path.insert(0, Finder())
    load("app.handler", str(root))
    assert sys.modules["app"].io.StringIO is lazyio.StringIO
    assert isinstance(sys.modules["app"].__loader__, Loader)


def test_who_looks_the_module_up_meanwhile_sees_its_loader(root):
    path = root.write(
        "app.py",
        """
        import io
        import importlib.util
        source = importlib.util.find_spec("app").loader.get_data(__file__)
        import sys
        again = next(f for f in sys.meta_path if "penstock" in type(f).__module__).find_spec("app", None)
        source_again = again.loader.get_source("app")
        """
        + HANDLER.replace("\n", "\n        "),
    )
    load("app.handler", str(root))
    with open(path, "rb") as file:
        assert sys.modules["app"].source == file.read()
    assert sys.modules["app"].source_again == sys.modules["app"].source.decode()
