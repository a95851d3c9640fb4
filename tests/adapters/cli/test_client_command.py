"""``penstock client``: the module of a typed client, whatever the endpoints are called and take."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import penstock_client
from penstock import App
from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from penstock_cli.client_module import MARK, client_module
from penstock_cli.client_operations import TAKEN, class_name, python_name
from tests.core.openapi import zoo_app
from tests.serving import ROOT, write_app

CLASHES = '''
    """A module with a \\\\ and a \\"\\"\\" in its text."""

    from collections.abc import Iterator

    import msgspec

    from penstock import App

    app = App(__name__, title='My "odd" app; v2')


    class MyOddAppV2Client(msgspec.Struct):
        call: int


    class Any(msgspec.Struct):
        x: int


    class Struct(msgspec.Struct):
        y: int


    class Result(msgspec.Struct):
        z: int


    @app.endpoint("/call")
    def call(class_: str, self_: int = 1) -> MyOddAppV2Client:
        """Call "me\\""""
        return MyOddAppV2Client(1)


    @app.endpoint("/class", name="class")
    def is_keyword(x: Any) -> list[Struct]:
        return []


    @app.endpoint("/list", name="list")
    def is_builtin(x: int) -> list[Result]:
        return []


    @app.endpoint("/a-b")
    def a_b(x: int) -> dict[str, Result]:
        return {}


    @app.endpoint("/a_b", name="a_b")
    def exact(y: str) -> dict[str, Result]:
        return {}


    @app.endpoint("/with/{timeout}/{body}", name="1st/thing")
    def first(timeout: str, body: str, self: int, headers: list[int]) -> str:
        return ""


    @app.endpoint("/found", method="GET")
    def found(path: str, headers: list[int] | None = None, query: int = 1) -> str | None:
        return path


    @app.endpoint("/stream", name="stream")
    def streaming(text: str) -> Iterator[Result]:
        yield Result(1)


    @app.endpoint("/_private", name="_private")
    def private(x: int) -> int:
        return x
'''


def module_of(app: App, command: str = "penstock client app") -> str:
    return client_module(json.loads(json.dumps(openapi_document(app, Registry(app=app)))), command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the clients of the zoo and of an app whose names are all taken."""
    folder = tmp_path_factory.mktemp("clients")
    write_app(folder, CLASHES, "clashes.py")
    assert run("clashes:app", "-o", "clashes_client.py", folder=folder).returncode == 0
    (folder / "zoo_client.py").write_text(module_of(zoo_app.app), encoding="utf-8")
    return folder


def run(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock_cli", "client", *arguments]
    environment = {**os.environ, **environ}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def check(*command: str | Path, folder: Path) -> str:
    words = [str(word) for word in command]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "client")}
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def methods_of(folder: Path, module: str, owner: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner]
    return {node.name: node for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


# ---- what type checkers say


MODULES = ["zoo_client.py", "clashes_client.py"]


def test_mypy_accepts_the_modules(folder: Path) -> None:
    """With --strict, and beside the source of the client."""
    assert check(sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", *MODULES, folder=folder) == ""


def test_pyright_accepts_the_modules(folder: Path) -> None:
    """In its usual mode. It runs offline, with the Node.js of a package."""
    settings = {"extraPaths": [str(ROOT / "client")], "include": MODULES}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    pyright = Path(sys.executable).with_name("pyright")
    assert check(pyright, "--pythonpath", sys.executable, folder=folder) == ""


def test_the_modules_are_formatted(folder: Path) -> None:
    """Imports are sorted, nothing is unused, and no line is too long."""
    ruff = Path(sys.executable).with_name("ruff")
    options = ["--isolated", "--no-cache", "--select", "E,F,I,UP", "--line-length", "120", "--target-version", "py311"]
    assert check(ruff, "check", *options, *MODULES, folder=folder) == ""


# ---- the same document, the same bytes


def test_the_module_is_the_same_in_every_process(folder: Path) -> None:
    """Whatever the hash seed; the command that generates it again is in it."""
    before = (folder / "clashes_client.py").read_text(encoding="utf-8")
    ran = run("clashes:app", "--output", "clashes_client.py", folder=folder, PYTHONHASHSEED="7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (folder / "clashes_client.py").read_text(encoding="utf-8") == before
    assert "penstock client clashes:app --output clashes_client.py" in before


def test_a_document_is_as_good_as_its_app(folder: Path) -> None:
    """From a file, the module differs in the command alone."""
    document = openapi_document(zoo_app.app, Registry(app=zoo_app.app))
    (folder / "zoo.json").write_text(json.dumps(document), encoding="utf-8")
    ran = run("zoo.json", folder=folder)
    expected = (folder / "zoo_client.py").read_text(encoding="utf-8")
    assert ran.stdout.replace("penstock client zoo.json", "penstock client app") == expected


# ---- names


def test_every_endpoint_has_a_method_of_both_clients(folder: Path) -> None:
    """Its name is that of the endpoint, as far as Python takes it."""
    names = {endpoint.name.replace("-", "_").replace("/", "_") for endpoint in zoo_app.app.endpoints}
    for owner in ("TheZooClient", "AsyncTheZooClient"):
        assert set(methods_of(folder, "zoo_client", owner)) == names


def test_names_that_are_taken_have_an_underscore(folder: Path) -> None:
    """Keywords, methods of the client, built-in types, and other endpoints; an exact name stays as it is."""
    found = methods_of(folder, "clashes_client", "MyOddAppV2Client_")
    assert list(found) == ["call_", "class_", "list_", "a_b_", "a_b", "n1st_thing", "found", "stream_", "private"]


def test_values_in_the_url_have_names_of_their_own(folder: Path) -> None:
    """A variable of the path that is called like another parameter has an underscore; those of a query are optional."""
    found = methods_of(folder, "clashes_client", "MyOddAppV2Client_")
    first, query = found["n1st_thing"].args, found["found"].args
    assert [each.arg for each in first.args] == ["self", "timeout_", "body_", "body"]
    assert [each.arg for each in query.kwonlyargs] == ["path", "headers_", "query", "timeout", "idempotency_key"]
    assert [default is None for default in query.kw_defaults] == [True, False, False, False, False]


def test_docstrings_are_kept(folder: Path) -> None:
    """An endpoint has its own, whatever is in it, and so has a class."""
    found = methods_of(folder, "clashes_client", "MyOddAppV2Client_")
    assert (ast.get_docstring(found["call_"]) or "").strip() == 'Call "me"'
    square = methods_of(folder, "zoo_client", "AsyncTheZooClient")["square"]
    assert ast.get_docstring(square) == "Square a number.\n\nIt is multiplied by itself."
    assert '"""An animal."""' in (folder / "zoo_client.py").read_text(encoding="utf-8")


SIGNATURES = {
    "square": "self, body: SquareInput, *, timeout: float | None=None, idempotency_key: str | None=None",
    "raw": "self, body: bytes | None=None, *, timeout: float | None=None, idempotency_key: str | None=None",
    "nothing": "self, *, timeout: float | None=None, idempotency_key: str | None=None",
    "photo": "self, *, content_type: str",
}
RETURNS = {
    "square": "_penstock.Result[float]",
    "herd": "_penstock.Result[Herd]",
    "raw": "_penstock.Result[bytes]",
    "maybe_raw": "_penstock.Result[None | bytes]",
    "nothing": "_penstock.Result[None]",
    "free": "_penstock.Result[_typing.Any]",
    "count": "_contextlib.AbstractContextManager[_penstock.EventStream[Animal]]",
    "tone": "_contextlib.AbstractContextManager[_penstock.EventStream[bytes]]",
}


def test_methods_take_what_the_endpoints_take(folder: Path) -> None:
    """A struct for JSON, bytes for bytes, nothing for nothing, and for a form the caller's own bytes."""
    found = methods_of(folder, "zoo_client", "TheZooClient")
    assert {name: ast.unparse(found[name].args) for name in SIGNATURES if name != "photo"} == {
        name: signature for name, signature in SIGNATURES.items() if name != "photo"
    }
    assert "body: bytes" in ast.unparse(found["photo"].args)
    assert "content_type: str" in ast.unparse(found["photo"].args)


def test_methods_return_what_the_endpoints_return(folder: Path) -> None:
    """A result with its type, or a context manager with the events of a stream."""
    found = methods_of(folder, "zoo_client", "TheZooClient")
    assert {name: ast.unparse(found[name].returns) for name in RETURNS} == RETURNS  # type: ignore[arg-type] # they have one


def test_the_methods_of_the_client_are_known() -> None:
    """An endpoint must not replace one of them; the generator works without the client library."""
    own = {name for kind in (penstock_client.Client, penstock_client.AsyncClient) for name in dir(kind)}
    assert {name for name in own if not name.startswith("_")} <= TAKEN


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a-b", "a_b"),
        ("class", "class_"),
        ("call", "call_"),
        ("1st", "n1st"),
        ("é", "é"),
        ("_x", "x"),
        ("-", "unnamed"),
    ],
)
def test_a_name_is_made_for_python(text: str, name: str) -> None:
    """The same name a second time has a number."""
    taken = set(TAKEN)
    assert python_name(text, taken) == name
    assert name.isidentifier()
    assert python_name(text, taken) not in {name, *TAKEN}


def test_a_class_has_a_name_in_capitals() -> None:
    """Words are joined."""
    assert [class_name(text) for text in ("my_app.v2", "1 app", "moods client")] == ["MyAppV2", "N1App", "MoodsClient"]


def test_an_app_without_endpoints_has_a_client() -> None:
    """It has the methods of any client."""
    assert "class EmptyClient(_penstock.Client, schema=_SCHEMA):" in module_of(App("empty"))


def test_a_document_of_another_server_will_do() -> None:
    """Without digests, nothing is sent or compared; a response may be a reference."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "other"},
        "paths": {
            "/add/{n}": {
                "parameters": [],
                "put": {
                    "parameters": [{"in": "path", "name": "n", "required": True, "schema": {"type": "integer"}}],
                    "responses": {"201": {"$ref": "#/components/responses/Done"}},
                },
            }
        },
        "components": {"responses": {"Done": {"content": {"text/plain": {"schema": {"type": "string"}}}}}},
    }
    source = client_module(document, "penstock client other.json")
    assert "SchemaDigests" not in source
    assert "def put_add_n(" in source
    assert "self, n: int, *," in source
    assert 'self.endpoint("add/{n}", None, str, method="PUT")' in source


# ---- mistakes


def refusal(*arguments: str, folder: Path) -> str:
    ran = run(*arguments, folder=folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    return " ".join(ran.stderr.split())


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    """A module that the command has written is, and so is an empty file."""
    write_app(tmp_path, CLASHES, "clashes.py")
    (tmp_path / "mine.py").write_text("x = 1\n", encoding="utf-8")
    assert "mine.py exists, and was not written by penstock client" in refusal(
        "clashes:app", "-o", "mine.py", folder=tmp_path
    )
    assert (tmp_path / "mine.py").read_text(encoding="utf-8") == "x = 1\n"
    (tmp_path / "empty.py").touch()
    for _ in range(2):
        assert run("clashes:app", "-o", "empty.py", folder=tmp_path).returncode == 0
    assert MARK in (tmp_path / "empty.py").read_text(encoding="utf-8").partition("\n")[0]


DOCUMENTS: dict[str, Any] = {
    "[]": "is not an OpenAPI document",
    "{": "is not an OpenAPI document",
    "{}": "is not an OpenAPI document that a client can be made from: KeyError: 'paths'",
    '{"paths": {"/a": {"get": {}}}}': "is not an OpenAPI document that a client can be made from",
}


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_file_that_is_not_a_document_is_named(tmp_path: Path, text: str) -> None:
    """With the reason, and no traceback."""
    (tmp_path / "api.json").write_text(text, encoding="utf-8")
    message = refusal("api.json", folder=tmp_path)
    assert "api.json" in message
    assert DOCUMENTS[text] in message


def test_a_file_or_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere, a port on which nothing listens, a folder that is missing."""
    assert "api.json cannot be read: No such file or directory" in refusal("api.json", folder=tmp_path)
    assert "http://127.0.0.1:9/openapi.json cannot be read" in refusal("http://127.0.0.1:9", folder=tmp_path)
    write_app(tmp_path, CLASHES, "clashes.py")
    assert "missing/client.py cannot be written" in refusal("clashes:app", "-o", "missing/client.py", folder=tmp_path)


@pytest.mark.parametrize("module", ["black", "datamodel_code_generator"])
def test_a_missing_package_has_its_fix(tmp_path: Path, module: str) -> None:
    """The message names it, and the extra that brings it."""
    write_app(tmp_path, CLASHES, "clashes.py")
    hide = f"import sys; sys.modules[{module!r}] = None"
    (tmp_path / "hidden.py").write_text(
        f"{hide}\nfrom penstock_cli.main import cli\ncli(['client', 'clashes:app'], prog_name='penstock')\n", "utf-8"
    )
    ran = subprocess.run(
        [sys.executable, "hidden.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"penstock client needs {module.replace('_', '-')}, which is not installed" in " ".join(ran.stderr.split())
    assert "pip install 'penstock[client]'" in " ".join(ran.stderr.split())
