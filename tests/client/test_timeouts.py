"""The settings that a client has without any, and each of its time-outs by its own class."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, BreakerSettings, Client, Limits, Retries, Timeouts, errors
from penstock_gunicorn.application import KEEPALIVE
from tests.client.drivers import DRIVERS, Act, call, one, stream
from tests.client.scripted_server import End, ScriptedServer, chunked

ONCE = Retries(max_attempts=1)


def test_the_defaults_are_those_of_the_page() -> None:
    """Without arguments a client has bounds for each phase but the answer, three requests, a breaker and a pool."""
    assert Timeouts() == Timeouts(connect=5, pool=5, write=30, first_byte=None, idle=60, event=None, total=None)
    assert Retries() == Retries(max_attempts=3, base=0.5, cap=8, longest_wait=120, ratio=0.1, rate=1, floor=10)
    assert BreakerSettings() == BreakerSettings(calls=5, share=0.5, window=30, open_seconds=5, longest_open=60)
    assert Limits() == Limits(max_connections=100, keepalive=20, keepalive_expiry=60, max_concurrent=None, rate=None)


def test_connections_are_kept_for_less_than_the_server_keeps_them() -> None:
    """So no request meets a connection that the server is about to close; httpx2 would keep them for five seconds."""
    assert 5 < Limits().keepalive_expiry < KEEPALIVE
    for client in (Client("http://test"), AsyncClient("http://test")):
        pool = client._shared.http._transport._pool  # type: ignore[attr-defined]
        assert (pool._keepalive_expiry, pool._max_connections, pool._max_keepalive_connections) == (60, 100, 20)
        if isinstance(client, Client):
            client.close()
        else:
            anyio.run(client.aclose)


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """Listen, and read nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def crowded() -> Iterator[str]:
    """Listen with a backlog that is full, so no connection is made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    with ScriptedServer([(End.SILENCE,)]) as server:
        yield server.url


@contextlib.contextmanager
def beginning() -> Iterator[str]:
    with ScriptedServer([(chunked(b"1\n", end=False), End.SILENCE)]) as server:
        yield server.url


@contextlib.contextmanager
def murmuring() -> Iterator[str]:
    """Keep the stream alive with empty lines."""
    with ScriptedServer([(chunked(b"1\n", end=False), *[b"1\r\n\n\r\n", 0.02] * 500)]) as server:
        yield server.url


BIG = call(body=b"x" * 50_000_000)
PHASES: dict[str, tuple[Any, Act, type[errors.ClientError], bool]] = {
    "connect": (crowded, call(), errors.ConnectTimeout, False),
    "write": (deaf, BIG, errors.WriteTimeout, False),
    "first_byte": (silent, call(), errors.FirstByteTimeout, True),
    "idle": (beginning, stream(), errors.IdleTimeout, True),
    "event": (murmuring, stream(), errors.EventTimeout, True),
    "total": (silent, call(), errors.TotalTimeout, True),
}


@pytest.mark.timed
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("phase", PHASES)
def test_each_timeout_is_an_error_of_its_own(driver: str, phase: str) -> None:
    """It ends the call in its time, and knows whether the work may have run."""
    place, act, kind, may_have_run = PHASES[phase]
    with place() as url:
        began = time.monotonic()
        error = one(driver, url, act, timeouts=Timeouts(**{phase: 0.2}), retries=ONCE)
        assert 0.15 < time.monotonic() - began < 2.0
    assert type(error) is kind
    assert isinstance(error, errors.TimedOut)
    assert (error.may_have_run, error.retryable) == (may_have_run, not may_have_run)


@pytest.mark.timed
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("place", [crowded, deaf, silent])
def test_total_bounds_what_has_no_timeout_of_its_own(driver: str, place: Any) -> None:
    """Without the time-outs of the phases, the whole call is still over in time; it has run only if it was sent."""
    unlimited = Timeouts(connect=None, pool=None, write=None, idle=None, total=0.3)
    with place() as url:
        began = time.monotonic()
        error = one(driver, url, BIG if place is deaf else call(), timeouts=unlimited, retries=ONCE)
        assert time.monotonic() - began < 2.0
    assert type(error) is errors.TotalTimeout
    assert error.may_have_run is (place is silent)
