"""Apps that are pickled for their workers: the same declarations at both ends, and clear errors."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import App, Batching, EngineError, Retries, Timeouts
from penstock.app import loader
from penstock.app.manifest import Manifest
from penstock.app.shipping import ShippedApp, unpack
from penstock.wire import Load


def make_app() -> App:
    app = App(__name__, nan="null", start_method="fresh", start_timeout=7.0)
    factor = 3

    @app.endpoint(
        "/times", name="multiply", timeouts=Timeouts(execution=2.0), retries=Retries(max_attempts=3), max_queue=5
    )
    def times(x: float, y: float = 2.0) -> float:
        return factor * x * y

    @app.endpoint("/count", media_type="text/csv", pool="counting", concurrency=3)
    def count(n: int) -> Iterator[str]:
        yield from map(str, range(n))

    @app.endpoint("/model", workers=2, devices=["a", "b"], batching=Batching(max_size=4), runtime="asyncio")
    class Model:
        def setup(self, device: str) -> None:
            self.device = device

        async def predict(self, x: list[float]) -> list[float]:
            return x

    return app


def shipped(app: App) -> App:
    sent = ShippedApp(app)
    try:
        return unpack(sent.target)
    finally:
        sent.close()


def test_both_ends_have_the_same_declarations() -> None:
    """The manifests are equal, and so are the pools."""
    app = make_app()
    copy = shipped(app)
    assert copy is not app
    assert Manifest.of(copy).digest == Manifest.of(app).digest != ""
    assert repr(copy.pools) == repr(app.pools)
    assert (copy.nan, copy.start_method, copy.start_timeout) == ("null", "fresh", 7.0)
    assert copy.endpoints[0].handler(2.0) == 12.0


def test_pools_are_shipped_as_they_are() -> None:
    """With everything that was declared about them besides their endpoints."""
    app = make_app()
    app.pools["counting"] = dataclasses.replace(app.pools["counting"], workers=7, devices=("c",))
    pool = shipped(app).pools["counting"]
    assert (pool.workers, pool.devices, [endpoint.name for endpoint in pool.endpoints]) == (7, ("c",), ["count"])


def test_the_loader_reads_it_as_often_as_there_are_workers() -> None:
    """Each of them opens it anew, and compares the digest."""
    app = make_app()
    sent = ShippedApp(app)
    for _ in range(2):
        assert loader.load(Load(sent.target, [], [], digest=Manifest.of(app).digest)).endpoints[0].name == "multiply"
    sent.close()
    sent.close()
    with pytest.raises(OSError, match="No such file"):
        unpack(sent.target)


def test_it_is_a_file_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is removed with the engine."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    sent = ShippedApp(make_app())
    path = Path(sent.target.removeprefix("pickle:"))
    assert path.stat().st_mode & 0o077 == 0
    assert unpack(sent.target).endpoints[0].name == "multiply"
    sent.close()
    assert not path.exists()


def test_cloudpickle_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(EngineError, match=r'pip install "penstock\[notebook\]"'):
        ShippedApp(make_app())


def _app_with(handler: Any) -> App:
    app = App(__name__)
    app.endpoint("/sick")(handler)
    return app


def test_a_variable_that_cannot_be_pickled_is_named() -> None:
    """With the endpoint that uses it, what pickle says, and the fix."""
    lock = threading.Lock()

    def sick(x: int) -> int:
        with lock:
            return x

    with pytest.raises(EngineError) as caught:
        ShippedApp(_app_with(sick))
    assert "endpoint 'sick' uses lock, which cannot be pickled" in str(caught.value)
    assert "_thread.lock" in str(caught.value)
    assert "create it in setup()" in str(caught.value)


def test_an_attribute_that_cannot_be_pickled_is_named() -> None:
    """It belongs into ``setup``."""

    class Sick:
        shared = threading.Lock()

        def predict(self, x: int) -> int:
            return x

    with pytest.raises(EngineError, match=r"endpoint 'sick' uses Sick\.shared, which cannot be pickled"):
        ShippedApp(_app_with(Sick))


def test_nothing_is_added_after_it() -> None:
    """An endpoint that is declared later would be missing in the workers."""
    app = make_app()
    shipped(app)
    with pytest.raises(Exception, match="is being served already"):
        app.endpoint("/late")(lambda: 1)
