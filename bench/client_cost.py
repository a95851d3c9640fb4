"""Compares the CPU time of a call of ``penstock_client`` with that of a bare ``httpx2`` that does the same work.

Both encode the body, check the status and decode the answer; the server is another process, whose time does not count.
The two take turns, round by round, and the best round of each is compared: what else the machine does meanwhile makes
rounds slower, never faster. ``python bench/client_cost.py`` exits with 1 if a ratio is above the limit.

``--profile KIND`` shows the functions of a kind's calls, by their own time.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio
import httpx2

from penstock_client import AsyncClient, Client

LIMIT = 1.2
ROUNDS = 25
CALLS = 100
PROFILED = 1000
BODY = {"text": "not bad", "candidates": ["good", "bad"], "limit": 3}
ANSWER = b'{"label":"good","scores":[0.9,0.1]}'
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
SECONDS = 30.0
KINDS = tuple(f"{loop}{limit}" for loop in ("sync", "asyncio", "trio") for limit in ("", " with a time-out"))

Block = Callable[[int], float]
AsyncBlock = Callable[[int], Awaitable[float]]


@dataclass(frozen=True)
class Cost:
    """The CPU seconds of one call, in the best round of each side."""

    bare: float
    client: float

    @property
    def ratio(self) -> float:
        """The client's cost, in calls of bare httpx2."""
        return self.client / self.bare


# ---- the server


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve the answer from a forked process; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if child == 0:
            _serve(listener)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _serve(listener: socket.socket) -> None:
    try:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()
    finally:
        os._exit(1)


def _answer(connection: socket.socket) -> None:
    data = b""
    while piece := connection.recv(65536):
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            data = b""
            connection.sendall(RESPONSE)


# ---- the blocks of calls


def timed(function: Callable[[], object], calls: int) -> float:
    """Return the CPU seconds of a call of the function."""
    began = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - began) / calls


async def timed_async(function: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the CPU seconds of an awaited call of the function."""
    began = time.process_time()
    for _ in range(calls):
        await function()
    return (time.process_time() - began) / calls


@contextlib.contextmanager
def sync_blocks(url: str, seconds: float | None) -> Iterator[tuple[Block, Block]]:
    """Yield the block of bare calls and that of the client's."""
    with httpx2.Client(timeout=seconds) as bare, Client(url) as client:

        def post() -> object:
            response = bare.post(f"{url}/classify", json=BODY)
            response.raise_for_status()
            return response.json()

        def call() -> object:
            return client.call("classify", BODY, timeout=seconds).value

        yield lambda calls: timed(post, calls), lambda calls: timed(call, calls)


@contextlib.asynccontextmanager
async def async_blocks(url: str, seconds: float | None) -> AsyncIterator[tuple[AsyncBlock, AsyncBlock]]:
    """Yield the same in a loop."""
    async with httpx2.AsyncClient(timeout=seconds) as bare, AsyncClient(url) as client:

        async def post_once() -> object:
            response = await bare.post(f"{url}/classify", json=BODY)
            response.raise_for_status()
            return response.json()

        async def post() -> object:
            if seconds is None:
                return await post_once()
            with anyio.fail_after(seconds):  # httpx2 has no time-out for a whole request
                return await post_once()

        async def call() -> object:
            return (await client.call("classify", BODY, timeout=seconds)).value

        yield lambda calls: timed_async(post, calls), lambda calls: timed_async(call, calls)


# ---- the measurement


def cost_of(kind: str, rounds: int = ROUNDS, calls: int = CALLS) -> Cost:
    """Measure one of ``KINDS``; ``rounds`` rounds of ``calls`` calls for each side."""
    loop, _, limit = kind.partition(" ")
    seconds = SECONDS if limit else None
    with served() as url:
        if loop == "sync":
            return _sync_cost(url, seconds, rounds, calls)
        return anyio.run(_async_cost, url, seconds, rounds, calls, backend=loop)


def _sync_cost(url: str, seconds: float | None, rounds: int, calls: int) -> Cost:
    with sync_blocks(url, seconds) as (bare, client):
        pairs = [(bare(calls), client(calls)) for _ in range(rounds)]
    return _best(pairs)


async def _async_cost(url: str, seconds: float | None, rounds: int, calls: int) -> Cost:
    async with async_blocks(url, seconds) as (bare, client):
        pairs = [(await bare(calls), await client(calls)) for _ in range(rounds)]
    return _best(pairs)


def _best(pairs: list[tuple[float, float]]) -> Cost:
    return Cost(min(bare for bare, _ in pairs), min(client for _, client in pairs))


def profile(kind: str, most: int = 30) -> None:
    """Print the heaviest functions of bare httpx2, and then those of the client."""
    loop, _, limit = kind.partition(" ")
    seconds = SECONDS if limit else None
    with served() as url:
        if loop == "sync":
            with sync_blocks(url, seconds) as blocks:
                for block in blocks:
                    with _printed(most):
                        block(PROFILED)
        else:
            anyio.run(_profile_async, url, seconds, most, backend=loop)


async def _profile_async(url: str, seconds: float | None, most: int) -> None:
    async with async_blocks(url, seconds) as blocks:
        for block in blocks:
            with _printed(most):
                await block(PROFILED)


@contextlib.contextmanager
def _printed(most: int) -> Iterator[None]:
    with cProfile.Profile() as profiler:
        yield
    pstats.Stats(profiler).sort_stats("tottime").print_stats(most)


def main() -> int:
    """Measure all kinds, or do what the options say."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each side (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of a round (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="measure this kind only; may be repeated")
    parser.add_argument("--profile", choices=KINDS, help="show the functions of a kind")
    options = parser.parse_args()
    if options.profile:
        profile(options.profile)
        return 0
    print("| calls | bare httpx2 | penstock_client | ratio |\n|---|---|---|---|")
    worst = 0.0
    for kind in options.kind or KINDS:
        cost = cost_of(kind, options.rounds, options.calls)
        worst = max(worst, cost.ratio)
        print(f"| {kind} | {cost.bare * 1e6:.0f} us | {cost.client * 1e6:.0f} us | {cost.ratio:.2f} |")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
