"""Tokens per second of examples/chat.py, for one client and for more at the same time.

Prints a Markdown table: the tokens of all clients, divided by the seconds until the last answer has ended and by the
CPU seconds of the worker, which do not depend on what else the machine does. The prompts are read in that time, too.
Needs what the examples need.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

from chat import app  # noqa: E402  an example is imported by its name

from penstock import AsyncEngine, open_engine  # noqa: E402  after the example, as it was found

CLIENTS = (1, 2, 4, 8, 16)
TOKENS = int(os.environ.get("TOKENS", "64"))
MESSAGES = [{"role": "user", "content": "Tell me a long story about the sea."}]
STORY = {"messages": MESSAGES, "temperature": 0, "max_tokens": TOKENS}
TICKS = os.sysconf("SC_CLK_TCK")


async def _tokens_of_answer(engine: AsyncEngine) -> int:
    async with engine.stream("chat", STORY, timeout=600) as chunks:
        return len([chunk async for chunk in chunks])


def _cpu_seconds(engine: Any) -> float:
    [worker] = engine.status()["pools"]["chat"]["workers"]
    fields = Path(f"/proc/{worker['pid']}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _measure(engine: AsyncEngine, clients: int) -> None:
    began, cpu_seconds = time.perf_counter(), _cpu_seconds(engine)
    tokens = sum(await asyncio.gather(*(_tokens_of_answer(engine) for _ in range(clients))))
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds(engine) - cpu_seconds
    print(f"| {clients} | {tokens / seconds:.0f} | {tokens / cpu_seconds:.0f} |", flush=True)


async def _main() -> None:
    async with open_engine(app) as engine:
        await _tokens_of_answer(engine)  # the model is loaded, and its memory is mapped
        print("| clients | tokens/s | tokens per CPU second |\n|---|---|---|", flush=True)
        for clients in CLIENTS:
            await _measure(engine, clients)


if __name__ == "__main__":
    asyncio.run(_main())
