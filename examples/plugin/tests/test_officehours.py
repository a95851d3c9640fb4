"""Tests of the plug-in, with a fixed clock and without a process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from penstock_officehours import Hours, OfficeHours, ShortestFirst

from penstock import App
from penstock.errors import PluginError
from penstock.testing import Behaviour, PluginHarness

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
NIGHT = datetime(2027, 3, 1, 22, tzinfo=UTC)


def app() -> App:
    """Return an app with two endpoints."""
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/health")
    def health() -> str:
        return "well"

    return app


def at(now: datetime) -> type[OfficeHours]:
    """Return the plug-in class with its clock set to this time."""

    class AtThatTime(OfficeHours):
        name = "officehours"

        def __init__(self, settings: Hours, now: Callable[[], datetime] = lambda: now) -> None:
            super().__init__(settings, now)

    return AtThatTime


def harness(now: datetime, **settings: Any) -> PluginHarness:
    """Return a harness around the app and the plug-in, with its settings as environment variables."""
    return PluginHarness(
        app(), [at(now)], environ={f"PENSTOCK_OFFICEHOURS_{k}".upper(): v for k, v in settings.items()}
    )


def test_it_is_open_by_day() -> None:
    """During office hours, requests become jobs."""
    open_one = harness(NOON)
    request = open_one.request()
    open_one.advance(1)
    assert request.code == "ok"


def test_it_is_closed_at_night() -> None:
    """Requests are refused, with the time after which to retry."""
    request = harness(NIGHT).request()
    assert request.code == "closed"
    assert request.error is not None
    assert request.error.status == 503
    assert request.error.retry_after == 10 * 3600
    assert request.job is None


@pytest.mark.parametrize(("now", "code"), [(NIGHT, None), (NOON, "closed")])
def test_hours_may_go_over_midnight(now: datetime, code: str | None) -> None:
    """Office hours may extend past midnight, as for a night shift."""
    assert harness(now, opens="20:00:00", closes="04:00:00").request().code == code


def test_some_endpoints_may_stay_open() -> None:
    """Only the endpoints that the setting names are closed."""
    closed = harness(NIGHT, endpoints="square")
    assert closed.request("square").code == "closed"
    assert closed.request("health").code is None


def test_an_endpoint_that_does_not_exist_cannot_be_closed() -> None:
    """An unknown endpoint in the settings is an error at start-up, which names the plug-in."""
    with pytest.raises(PluginError, match=r"plug-in 'officehours' .*: there is no endpoint 'sqare' to close"):
        harness(NOON, endpoints="sqare")


@pytest.mark.parametrize(("shortest_first", "order"), [("true", [1, 5, 7]), ("false", [5, 7, 1])])
def test_the_shortest_goes_first(shortest_first: str, order: list[int]) -> None:
    """Queued jobs run shortest first with the setting, and oldest first without it."""
    busy = harness(NOON, shortest_first=shortest_first)
    busy.request(behaviour=Behaviour.SLOW)
    requests = [busy.request(size_bytes=size, behaviour=Behaviour.SLOW) for size in (5, 7, 1)]
    busy.advance(10)
    assert all(request.code == "ok" for request in requests)
    jobs = sorted((request.job for request in requests if request.job), key=lambda job: job.started)
    assert [job.size_bytes for job in jobs] == order


def test_a_cancelled_job_leaves_the_queue() -> None:
    """A cancelled job leaves nothing behind in the queue."""
    busy = harness(NOON)
    busy.request(behaviour=Behaviour.SLOW)
    short, long = (busy.request(size_bytes=size) for size in (1, 9))
    assert short.job is not None
    busy.cancel(short.job)
    busy.advance(10)
    assert (short.code, long.code) == ("cancelled", "ok")


def test_an_empty_queue_is_empty() -> None:
    """A new queue has no jobs and no bytes."""
    queue = ShortestFirst()
    assert (len(queue), queue.size_bytes, list(queue)) == (0, 0, [])
