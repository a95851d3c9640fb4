"""Calls that are cancelled, or run out of time, in every phase and by the thousand: nothing of them is left."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, BreakerSettings, Client, Limits, Retries, Timeouts, errors
from tests.client.drivers import DRIVERS
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked
from tests.serving import wait_until

AT_ONCE = 10
LONGEST = 0.03
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@dataclass(frozen=True)
class Phase:
    """A place where calls wait until they are cancelled, and the least share of them that must get there."""

    script: tuple[Step, ...]
    limits: Limits = field(default_factory=lambda: Limits(max_concurrent=AT_ONCE))
    scheme: str = "http"
    is_stream: bool = False
    reached: float = 0.1

    def options(self, number: int) -> Mapping[str, Any]:
        return {"idempotent": bool(number % 2)}


PHASES = {
    "waiting for one of the calls at a time": Phase((End.SILENCE,), Limits(max_concurrent=2), reached=0.01),
    "waiting for a connection": Phase((End.SILENCE,), Limits(max_connections=2, max_concurrent=AT_ONCE), reached=0.01),
    "connecting": Phase((), reached=0),
    "in the TLS handshake": Phase((End.SILENCE,), scheme="https", reached=0),
    "before the head": Phase((End.SILENCE,)),
    "inside the head": Phase((HEAD[:30], End.SILENCE)),
    "in the body": Phase((HEAD + b"{", End.SILENCE)),
    "in a stream": Phase((chunked(b"1\n", end=False), End.SILENCE), is_stream=True),
    "in the body of an error": Phase((HEAD.replace(b"200", b"400"), End.SILENCE)),
    "in the wait before a retry": Phase((answer(status=503, Retry_After="60"),)),
    "in a retry": Phase((answer(status=503, Retry_After="0"),)),
    "at the end": Phase((answer(),)),
    "at the end of a stream": Phase((chunked(b"1\n2\n"),), is_stream=True),
}


@pytest.mark.timed
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("phase", PHASES)
def test_cancelled_calls_leave_nothing(driver: str, phase: str) -> None:
    """A hundred in each phase: see ``cancel_many``."""
    cancel_many(driver, PHASES[phase], 100)


@pytest.mark.thorough
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("phase", PHASES)
def test_ten_thousand_cancelled_calls_leave_nothing(driver: str, phase: str) -> None:
    """The same with many more."""
    cancel_many(driver, PHASES[phase], 10_000 // len(PHASES) + 1)


def cancel_many(driver: str, phase: Phase, calls: int) -> None:
    """Make calls, ten at a time, each cancelled at a random instant, or with a random time-out without a loop.

    Afterwards no slot of the pool and none of the client's own is in use, the breaker is closed, the server has the
    connections that the pool keeps, the next calls succeed; and with the client closed, no connection and no descriptor
    is left.
    """
    dice = random.Random(calls)
    instants = [dice.uniform(1e-6, LONGEST) for _ in range(calls)]
    before = descriptors()
    with place(phase) as (server, url):
        if driver == "sync":
            run_out_of_time(phase, server, url, instants)
        else:
            anyio.run(cancel, phase, server, url, instants, backend=driver)
        wait_until(lambda: server.open_connections() == 0, "the end of all connections")
    wait_until(lambda: descriptors() <= before, "closed descriptors")


@contextlib.contextmanager
def place(phase: Phase) -> Iterator[tuple[ScriptedServer, str]]:
    """Start the server of a phase; one without a script has a full backlog, so no connection is ever made."""
    with ScriptedServer([phase.script]) as server:
        if phase.script:
            yield server, server.url.replace("http", phase.scheme)
            return
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"


def settings(phase: Phase) -> dict[str, Any]:
    return {"limits": phase.limits, "retries": Retries(max_attempts=50, floor=10**6), "timeouts": Timeouts(idle=30)}


# ---- without a loop


def run_out_of_time(phase: Phase, server: ScriptedServer, url: str, instants: list[float]) -> None:
    # Time-outs open a breaker, as cancelled calls do not.
    with Client(url, breaker=None, **settings(phase)) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda pair: meet(client, phase, *pair), enumerate(instants)))
        assert_unused(client, phase, server, client._shared.slots._value, len(instants))
        if phase.reached:
            server.scripts[:] = [(answer(b"7"),)]
            calls = [threads.submit(client.call, "classify", timeout=20) for _ in range(AT_ONCE)]
            assert [call.result().value for call in calls] == [7] * AT_ONCE


def meet(client: Client, phase: Phase, number: int, seconds: float) -> None:
    with contextlib.suppress(errors.ClientError):
        if not phase.is_stream:
            client.call("classify", {}, timeout=seconds, **phase.options(number))
        else:
            with client.stream("classify", {}, timeout=5 if number % 2 else seconds) as events:
                next(events)  # and leaves


# ---- with a loop


async def cancel(phase: Phase, server: ScriptedServer, url: str, instants: list[float]) -> None:
    async with AsyncClient(url, **settings(phase)) as client:
        for start in range(0, len(instants), AT_ONCE):
            async with anyio.create_task_group() as group:
                for number in range(start, min(start + AT_ONCE, len(instants))):
                    group.start_soon(meet_async, client, phase, number, instants[number])
        assert_unused(client, phase, server, client._shared.slots.value, len(instants))
        if phase.reached:
            server.scripts[:] = [(answer(b"7"),)]
            found: list[Any] = []

            async def call() -> None:
                found.append((await client.call("classify", timeout=20)).value)

            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(call)
            assert found == [7] * AT_ONCE


async def meet_async(client: AsyncClient, phase: Phase, number: int, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        if not phase.is_stream:
            await client.call("classify", {}, **phase.options(number))
        else:
            async with client.stream("classify", {}) as events:
                async for _ in events:
                    pass


# ---- what is left


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def assert_unused(client: Any, phase: Phase, server: ScriptedServer, free_slots: int, calls: int) -> None:
    assert len(server.requests) >= phase.reached * calls
    pool = client._shared.http._transport._pool
    assert [one for one in pool.connections if not one.is_idle()] == []
    assert pool._requests == []
    assert free_slots == phase.limits.max_concurrent
    breakers = [state.breaker for state in client._shared.endpoints.values() if state.breaker is not None]
    for breaker in breakers:
        assert not breaker._has_probe
    kept = len(pool.connections)
    wait_until(lambda: server.open_connections() == kept, f"{kept} connections on the server")


# ---- a probe that is cancelled


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("script", [(End.SILENCE,), (HEAD + b"{", End.SILENCE)], ids=["before the head", "in the body"])
def test_a_cancelled_probe_lets_the_next_one_in(backend: str, script: tuple[Step, ...]) -> None:
    """A breaker that is half open waits for an outcome; a probe without one must not leave it so."""
    breaker = BreakerSettings(calls=2, open_seconds=0.001)

    async def main() -> None:
        with ScriptedServer([(answer(status=500),)] * 2 + [script]) as server:
            async with AsyncClient(server.url, breaker=breaker, retries=Retries(max_attempts=1)) as client:
                for _ in range(2):
                    with pytest.raises(errors.InternalError):
                        await client.call("classify")
                for number in range(20):
                    await anyio.sleep(0.002)
                    async with anyio.create_task_group() as group:
                        group.start_soon(client.call, "classify")
                        await anyio.to_thread.run_sync(
                            wait_until, lambda count=number: len(server.requests) == 3 + count, "the probe"
                        )
                        group.cancel_scope.cancel()
                server.scripts[:] = [(answer(b"7"),)]
                await anyio.sleep(0.002)
                assert (await client.call("classify")).value == 7
                assert (await client.call("classify")).value == 7

    anyio.run(main, backend=backend)


def test_a_probe_that_runs_out_of_time_lets_the_next_one_in() -> None:
    """The same without a loop: its time-out is a failure, after which another probe has its turn."""
    breaker = BreakerSettings(calls=2, open_seconds=0.001, longest_open=0.001)
    with (
        ScriptedServer([(answer(status=500),)] * 2 + [(End.SILENCE,)]) as server,
        Client(server.url, breaker=breaker, retries=Retries(max_attempts=1)) as client,
    ):
        for _ in range(2):
            with pytest.raises(errors.InternalError):
                client.call("classify")
        for _ in range(5):
            time.sleep(0.002)
            with pytest.raises(errors.TotalTimeout):
                client.call("classify", timeout=0.05)
        server.scripts[:] = [(answer(b"7"),)]
        time.sleep(0.002)
        assert client.call("classify").value == 7
