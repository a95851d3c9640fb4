"""The plug-in ``jobs`` finds its store by a setting, and says what is missing."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock import App, Jobs
from penstock.errors import PluginError
from penstock.hooks import hookimpl
from penstock.hooks.registry import Registry
from penstock.testing import MemoryJobStore
from penstock_jobs import PostgresJobStore, SqliteJobStore
from penstock_jobs.jobs_settings import JobsSettings
from tests.serving import ROOT


def app_with(store: str | None, *, plugins: Any = (), jobs: Jobs | None = None, **settings: Any) -> App:
    table = settings | ({} if store is None else {"store": store})
    app = App("demo", settings={"jobs": table}, plugins=plugins)

    @app.endpoint("/square", jobs=jobs or Jobs())
    def square(x: float) -> float:
        return x * x

    return app


def store_of(app: App, environ: dict[str, str] | None = None) -> Any:
    return Registry.load(app, environ=environ or {}).job_store(app)


def test_the_plug_in_is_off_without_a_store() -> None:
    """An endpoint that declares background jobs serves direct calls as ever."""
    app = app_with(None)
    assert store_of(app) is None
    assert Registry.load(app, environ={}).services(app) == []


def test_the_setting_names_the_store(tmp_path: Path) -> None:
    """A file, a database, or memory; none of them is opened."""
    file = tmp_path / "jobs.db"
    assert isinstance(store_of(app_with(f"sqlite:///{file}")), SqliteJobStore)
    assert isinstance(store_of(app_with("postgresql://penstock@127.0.0.1/none")), PostgresJobStore)
    assert isinstance(store_of(app_with("memory:")), MemoryJobStore)
    assert not file.exists()


def test_the_environment_names_the_store(tmp_path: Path) -> None:
    """``PENSTOCK_JOBS_STORE`` is the setting."""
    store = store_of(app_with(None), {"PENSTOCK_JOBS_STORE": f"sqlite:///{tmp_path}/jobs.db"})
    assert repr(store) == f"<SqliteJobStore: {tmp_path}/jobs.db>"


def test_a_relative_file_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLAlchemy reads such an address."""
    monkeypatch.chdir(tmp_path)
    assert repr(store_of(app_with("sqlite:///jobs.db"))) == f"<SqliteJobStore: {tmp_path}/jobs.db>"


def test_another_plug_in_may_have_the_store() -> None:
    """The address is then its own affair."""
    kept = MemoryJobStore()

    class Forgetful:
        @hookimpl
        def penstock_job_store(self) -> MemoryJobStore:
            return kept

    assert store_of(app_with("redis://127.0.0.1", plugins=[Forgetful()])) is kept


def test_what_is_no_store_stops_the_start() -> None:
    """The message names what is missing."""

    class Broken:
        @hookimpl
        def penstock_job_store(self) -> object:
            return object()

    with pytest.raises(PluginError, match="a object without stale_writes, start, close, put"):
        store_of(app_with("memory:", plugins=[Broken()]))


def test_a_missing_library_is_named_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra has to be installed."""
    for name in [name for name in sys.modules if name.startswith(("sqlalchemy", "penstock_jobs.sql"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(PluginError, match=r"the library sqlalchemy is missing; pip install 'penstock\[jobs\]'"):
        store_of(app_with(f"sqlite:///{tmp_path}/jobs.db"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_result": "64 parsecs"}, "'64 parsecs' is not a size"),
        ({"share": 0}, "share"),
        ({"share": 2}, "share"),
        ({"max_jobs": 0}, "max_jobs"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    """Before anything is served."""
    with pytest.raises(PluginError, match=words):
        store_of(app_with("memory:", **settings))


def test_a_store_without_a_file_is_refused() -> None:
    """The fix is in the message."""
    with pytest.raises(PluginError, match=r"names no file; write sqlite:///jobs\.db"):
        store_of(app_with("sqlite:///"))


def test_a_store_that_no_endpoint_uses_is_a_mistake() -> None:
    """Most likely the declaration was forgotten."""
    app = App("demo", settings={"jobs": {"store": "memory:"}})

    @app.endpoint("/square")
    def square(x: float) -> float:
        return x * x

    with pytest.raises(PluginError, match=r"no endpoint takes background jobs; declare one with .*jobs=Jobs\(\)"):
        store_of(app)


def test_a_schedule_of_an_endpoint_without_background_jobs_is_a_mistake() -> None:
    """Its jobs would be stored, and never run."""
    app = app_with("memory:")

    @app.endpoint("/report")
    def report() -> None: ...

    app.schedule("0 3 * * *", report)
    with pytest.raises(PluginError, match=r"schedule 'report' calls endpoint 'report', .* jobs=Jobs\(\)"):
        store_of(app)


def test_the_page_lists_the_settings() -> None:
    """Each one that is not about webhooks, which have a page of their own, and each option of the declaration."""
    page = (ROOT / "docs" / "how-to" / "jobs.md").read_text(encoding="utf-8")
    settings = {name for name in JobsSettings.__struct_fields__ if not name.startswith("webhook_")} - {"enabled"}
    options = {field.name for field in dataclasses.fields(Jobs)}
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert settings | options <= listed
