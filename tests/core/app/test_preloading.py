"""Declarations of pools whose models are set up once."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.app import App
from penstock.errors import DeclarationError


class Model:
    def setup(self, device: str = "cpu") -> None: ...

    def predict(self, x: int) -> int:
        return x


class AsyncModel(Model):
    async def setup(self, device: str = "cpu") -> None: ...


def square(x: float) -> float:
    return x * x


@pytest.fixture
def app() -> App:
    return App("shop")


def test_one_endpoint_preloads_its_pool(app: App) -> None:
    """``preload=True`` holds for the whole pool, which other classes and functions may share; equal devices are one."""
    app.endpoint("/a", pool="p", preload=True, devices=["cpu", "cpu"])(Model)
    app.endpoint("/b", pool="p")(Model)
    app.endpoint("/c", pool="p")(square)
    app.endpoint("/d")(Model)
    assert (app.pools["p"].preload, app.pools["d"].preload) == (True, False)
    assert repr(app.pools["p"]) == "<Pool p, 2 workers on cpu, cpu, trio, preloaded: a, b, c>"


def test_a_pool_preloads(app: App) -> None:
    """``App.pool`` has the option too, before its endpoints and after them; both are held to the same rules."""
    app.pool("p", preload=True)
    app.endpoint("/a", pool="p")(Model)
    assert app.pools["p"].preload
    with pytest.raises(DeclarationError, match="endpoint 'b': with preload=True"):
        app.endpoint("/b", pool="p")(AsyncModel)
    app.endpoint("/c")(AsyncModel)
    with pytest.raises(DeclarationError, match="endpoint 'c': with preload=True"):
        app.pool("c", preload=True)
    with pytest.raises(DeclarationError, match="pool 'c': preload=1 is not a bool"):
        app.pool("c", preload=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handler", "options", "words"),
    [
        (square, {}, "endpoint 'a': preload=True would have no effect, because a function has no setup"),
        (
            Model,
            {"devices": ["cuda:0", "cuda:1"]},
            "pool 'a': .* the same device; .* use workers=2 in place of devices",
        ),
        (AsyncModel, {}, "endpoint 'a': .* there is no event loop yet; write `def setup"),
    ],
)
def test_what_cannot_be_preloaded(app: App, handler: Any, options: dict[str, Any], words: str) -> None:
    """The error names the endpoint or the pool, the reason and the fix; the endpoint is not added."""
    with pytest.raises(DeclarationError, match=words):
        app.endpoint("/a", preload=True, **options)(handler)
    assert (app.endpoints, app.pools) == ([], {})


def test_an_endpoint_joins_a_preloaded_pool_only_if_it_can_be_preloaded(app: App) -> None:
    """An asynchronous ``setup`` is refused there, too, although its own endpoint does not say ``preload``."""
    app.endpoint("/a", pool="p", preload=True)(Model)
    with pytest.raises(DeclarationError, match="endpoint 'b': with preload=True"):
        app.endpoint("/b", pool="p")(AsyncModel)
    with pytest.raises(DeclarationError, match="endpoint 'c': preload=False, but 'a' in the same pool 'p' has preload"):
        app.endpoint("/c", pool="p", preload=False)(Model)


def test_preload_needs_forks() -> None:
    """``start_method="fresh"`` is refused, also if it is set later, as ``penstock serve --start-method`` does."""
    words = "pool 'a': preload=True forks the workers, but start_method='fresh' forks none; use start_method='auto'"
    with pytest.raises(DeclarationError, match=words):
        App("shop", start_method="fresh").endpoint("/a", preload=True)(Model)
    app = App("shop")
    app.endpoint("/a", preload=True)(Model)
    app.start_method = "fresh"
    with pytest.raises(DeclarationError, match=words):
        app.freeze()
