"""Many calls at a time to a server that does, by a seed, everything that a server should not. The rules hold."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, BreakerSettings, Client, ClientError, Limits, Retries
from tests.client.drivers import DRIVERS
from tests.client.scripted_server import Drip, End, Received, ScriptedServer, Step, answer, chunked
from tests.serving import wait_until

AT_ONCE = 10
LIBRARIES = ("penstock_client", "httpx2", "httpcore2", "h11", "anyio")
MARGIN = 1.5
"""The seconds that a call may be late on a busy machine."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"

# Behaviours after which the work cannot have run, and those after which it may have.
REFUSALS: dict[str, tuple[Step, ...]] = {
    "503": (answer(status=503),),
    "503 at once": (answer(status=503, Retry_After="0"),),
    "429": (answer(status=429, Retry_After="0"),),
    "425": (answer(status=425),),
}
RUNS: dict[str, tuple[Step, ...]] = {
    "answer": (answer(),),
    "answer, and silently close": (answer(), End.CLOSE),
    "stream": (chunked(b"1\n", b"2\n"),),
    "slow answer": (Drip(answer(b"{}"), 0.0005),),
    "slow stream": (chunked(b"1\n", end=False), *(b"2\r\n2\n\r\n", 0.02) * 10, b"0\r\n\r\n"),
    "404": (answer(status=404),),
    "500": (answer(status=500),),
    "502": (answer(status=502),),
    "504": (answer(status=504),),
    "no head": (End.CLOSE,),
    "no head, reset": (End.RESET,),
    "half a head": (HEAD[:30], End.CLOSE),
    "half a body": (HEAD + b"{", End.CLOSE),
    "half a body, reset": (HEAD + b"{", 0.01, End.RESET),
    "half a chunk": (chunked(b"1\n", end=False) + b"9\r\n1", End.CLOSE),
    "no end marker": (chunked(b"1\n", end=False), End.CLOSE),
    "a huge head": (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000, End.CLOSE),
    "not JSON": (answer(b"<html>"),),
    "silence": (End.SILENCE,),
    "silence in the head": (HEAD[:30], End.SILENCE),
    "silence in the body": (HEAD + b"{", End.SILENCE),
    "silence in a stream": (chunked(b"1\n", end=False), End.SILENCE),
}
BEHAVIOURS = REFUSALS | RUNS
OFTEN = ("answer", "stream", "503 at once", "429")


@dataclass
class ChaosServer(ScriptedServer):
    """Answers by dice, and notes the behaviours that each call has met."""

    seed: int = 0
    met: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def script_for(self, request: Received) -> tuple[Step, ...]:
        with self.guard:
            name = self._dice.choice((*BEHAVIOURS, *OFTEN * 3))
            self.met[request.headers["x-call"]].append(name)
        return BEHAVIOURS[name]

    def forget(self) -> None:
        """Drop what has been noted, which would look like a leak."""
        self.met.clear()
        self.requests.clear()
        self.hang_ups.clear()
        self._open[:] = [connection for connection in self._open if connection.fileno() != -1]


@dataclass(frozen=True)
class Planned:
    """One call, by dice."""

    name: str
    seconds: float
    is_idempotent: bool
    is_stream: bool
    leaves_after: float | None

    def options(self) -> Mapping[str, Any]:
        return {"timeout": self.seconds, "idempotent": self.is_idempotent, "headers": {"x-call": self.name}}


def planned(seed: int, calls: int) -> list[Planned]:
    dice = random.Random(seed)
    return [
        Planned(
            name=f"{seed}-{number}-{'twice' if is_idempotent else 'once'}",
            seconds=dice.uniform(0.05, 0.6),
            is_idempotent=is_idempotent,
            is_stream=dice.random() < 0.4,
            leaves_after=dice.uniform(0.001, 0.2) if dice.random() < 0.2 else None,
        )
        for number in range(calls)
        for is_idempotent in (dice.random() < 0.5,)
    ]


def settings(seed: int) -> dict[str, Any]:
    return {
        "limits": Limits(max_connections=6, max_concurrent=8),
        "retries": Retries(max_attempts=4, base=0.01, cap=0.05, floor=10_000),
        "breaker": BreakerSettings(calls=20, share=0.8, open_seconds=0.05) if seed % 2 else None,
    }


# ---- the two drivers; each returns the seconds that the calls have taken beyond their time-outs


def run_threads(client: Client, calls: list[Planned]) -> list[float]:
    def one(call: Planned) -> float:
        began = time.monotonic()
        with contextlib.suppress(ClientError):
            if call.is_stream:
                with client.stream("x", {}, **call.options()) as events:
                    for _ in events:
                        if call.leaves_after:
                            break
            else:
                client.call("x", {}, **call.options())
        return time.monotonic() - began - call.seconds

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, calls))


async def run_tasks(client: AsyncClient, calls: list[Planned]) -> list[float]:
    late: list[float] = []

    async def one(call: Planned) -> None:
        began = time.monotonic()
        with contextlib.suppress(ClientError), anyio.move_on_after(call.leaves_after or 60):
            if call.is_stream:
                async with client.stream("x", {}, **call.options()) as events:
                    async for _ in events:
                        pass
            else:
                await client.call("x", {}, **call.options())
        late.append(time.monotonic() - began - min(call.seconds, call.leaves_after or 60))

    for start in range(0, len(calls), AT_ONCE):
        async with anyio.create_task_group() as group:
            for call in calls[start : start + AT_ONCE]:
                group.start_soon(one, call)
    return late


# ---- the rules


def assert_rules(server: ChaosServer, late: list[float], client: Any, seed: int) -> None:
    """Check the calls of a round, and what is left of them."""
    assert max(late) < MARGIN, f"{seed=}"
    for name, met in server.met.items():
        assert len(met) <= 5, (seed, name, met)  # one for a kept connection that was closing, beside the four
        if name.endswith("once"):
            ran = [number for number, behaviour in enumerate(met) if behaviour in RUNS]
            assert ran in ([], [len(met) - 1]), (seed, name, met)
    pool = client._shared.http._transport._pool
    assert [one for one in pool.connections if not one.is_idle()] == []
    assert pool._requests == []
    slots = client._shared.slots
    assert getattr(slots, "value", getattr(slots, "_value", None)) == 8


def rounds(driver: str, seed: int, number: int, calls: int, after: Any = lambda: None) -> None:
    """Run rounds with one client, check the rules after each, and then call ``after``."""
    before = descriptors()
    with ChaosServer([], seed=seed) as server:
        if driver == "sync":
            with Client(server.url, **settings(seed)) as client:
                for round_ in range(number):
                    late = run_threads(client, planned(seed * 1000 + round_, calls))
                    assert_rules(server, late, client, seed)
                    server.forget()
                    after()
        else:

            async def main() -> None:
                async with AsyncClient(server.url, **settings(seed)) as client:
                    for round_ in range(number):
                        late = await run_tasks(client, planned(seed * 1000 + round_, calls))
                        assert_rules(server, late, client, seed)
                        server.forget()
                        after()

            anyio.run(main, backend=driver)
        wait_until(lambda: server.open_connections() == 0, "the end of all connections")
    wait_until(lambda: descriptors() <= before, "closed descriptors")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("seed", [1, 2])
def test_chaos_breaks_no_rule(driver: str, seed: int) -> None:
    """Calls end in time, work that may have run is not sent again unless it may run twice, and nothing is left."""
    rounds(driver, seed, number=1, calls=80)


@pytest.mark.thorough
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("seed", range(10, 16))
def test_more_chaos_breaks_no_rule(driver: str, seed: int) -> None:
    """The same with more seeds, and more calls of each."""
    rounds(driver, seed, number=1, calls=150)


@pytest.mark.parametrize("driver", DRIVERS)
def test_chaos_does_not_fill_the_memory(driver: str) -> None:
    """After a few rounds the client and its transport hold no more than before."""
    sizes: list[int] = []
    paths = [tracemalloc.Filter(inclusive=True, filename_pattern=f"*/{name}/*") for name in LIBRARIES]

    def measure() -> None:
        gc.collect()
        held = tracemalloc.take_snapshot().filter_traces(paths).statistics("filename")
        sizes.append(sum(one.size for one in held))

    tracemalloc.start()
    try:
        rounds(driver, seed=3, number=6, calls=20, after=measure)
    finally:
        tracemalloc.stop()
    assert min(sizes[3:]) <= 1.1 * max(sizes[:3]) + 20_000, sizes
