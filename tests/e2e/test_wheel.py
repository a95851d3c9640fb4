"""The wheel: built, installed into an empty environment outside the checkout, and served from there."""

from __future__ import annotations

import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.openapi.page_routes import page_routes
from tests.installing import build_penstock, run
from tests.serving import ROOT, Served, write_app

# Dependencies come from the index, or from pip's cache; either may be slow once.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOTS = [ROOT / name for name in ("core", "adapters", "plugins")]
PACKAGES = {path.parent.name for root in ROOTS for path in root.glob("*/__init__.py")}
APP = """
    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/where")
    def where() -> list[str]:
        import sys

        import penstock
        unwanted = {"click", "rich", "falcon", "gunicorn", "pydantic", "numpy", "limits", "prometheus_client"}
        return [penstock.__file__, *sorted(unwanted & set(sys.modules))]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_penstock(tmp_path_factory.mktemp("source") / "penstock")


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, in the versions that the suite runs with."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    pins = ROOT / "requirements" / "runtime.txt"
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    run(*pip, "--constraint", pins, wheel, folder=folder)
    return folder


@pytest.fixture(scope="module")
def installed(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of that environment, in a folder that has nothing but an app in it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    served = Served(write_app(folder, APP, "demo.py").name, folder=folder, environment={"PYTHONPATH": ""})
    served.command[:3] = [str(environment / "bin" / "penstock")]
    with served:
        yield served
        assert served.stop() == 0
        assert served.survivors() == []


def test_the_wheel_has_every_package_and_nothing_else(wheel: Path) -> None:
    """The packages with their ``py.typed``, the API page, the metadata, the licence; no test, no example."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    modules = {str(path.relative_to(root)) for root in ROOTS for path in root.rglob("*.py")}
    assert modules <= set(names)
    page = ROOT / "core" / "penstock" / "openapi" / "page"
    assert {f"penstock/openapi/page/{file.name}" for file in page.iterdir()} <= set(names)
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_installed_command_serves(installed: Served) -> None:
    """An app outside the checkout is served by the wheel's own code."""
    assert installed.post_json("/square", {"input": 4.0}).json() == 16.0


def test_the_installed_page_is_complete(installed: Served) -> None:
    """The files of the API page are served from the wheel."""
    assert {installed.get(route.path).status for route in page_routes()} == {200}


def test_a_worker_imports_no_server_and_nothing_optional(installed: Served, environment: Path) -> None:
    """A worker of an installed Penstock has its core, and none of what the command line and HTTP need."""
    path, *imported = installed.post_json("/where", {}).json()
    assert Path(path).is_relative_to(environment)
    assert imported == []


def test_the_installed_command_knows_its_version(environment: Path, tmp_path: Path) -> None:
    """``penstock --version`` says what was installed."""
    said = run(environment / "bin" / "penstock", "--version", folder=tmp_path)
    assert said.startswith("penstock, version 0.")
