"""A pytest fixture with a running engine, for the tests of programs that embed one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from penstock.app import App
from penstock.engine import ThreadedEngine, start_engine


def engine_fixture(app: App, *, scope: Literal["function", "module", "session"] = "session") -> Any:
    """Return a pytest fixture: an engine that runs ``app``, with its workers, from the first test that asks for it.

    Write ``engine = engine_fixture(app)`` in a ``conftest.py``; tests then take an argument ``engine``, a
    ``ThreadedEngine``. Its start takes a quarter of a second and the models' set-up, hence the scope. At the end of
    the scope its workers are stopped at once.

    Parameters
    ----------
    app:
        The app, at the top level of a module that can be imported.
    scope:
        The pytest scope: how long the engine runs.
    """
    import pytest  # noqa: PLC0415 - only tests have it

    @pytest.fixture(scope=scope)
    def engine() -> Iterator[ThreadedEngine]:
        running = start_engine(app)
        try:
            yield running
        finally:
            running.stop()

    return engine
