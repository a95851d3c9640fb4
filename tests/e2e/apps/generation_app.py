"""Generation loops whose chunks say in which step and slot they were made, and which can get stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TypedDict

import msgspec
import trio

from penstock import App, Context, Done, InvalidRequest, Jobs, Timeouts
from tests.e2e.apps.marks import mark

app = App(__name__, settings={"overload": {"enabled": False}})  # it would learn what the tests before it took

PACE = 0.01
FOREVER = 60.0
PATIENT = Timeouts(execution=30, grace=20)
HOPELESS = Timeouts(execution=30, grace=0.4)


class Token(TypedDict):
    """One chunk."""

    n: int
    step: int
    slot: int
    pid: int
    attempt: int
    text: str


class Order(msgspec.Struct):
    """The wishes of a client: ``n`` tokens, from step number ``silent`` of its own on, each with ``size`` characters.

    ``stuck`` is where its code gets stuck, and how.
    """

    n: int = 3
    silent: int = 0
    size: int = 0
    stuck: str = ""


class Counting:
    """The state of a loop, and its jobs."""

    def setup(self) -> None:
        self.steps = 0
        self.jobs: dict[int, tuple[Order, Context]] = {}
        self.made: dict[int, int] = {}

    def begin(self, slot: int, order: Order, context: Context) -> None:
        if order.n < 1:
            raise InvalidRequest("n must be at least 1", param="n")
        assert slot not in self.jobs
        self.jobs[slot] = order, context
        self.made[slot] = 0

    def advance(self, slots: list[int]) -> dict[int, Token | Done]:
        self.steps += 1
        return {slot: token for slot in slots if (token := self._token(slot)) is not None}

    def _token(self, slot: int) -> Token | Done | None:
        order, context = self.jobs[slot]
        self.made[slot] += 1
        n = self.made[slot] - order.silent
        if n < 1:
            return None
        token = Token(n=n, step=self.steps, slot=slot, pid=os.getpid(), attempt=context.attempt, text="x" * order.size)
        return Done(token) if n == order.n else token

    def is_stuck(self, slots: list[int], how: str) -> bool:
        return any(self.jobs[slot][0].stuck == how for slot in slots)

    def forget(self, slot: int) -> None:
        _, context = self.jobs.pop(slot)
        mark(f"released-{context.request_id}", str(slot))

    def teardown(self) -> None:
        mark(f"teardown-{os.getpid()}", str(len(self.jobs)))


class Plain(Counting):
    """A loop of plain methods."""

    def admit(self, slot: int, order: Order, context: Context) -> None:
        if order.stuck == "admit":
            time.sleep(FOREVER)
        self.begin(slot, order, context)

    def step(self, slots: list[int]) -> dict[int, Token | Done]:
        if self.is_stuck(slots, "deaf"):  # as code that does not return to Python
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        time.sleep(FOREVER if self.is_stuck(slots, "deaf") or self.is_stuck(slots, "sleep") else PACE)
        return self.advance(slots)

    def release(self, slot: int) -> None:
        self.forget(slot)


@app.endpoint("/plain", max_slots=4, timeouts=PATIENT, jobs=Jobs())
class OnTrio(Plain):
    pass


@app.endpoint("/plain-asyncio", max_slots=4, timeouts=PATIENT, runtime="asyncio")
class OnAsyncio(Plain):
    pass


@app.endpoint("/hopeless", max_slots=4, timeouts=HOPELESS)
class Hopeless(Plain):
    pass


@app.endpoint("/trio", max_slots=4, timeouts=PATIENT)
class Trio(Counting):
    async def admit(self, slot: int, order: Order, context: Context) -> None:
        await trio.sleep(FOREVER if order.stuck == "admit" else 0)
        self.begin(slot, order, context)

    async def step(self, slots: list[int]) -> dict[int, Token | Done]:
        await trio.sleep(FOREVER if self.is_stuck(slots, "sleep") else PACE)
        return self.advance(slots)

    async def release(self, slot: int) -> None:
        await trio.lowlevel.checkpoint()
        self.forget(slot)


@app.endpoint("/asyncio", max_slots=4, timeouts=PATIENT, runtime="asyncio")
class Asyncio(Counting):
    async def admit(self, slot: int, order: Order, context: Context) -> None:
        await asyncio.sleep(FOREVER if order.stuck == "admit" else 0)
        self.begin(slot, order, context)

    async def step(self, slots: list[int]) -> dict[int, Token | Done]:
        await asyncio.sleep(FOREVER if self.is_stuck(slots, "sleep") else PACE)
        return self.advance(slots)

    async def release(self, slot: int) -> None:
        await asyncio.sleep(0)
        self.forget(slot)
