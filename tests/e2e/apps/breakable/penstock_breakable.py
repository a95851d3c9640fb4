"""A plug-in that breaks as TEST_BREAK asks: at import, in its hook signatures, in its hooks, or while serving.

While serving, a header or the path of the request selects the hook that raises, so one server exercises them all. It
raises ``SystemExit``, which would end the server if it got through.
"""

from __future__ import annotations

import os
from typing import Any

from penstock.errors import RateLimited
from penstock.hooks import (
    FifoQueue,
    JobAnswered,
    PluginSettings,
    Principal,
    RequestAnswered,
    Route,
    Timeouts,
    blocking,
    hookimpl,
)

BREAK = os.environ.get("TEST_BREAK", "")

if BREAK == "import":
    raise ImportError("a library is missing")


def _broken(*_anything: Any) -> Any:
    raise (SystemExit if BREAK == "callables" else RuntimeError)(f"broken: {BREAK}")


def _when(header: str, given: Any) -> Any:
    def decide(submission: Any) -> Any:
        if submission.header("x-break") == header:
            _broken()
        return given

    return decide


class BrokenPush(FifoQueue):
    """A queue that no job can be added to."""

    def push(self, *_anything: Any) -> None:
        _broken()


class BrokenPop(FifoQueue):
    """A queue that no job can be taken from."""

    def pop(self, *_anything: Any) -> Any:
        return _broken()


class Breakable:
    """The plug-in: see the docstring of the module."""

    class Settings(PluginSettings, frozen=True):
        """No settings but ``enabled``."""

    def __init__(self, settings: Settings) -> None:
        if BREAK == "made":
            _broken()

    def check(self, app: Any) -> None:
        if BREAK == "check":
            _broken()

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Any:
        return _when("authenticator", Principal("somebody"))

    @hookimpl
    def penstock_timeout_policy(self, endpoint: Any) -> Any:
        return blocking(_when("timeout_policy", Timeouts(total=30)))

    @hookimpl
    def penstock_admission_policy(self, endpoint: Any) -> Any:
        def admit(submission: Any) -> Any:
            kind = submission.header("x-break")
            if kind == "admission_policy":
                _broken()
            if kind == "refusal":
                raise RateLimited("not so fast", retry_after=7)
            return _broken if kind == "release" else None

        return admit

    @hookimpl
    def penstock_queue_discipline(self, endpoint: Any) -> Any:
        return {"push": BrokenPush, "pop": BrokenPop}.get(endpoint.name) if BREAK == "callables" else None

    @hookimpl
    def penstock_retry_policy(self, endpoint: Any) -> Any:
        return _broken if endpoint.name == "crash" else None

    @hookimpl
    def penstock_shutdown_policy(self) -> Any:
        return _broken

    @hookimpl
    def penstock_observer(self) -> Any:
        return {JobAnswered: _broken, RequestAnswered: _broken}

    @hookimpl
    def penstock_routes(self) -> Any:
        return [Route(path="/broken", name="broken", handler=lambda request, engine: _broken(), is_open=True)]

    @hookimpl
    def penstock_cli_commands(self) -> Any:
        return []


def _factory(self: Any) -> Any:
    return _broken()


if BREAK.startswith("factory:"):
    setattr(Breakable, BREAK.removeprefix("factory:"), hookimpl(_factory))

if BREAK == "misspelt":
    Breakable.penstock_rotes = hookimpl(lambda self: [])

if BREAK == "argument":
    Breakable.penstock_routes = hookimpl(lambda self, app, weather: [])

if BREAK == "unmarked":
    Breakable.penstock_routes = lambda self: []

if BREAK == "wrapper":
    Breakable.penstock_routes = hookimpl(lambda self: [], wrapper=True)
