"""Endpoints with background jobs, for the page at ``/docs``. A file that a test creates lets a handler go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from penstock import App, Context, Jobs, Timeouts

app = App(__name__, title="Films", version="2.0")


def wait_for(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.005)


@app.endpoint("/render", jobs=Jobs())
def render(frames: int, gate: str, context: Context) -> dict[str, int]:
    """Render some frames."""
    context.progress(frames / 2, frames, "half of the frames")
    wait_for(gate)
    context.progress(frames, frames, "all frames")
    return {"frames": frames}


@app.endpoint("/hold", jobs=Jobs(), timeouts=Timeouts(grace=60))
def hold(gate: str, context: Context) -> None:
    """Hold on until the gate is open, cancelled or not."""
    context.progress(3, None, "holding")
    try:
        wait_for("/never")
    finally:
        wait_for(gate)


@app.endpoint("/spell", jobs=Jobs())
def spell(word: str, gate: str) -> Iterator[str]:
    """Spell a word; the gate is before the last letter."""
    yield from word[:-1]
    wait_for(gate)
    yield word[-1]


@app.endpoint("/divide", jobs=Jobs())
def divide(by: int) -> float:
    """Divide one by a number."""
    return 1 / by


@app.endpoint("/square")
def square(input: float) -> float:
    """Square a number."""
    return input**2
