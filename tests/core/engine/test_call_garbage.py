"""An error that a call raises in an embedding program is freed with its last reference, and the call with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Iterator

import pytest

from penstock import open_engine, start_engine
from penstock.engine.async_engine import AsyncEngine
from penstock.engine.threaded_engine import ThreadedEngine
from penstock.errors import PenstockError
from tests.adapters.falcon.abandoned_app import app

CALLS = 100


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.enable()


def is_littered() -> bool:
    """Return whether there are as many unreachable objects as calls; the runner's own threads leave a few."""
    return gc.collect() >= CALLS


def fail(engine: ThreadedEngine) -> None:
    engine.call("fail", b"")


def ask_for_nothing_there(engine: ThreadedEngine) -> None:
    engine.call("nowhere", b"")


def break_a_stream(engine: ThreadedEngine) -> None:
    with engine.stream("break", b"") as chunks:
        assert list(chunks) != []


def leave_a_stream(engine: ThreadedEngine) -> None:
    with engine.stream("count", b"") as chunks:
        next(chunks)


@pytest.fixture(scope="module")
def threaded() -> Iterator[ThreadedEngine]:
    with start_engine(app) as engine:
        yield engine


@pytest.mark.parametrize("way", [fail, ask_for_nothing_there, break_a_stream, leave_a_stream])
def test_nothing_is_left_of_a_call_from_a_thread(
    threaded: ThreadedEngine, way: Callable[[ThreadedEngine], None]
) -> None:
    """Neither the call nor the error keeps the other alive, although the error crosses threads."""
    for number in range(CALLS + 1):
        with contextlib.suppress(PenstockError):
            way(threaded)
        if not number:
            gc.collect()  # without what only the first call leaves
    assert not is_littered()


async def fail_here(engine: AsyncEngine) -> None:
    await engine.call("fail", b"")


async def run_out_of_time(engine: AsyncEngine) -> None:
    await engine.call("sleep", b"", timeout=0.00001)


async def give_up(engine: AsyncEngine) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await engine.call("sleep", b"")


async def break_a_stream_here(engine: AsyncEngine) -> None:
    async with engine.stream("break", b"") as chunks:
        assert [chunk async for chunk in chunks] != []


def test_nothing_is_left_of_a_call_from_a_task() -> None:
    """The same holds without a thread in between."""

    async def test() -> list[str]:
        async with open_engine(app) as engine:
            ways: list[Callable[[AsyncEngine], Awaitable[None]]]
            ways = [fail_here, run_out_of_time, give_up, break_a_stream_here]
            littering = []
            for way in ways:
                for number in range(CALLS + 1):
                    with contextlib.suppress(PenstockError):
                        await way(engine)
                    if not number:
                        gc.collect()
                if is_littered():
                    littering.append(way.__name__)
            return littering

    assert asyncio.run(test()) == []
