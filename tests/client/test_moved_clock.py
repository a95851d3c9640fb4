"""Whole calls with each driver on a clock that the test moves: waits take no time, and are the same in all drivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import pytest

from penstock_client import (
    AsyncClient,
    BreakerSettings,
    Client,
    Limits,
    Result,
    Retries,
    async_driver,
    async_scopes,
    client_base,
    errors,
    sync_driver,
)
from tests.client.drivers import DRIVERS

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


class MovedClock:
    """The clock of both drivers, and their sleep, which moves it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        for module in (client_base, sync_driver, async_driver, async_scopes):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))
        patch.setattr(async_driver, "anyio", SimpleNamespace(sleep=self.sleep_async, Semaphore=anyio.Semaphore))
        patch.setattr(client_base, "random", SimpleNamespace(random=lambda: 1.0))

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Playing:
    """A server that is a function, and takes its time on the clock: statuses with their seconds, the last one again."""

    def __init__(self, clock: MovedClock, *answers: tuple[int, float, dict[str, str]]) -> None:
        self.clock = clock
        self.answers = [*answers]
        self.seen: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        status, seconds, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.clock.now += seconds
        return httpx2.Response(status, json=7, headers=headers)


Step = float | dict[str, Any]


def play(driver: str, server: Playing, *steps: Step, **settings: Any) -> list[Any]:
    """Make a call for each step of options, and move the clock for each of seconds; return the outcomes."""
    transport = httpx2.MockTransport(server)
    if driver == "sync":
        client = Client("http://test", http_client=httpx2.Client(transport=transport), **settings)
        return [_outcome(lambda step=step: client.call("x", **step)) for step in steps if not _moved(server, step)]

    async def main() -> list[Any]:
        found = []
        async with AsyncClient("http://test", http_client=httpx2.AsyncClient(transport=transport), **settings) as one:
            for step in steps:
                if not _moved(server, step):
                    try:
                        found.append(await one.call("x", **step))  # type: ignore[arg-type] # it is not seconds
                    except errors.ClientError as error:
                        found.append(error)
        return found

    return anyio.run(main, backend=driver)


def _moved(server: Playing, step: Step) -> bool:
    if isinstance(step, float):
        server.clock.now += step
    return isinstance(step, float)


def _outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except errors.ClientError as error:
        return error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


def test_the_waits_of_a_call(driver: str, clock: MovedClock) -> None:
    """They double up to the cap, and the server's own replaces them, with a tenth more at most."""
    server = Playing(clock, *[(503, 0.0, {})] * 5, (429, 0.0, {"retry-after": "60"}), (200, 0.0, {}))
    began = time.monotonic()
    [result] = play(driver, server, {}, retries=Retries(max_attempts=9))
    assert isinstance(result, Result)
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 66.0]
    assert [round(attempt.delay, 6) for attempt in result.attempts] == [0, *clock.slept]
    assert time.monotonic() - began < 5


def test_total_bounds_requests_and_waits(driver: str, clock: MovedClock) -> None:
    """Each request announces what is left, and no wait goes beyond it."""
    server = Playing(clock, (503, 6.0, {}))
    [error] = play(driver, server, {"timeout": 15.0}, retries=Retries(max_attempts=99))
    assert (type(error), error.retries_refused) == (errors.Unavailable, "deadline")
    assert [request.headers["x-request-timeout"] for request in server.seen] == ["14.950", "8.450", "1.450"]
    assert clock.slept == [0.5, 1.0]


def test_a_breaker_opens_and_closes(driver: str, clock: MovedClock) -> None:
    """Five failures open it; the probe after five seconds decides, and the next time is twice as long."""
    server = Playing(clock, *[(500, 0.1, {})] * 6, (200, 0.1, {}))
    steps = [{}] * 6 + [4.9, {}, 0.2, {}, {}, 9.8, {}, 0.3, {}, {}]
    found = play(driver, server, *steps, retries=Retries(max_attempts=1), breaker=BreakerSettings())
    failed, is_open = errors.InternalError, errors.CircuitOpen
    kinds = [*[failed] * 5, is_open, is_open, failed, is_open, is_open, Result, Result]
    assert [type(one) for one in found] == kinds
    assert len(server.seen) == 8
    assert found[5].retry_after == pytest.approx(5.0)
    assert found[8].retry_after == pytest.approx(10.0)


def test_a_rate_spaces_the_calls(driver: str, clock: MovedClock) -> None:
    """Two per second, with the second of a burst at once after a pause."""
    server = Playing(clock, (200, 0.0, {}))
    play(driver, server, {}, {}, {}, 10.0, {}, {}, {}, limits=Limits(rate=2.0, burst=2))
    assert clock.slept == [0.5, 0.5]


def test_the_budget_is_used_up_and_comes_back(driver: str, clock: MovedClock) -> None:
    """A client that only meets refusals stops trying again, and a quiet time restores the floor."""
    server = Playing(clock, (503, 0.0, {"retry-after": "0"}))
    settings = {"retries": Retries(floor=3, ratio=0.0, rate=0.5), "breaker": None}
    found = play(driver, server, {}, {}, {}, 100.0, {}, **settings)
    assert [len(error.attempts) for error in found] == [3, 2, 1, 3]
    assert [error.retries_refused for error in found] == ["attempts", "budget", "budget", "attempts"]


def test_a_key_is_asked_for_once_more_without_a_wait(driver: str, clock: MovedClock) -> None:
    """After a 401, the next request has the next key, at once."""
    server = Playing(clock, (401, 0.0, {}), (200, 0.0, {}))
    keys = iter(["old", "new"])
    [result] = play(driver, server, {}, key=lambda: next(keys))
    assert isinstance(result, Result)
    assert [request.headers["authorization"] for request in server.seen] == ["Bearer old", "Bearer new"]
    assert clock.slept == []
