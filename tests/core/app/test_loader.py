from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from penstock.app import App
from penstock.app.loader import AppReached, load, load_app, loading, reached
from penstock.app.manifest import DisagreementError, Manifest
from penstock.errors import DeclarationError
from penstock.wire import Load

EMPTY = "from penstock.app import App\nservice = App(__name__)\n"
ONE = EMPTY + 'service.endpoint("/same")(lambda x: x)\n'
TWO = ONE + "second = App(__name__)\n"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Run each test in a current folder of its own, and leave no module behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(name: str, source: str) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    return path


@pytest.mark.parametrize(
    "target", ["one_app", "one_app:service", "one_app.py", "one_app.py:service", "script:one_app.py#service"]
)
def test_targets(target):
    """An app is found by module, by file and by script, by its name or as the only one in it."""
    write("one_app.py", ONE)
    assert isinstance(load_app(target), App)


def test_an_app_without_endpoints_is_refused():
    """An app that serves nothing is a mistake, most often of where the endpoints are."""
    write("one_app.py", EMPTY)
    with pytest.raises(DeclarationError, match=r"one_app: the app has no endpoints; write @app\.endpoint"):
        load_app("one_app")


def test_file_in_another_folder():
    """A file's own folder is on the module path."""
    write("deep/neighbour_of_app.py", ONE)
    write("deep/app_with_neighbour.py", "from neighbour_of_app import service\n")
    assert load_app("deep/app_with_neighbour.py").import_name == "neighbour_of_app"
    assert sys.modules["app_with_neighbour"].service is sys.modules["neighbour_of_app"].service


@pytest.mark.parametrize("target", ["one_app", "deep/one_app.py"])
def test_module_path(target):
    """The user's folders come after the standard library, and ahead of installed packages."""
    write("deep/one_app.py", ONE)
    write("one_app.py", ONE)
    sys.path.insert(0, "/of/PYTHONPATH")
    load_app(target)
    standard = sys.path.index(str(Path(os.__file__).parent))
    packages = next(i for i, folder in enumerate(sys.path) if folder.endswith("-packages"))
    for folder in ("/of/PYTHONPATH", str(Path.cwd() / Path(target).parent)):
        assert standard < sys.path.index(folder) < packages


def test_file_named_like_a_standard_module():
    """A file that has the name of a standard module, imported so far or not, is not an app's: rename it."""
    for name in ("queue", "this"):
        write(f"{name}.py", ONE)
        with pytest.raises(DeclarationError, match=f"'{name}', but that is another module; rename"):
            load_app(f"{name}.py")


def test_loading_twice():
    """A file that has been imported is not imported again."""
    write("one_app.py", ONE)
    assert load_app("one_app.py") is load_app("./one_app.py:service")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("one_ap", "no module 'one_ap'.*did you mean 'one_app'"),
        ("one_ap.py", "no file .*one_ap.py; did you mean 'one_app.py'"),
        ("one_app:servise", "no attribute 'servise'; did you mean 'service'"),
        ("one_app:App", "is a type, not a penstock.App; did you mean 'service'"),
        ("two_apps", r"several apps \(second, service\): name one, for instance two_apps:second"),
        ("script:two_apps.py", "for instance script:two_apps.py#second"),
        ("no_app", "has no App at its top level"),
        (":service", "does not name an app"),
        ("json.py", "would be imported as 'json', but that is another module; rename the file"),
    ],
)
def test_mistakes(target, said):
    """The error for a wrong target has the cause and the fix."""
    write("one_app.py", ONE)
    write("two_apps.py", TWO)
    write("no_app.py", "x = 1\n")
    write("json.py", ONE)
    with pytest.raises(DeclarationError, match=f"(?s){said}"):
        load_app(target)


def test_a_file_of_a_package_is_loaded_as_a_module():
    """A file with relative imports cannot be run on its own; the message has the module to name instead."""
    write("of_a_package/__init__.py", "")
    write("of_a_package/service.py", "from .helper import help\n" + ONE)
    with pytest.raises(DeclarationError, match=r"loaded as of_a_package\.service, in the folder /.*") as raised:
        load_app("of_a_package/service.py")
    assert isinstance(raised.value.__cause__, ImportError)
    write("of_no_package.py", "from .helper import help\n" + ONE)
    with pytest.raises(DeclarationError, match="loaded as part of a package"):
        load_app("of_no_package.py")


def test_a_dot_in_place_of_the_colon():
    """Python's own separator is the first guess of a user."""
    write("one_dotted.py", ONE)
    with pytest.raises(DeclarationError, match=r"no module 'one_dotted\.service'.*did you mean 'one_dotted:service'\?"):
        load_app("one_dotted.service")


def test_missing_dependency_is_not_our_error():
    """A module that the user's module lacks is reported by Python, not treated as a wrong target."""
    write("lacking_app.py", "import module_that_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="module_that_nobody_has"):
        load_app("lacking_app")


def test_half_imported_file_is_forgotten():
    """A failed import leaves nothing behind that a second try would mistake for the app."""
    write("failing_app.py", ONE + "1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load_app("failing_app.py")


def test_annotations_of_a_script_stay_its_own():
    """A script is compiled without the ``__future__`` imports of the loader."""
    write("plain_script.py", ONE + "def f(x: int): ...\nassert f.__annotations__['x'] is int\n")
    load_app("script:plain_script.py")


def test_reached_names_the_app():
    """``reached`` raises an exception that carries the app, and does not start a load."""
    app = App(__name__)
    with pytest.raises(AppReached) as caught:
        reached(app)
    assert caught.value.app is app
    assert not loading.active


@pytest.mark.parametrize(("attribute", "found"), [("second", "second"), ("later", "first"), ("#none", "first")])
def test_the_wanted_app_is_found_where_another_is_opened(attribute: str, found: str) -> None:
    """A program that opens an engine for each of its apps stops at the first; the worker has the app that it is for."""
    source = """
from penstock.app import App
from penstock.app.loader import stop_if_loading

first, second = App(__name__), App(__name__)
first.settings, second.settings = "first", "second"
stop_if_loading(first)
later = App(__name__)
"""
    write("two_engines.py", source)
    assert load_app(f"script:two_engines.py#{attribute.removeprefix('#none')}").settings == found


def test_a_digest_is_required_of_the_app() -> None:
    """An app with another digest than the engine's is refused, with all that it declares; without a digest, none is."""
    write("one_app.py", ONE + "@service.endpoint('/x')\ndef x() -> None: ...\n")
    with pytest.raises(DisagreementError) as caught:
        load(Load("one_app.py", list(sys.path), ["prog"], "another"))
    assert caught.value.declared.endpoints["x"]["path"] == '"/x"'
    app = load(Load("one_app.py", list(sys.path), ["prog"]))
    assert load(Load("one_app.py", list(sys.path), ["prog"], Manifest.of(app).digest)) is app
