r"""A data pipeline on trio: the moods of the lines of stdin, as JSON lines on stdout.

::

    printf 'a good day\nan awful day\n' | python examples/trio_pipeline.py

Nothing piles up: the channels pass the back-pressure of a slow model, or of a slow reader of stdout, on to stdin.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TypeAlias

import trio
from moods import app

from penstock import AsyncEngine, PenstockError, open_engine

AT_ONCE = 8  # lines in the engine at the same time
AHEAD = 16  # further lines that wait between two stages

Line: TypeAlias = tuple[int, str]
Answer: TypeAlias = dict[str, Any]


async def read(lines: trio.MemorySendChannel[Line]) -> None:
    """Pass the lines of stdin on, with their numbers, no faster than they are taken."""
    async with lines:
        number = 0
        async for line in trio.wrap_file(sys.stdin):
            number += 1
            await lines.send((number, line.strip()))


async def judge(
    engine: AsyncEngine, lines: trio.MemoryReceiveChannel[Line], answers: trio.MemorySendChannel[Answer]
) -> None:
    """Pass on the answers to one line after another. An error is an answer too."""
    async with lines, answers:
        async for number, text in lines:
            try:
                found = {"mood": await engine.call("mood", {"text": text}, timeout=5.0)}
            except PenstockError as error:
                found = {"error": error.code}
            await answers.send({"line": number, **found})


async def write(answers: trio.MemoryReceiveChannel[Answer]) -> None:
    """Print the answers, in the order in which they are ready."""
    async with answers:
        async for answer in answers:
            await trio.to_thread.run_sync(print, json.dumps(answer))


async def main() -> None:
    """Run the engine and the three stages until stdin ends."""
    async with open_engine(app) as engine, trio.open_nursery() as nursery:
        send_lines, lines = trio.open_memory_channel[Line](AHEAD)
        send_answers, answers = trio.open_memory_channel[Answer](AHEAD)
        nursery.start_soon(read, send_lines)
        async with lines, send_answers:
            for _ in range(AT_ONCE):
                nursery.start_soon(judge, engine, lines.clone(), send_answers.clone())
        nursery.start_soon(write, answers)


if __name__ == "__main__":
    trio.run(main)
