"""Plug-ins: who decides, and what is said of one that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from penstock.app import App, Endpoint
from penstock.errors import DeclarationError, PenstockError
from penstock.hookspecs import hookimpl
from penstock.registry import Registry
from penstock.scheduler import FifoQueue, Job, Queue, retry_lost


def endpoint(name: str = "square") -> Endpoint:
    """An endpoint of some app."""
    app = App("tests")

    @app.endpoint(f"/{name}")
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


class LastComeFirstServed(FifoQueue):
    """Another order."""


def never(job: Job, error: PenstockError, now: float) -> float | None:
    """Another policy."""
    return None


class Stack:
    """Decides the order, of one endpoint only."""

    @hookimpl
    def penstock_queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue] | None:
        return LastComeFirstServed if endpoint.name == "stack" else None


class Never:
    """Decides the retries, and does not care for the endpoint."""

    @hookimpl
    def penstock_retry_policy(self) -> Callable[[Job, PenstockError, float], float | None]:
        return never


def test_the_core_decides_by_default() -> None:
    """Without plug-ins the first come are the first served, and tried as often as is declared."""
    registry = Registry()
    assert registry.queue_discipline(endpoint()) is FifoQueue
    assert registry.retry_policy(endpoint()) is retry_lost


def test_a_plug_in_decides_before_the_core() -> None:
    """Its answer counts."""
    assert Registry([Stack()]).queue_discipline(endpoint("stack")) is LastComeFirstServed
    assert Registry([Never()]).retry_policy(endpoint()) is never


def test_a_plug_in_may_leave_the_decision_to_others() -> None:
    """None means that it does not care; and other hooks are not touched."""
    registry = Registry([Stack()])
    assert registry.queue_discipline(endpoint()) is FifoQueue
    assert registry.retry_policy(endpoint()) is retry_lost


def test_the_last_plug_in_is_asked_first() -> None:
    """Whoever comes later may overrule those before it."""

    class Always:
        @hookimpl
        def penstock_retry_policy(self, endpoint: Endpoint) -> Callable[[Job, PenstockError, float], float | None]:
            return bool

    assert Registry([Never(), Always()]).retry_policy(endpoint()) is bool
    assert Registry([Always(), Never()]).retry_policy(endpoint()) is never


def test_a_module_may_be_a_plug_in() -> None:
    """As a distribution's entry point usually is one."""
    module = ModuleType("penstock_stack")
    module.penstock_queue_discipline = Stack().penstock_queue_discipline  # type: ignore[attr-defined]
    assert Registry([module]).queue_discipline(endpoint("stack")) is LastComeFirstServed


def test_registries_know_nothing_of_each_other() -> None:
    """There is no global one: each engine has its own."""
    Registry([Never()])
    assert Registry().retry_policy(endpoint()) is retry_lost


class Misspelt:
    @hookimpl
    def penstock_queue_disciplin(self, endpoint: Endpoint) -> None: ...

    def __repr__(self) -> str:
        return "<the misspelt one>"


class Greedy:
    @hookimpl
    def penstock_retry_policy(self, endpoint: Endpoint, weather: Any) -> None: ...

    def __repr__(self) -> str:
        return "<the greedy one>"


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [
        (Misspelt(), r"plug-in <the misspelt one>: .*unknown hook 'penstock_queue_disciplin'"),
        (Greedy(), r"(?s)plug-in <the greedy one>: .*'penstock_retry_policy'.*weather"),
    ],
    ids=["unknown-hook", "unknown-argument"],
)
def test_a_plug_in_that_does_not_fit_is_refused(plugin: object, complaint: str) -> None:
    """When the engine is made, with the plug-in and the hook by name."""
    with pytest.raises(DeclarationError, match=complaint):
        Registry([plugin])


def test_a_plug_in_can_be_registered_only_once() -> None:
    """The same object twice is a mistake in the list."""
    plugin = Never()
    with pytest.raises(DeclarationError, match=r"plug-in .*Never"):
        Registry([plugin, plugin])
