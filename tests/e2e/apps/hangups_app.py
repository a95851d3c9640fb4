"""Handlers for clients that hang up: each writes marks when it begins, when it is stopped, and when it ends.

Their ``grace`` is longer than any test: a slot that is free sooner was freed by the interrupt, not by a kill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import trio

from penstock import App, Timeouts
from tests.e2e.apps.marks import folder, mark

PATIENT = Timeouts(grace=60.0)
FOREVER = 60.0
IDLE = 1.5
CHUNK_BYTES = 1 << 16

app = App(__name__)


def stopped(name: str, error: BaseException) -> None:
    """Mark the exception that stopped the handler, which catches it itself: an interrupt may strike within a helper."""
    mark(f"{name}.stopped", type(error).__name__)


def count_token(name: str) -> None:
    with (folder() / f"{name}.tokens").open("a", encoding="utf-8") as file:
        file.write(".")


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/sleep", timeouts=PATIENT)
def sleep(name: str) -> str:
    try:
        mark(f"{name}.began")
        time.sleep(FOREVER)
        mark(f"{name}.ended")
    except BaseException as error:
        stopped(name, error)
        raise
    return name


def spin() -> None:
    """Spin in a function of its own: on 3.13 an exception at the end of a bare loop misses the try of its own frame."""
    give_up_at = time.monotonic() + FOREVER
    while time.monotonic() < give_up_at:
        pass


@app.endpoint("/loop", timeouts=PATIENT)
def loop(name: str) -> str:
    try:
        mark(f"{name}.began")
        spin()
        mark(f"{name}.ended")
    except BaseException as error:
        stopped(name, error)
        raise
    return name


@app.endpoint("/rest", runtime="trio", pool="trio", timeouts=PATIENT)
async def rest(name: str) -> str:
    try:
        mark(f"{name}.began")
        await trio.sleep(FOREVER)
        mark(f"{name}.ended")
    except BaseException as error:
        stopped(name, error)
        raise
    return name


@app.endpoint("/rest_asyncio", runtime="asyncio", pool="asyncio", timeouts=PATIENT)
async def rest_asyncio(name: str) -> str:
    try:
        mark(f"{name}.began")
        await asyncio.sleep(FOREVER)
        mark(f"{name}.ended")
    except BaseException as error:
        stopped(name, error)
        raise
    return name


@app.endpoint("/tokens", timeouts=PATIENT)
def tokens(name: str) -> Iterator[str]:
    try:
        while True:
            count_token(name)
            yield "token"
            time.sleep(0.005)
    finally:
        mark(f"{name}.stopped")


@app.endpoint("/tokens_async", runtime="trio", pool="trio", timeouts=PATIENT)
async def tokens_async(name: str) -> AsyncIterator[str]:
    try:
        while True:
            count_token(name)
            yield "token"
            await trio.sleep(0.005)
    finally:
        mark(f"{name}.stopped")


def chunks(name: str) -> Iterator[str]:
    """Yield chunks as fast as the reader takes them."""
    try:
        while True:
            count_token(name)
            yield "x" * CHUNK_BYTES
    finally:
        mark(f"{name}.stopped")


@app.endpoint("/flood", timeouts=PATIENT)
def flood(name: str) -> Iterator[str]:
    yield from chunks(name)


@app.endpoint("/flood_impatient", timeouts=Timeouts(idle=IDLE, grace=60.0))
def flood_impatient(name: str) -> Iterator[str]:
    yield from chunks(name)


@app.endpoint("/upload")
def upload(body: bytes) -> int:
    mark(f"uploaded.{len(body)}")
    return len(body)
