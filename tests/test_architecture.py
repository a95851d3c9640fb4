"""The shape of the code, as tests: what may import what, what is named how, what is where."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from penstock import hosting
from tests.serving import ROOT

SOURCE_ROOTS = [ROOT / name for name in ("core", "adapters", "plugins", "client")]
CLIENT = "penstock_client"
"""The client library is a code base of its own: its errors are named like the server's, on purpose."""

RECORDS_OF_THE_SCHEDULER = {
    "penstock.scheduler.jobs",
    "penstock.scheduler.lanes",
    "penstock.scheduler.pools",
    "penstock.scheduler.queues",
}
"""The only modules whose annotations may refer to each other in a circle; ``jobs.py`` has the reason."""

SAME_EVERYWHERE = {"__init__", "__main__", "plugin"}
"""Stems that mean the same in each package: a plug-in's class is in its ``plugin.py``."""

MOST_CLASS_LINES = 250
LARGER_CLASSES: dict[str, str] = {}
"""The classes that may be larger, each with its reason."""
MOST_ROOT_MODULES = 10


def modules() -> dict[str, Path]:
    """Return every module of the source roots, by its dotted name."""
    found = {}
    for root in SOURCE_ROOTS:
        for path in sorted(path for init in root.glob("*/__init__.py") for path in init.parent.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports_of(name: str) -> Iterator[str]:
    """Yield the modules that a module imports, in annotations and functions too."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = set()
            while node not in component:
                component.add(stack.pop())
            if len(component) > 1:
                found.append(component)

    for node in edges:
        if node not in index:
            visit(node)
    return found


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for name, tree in TREES.items():
        yield from ((name, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def repeated(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that stand for several things, each with where it is used."""
    places = defaultdict(list)
    for name, place in names:
        places[name].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


# ---- imports


def test_no_import_goes_in_a_circle() -> None:
    """Annotations and lazy imports included; the scheduler's records alone may refer to each other."""
    # The package's own __init__ imports the engine when it is asked for, and everything imports the package.
    edges = {name: set(imports_of(name)) - {"penstock"} for name in MODULES}
    assert [component for component in circles(edges) if not component <= RECORDS_OF_THE_SCHEDULER] == []


def test_imports_do_not_hide_from_the_reader() -> None:
    """``TYPE_CHECKING`` is for what must not be loaded, or would be circular; each such place says why."""
    unexplained = []
    for name, path in MODULES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                around = lines[node.lineno - 2 : node.end_lineno]
                if not any("#" in line for line in around):
                    unexplained.append(f"{name}:{node.lineno}")
    assert unexplained == []


WORKER = """
import sys
import penstock, penstock.worker.program, penstock.worker.process.worker_main, penstock.worker.process.zygote
import penstock.worker.runtimes.trio_runtime
parts = ("penstock.engine", "penstock.scheduler", "penstock.hooks")
print([name for name in sys.modules if name.startswith(parts)])
"""


def test_a_worker_loads_neither_engine_nor_scheduler() -> None:
    """``import penstock``, and everything that a worker needs, leave them unloaded: less memory, quicker starts."""
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_engine_is_still_in_the_package() -> None:
    """``penstock.Engine`` and its openers are imported when they are first asked for, and are listed."""
    program = "import penstock; print(penstock.Engine.__module__, {*penstock.__all__} <= {*dir(penstock)})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "penstock.engine.engine True"


def test_adapters_have_what_they_need_and_no_more() -> None:
    """Each name of ``penstock.hosting`` is used by an adapter: a surface that is not used is a promise for nothing."""
    adapters = [
        TREES[name]
        for name in MODULES
        if name.startswith(("penstock_falcon", "penstock_gunicorn", "penstock_grpc", "penstock_cli"))
    ]
    imported = {
        alias.name
        for tree in adapters
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "penstock.hosting"
        for alias in node.names
    }
    assert imported == set(hosting.__all__)


# ---- names


def test_no_two_classes_share_a_name() -> None:
    """One name for one thing: a reader who searches for a class finds one, in the server and in the client."""
    assert repeated((node.name, name) for name, node in classes() if not name.startswith(CLIENT)) == {}
    assert repeated((node.name, name) for name, node in classes() if name.startswith(CLIENT)) == {}


def test_no_two_modules_share_a_name() -> None:
    """A tab in an editor shows the file's name alone."""
    named = [(path.stem, name) for name, path in MODULES.items() if path.stem not in SAME_EVERYWHERE]
    shared = {"errors"}  # the server's and the client's, which have the same tree
    repetitions = repeated(named)
    assert repetitions.keys() <= shared, repetitions


@pytest.mark.parametrize("module", ["asgi", "wsgi"])
def test_a_function_is_not_a_module_too(module: str) -> None:
    """``penstock_falcon.asgi`` is the function, whichever way it is imported."""
    assert f"penstock_falcon.{module}" not in MODULES


# ---- shape


def test_the_root_of_the_core_is_small() -> None:
    """A newcomer sees the packages, and a handful of modules beside them."""
    root = ROOT / "core" / "penstock"
    assert len([path for path in root.glob("*.py") if path.stem != "__init__"]) <= MOST_ROOT_MODULES


def test_no_class_is_a_heap() -> None:
    """A class stays under 250 lines, unless there is a reason."""
    large = {
        node.name: lines
        for _, node in classes()
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_CLASS_LINES
    }
    assert large.keys() <= LARGER_CLASSES.keys(), large


def test_tests_mirror_the_packages() -> None:
    """The tests of a package are in the folder of its name, so that they are found without searching."""
    expected = {"core": ROOT / "core" / "penstock", "adapters": ROOT / "adapters", "plugins": ROOT / "plugins"}
    for folder, source in expected.items():
        packages = {path.parent.name.removeprefix("penstock_") for path in source.glob("*/__init__.py")}
        tested = {path.name for path in (ROOT / "tests" / folder).iterdir() if path.is_dir() and path.name[0] != "_"}
        assert tested == packages
