"""A chat bot on asyncio: it answers each line that a client sends, word by word, and comments on its mood.

::

    python examples/asyncio_bot.py 7000 &
    nc localhost 7000

A client that leaves in the middle of an answer ends the work for it, because that cancels its task.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial

from moods import app

from penstock import AsyncEngine, PenstockError, open_engine

PATIENCE_SECONDS = 2.0  # a person waits no longer


async def answer(engine: AsyncEngine, text: str, writer: asyncio.StreamWriter) -> None:
    """Write the answer to one line, and end it with a smiley."""
    mood = await engine.call("mood", {"text": text}, timeout=PATIENCE_SECONDS)
    async with engine.stream("reply", {"text": text}, timeout=PATIENCE_SECONDS) as words:
        async for word in words:
            writer.write(f"{word} ".encode())
            await writer.drain()
    writer.write(b":-)\n" if mood >= 0 else b":-(\n")


async def chat(engine: AsyncEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk to one client until it leaves."""
    try:
        while line := await reader.readline():
            try:
                await answer(engine, line.decode(errors="replace").strip(), writer)
            except PenstockError as error:
                writer.write(f"I cannot answer that: {error}\n".encode())
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass  # the client has left, or the program ends
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serve until the program is interrupted."""
    async with open_engine(app) as engine:
        server = await asyncio.start_server(partial(chat, engine), "127.0.0.1", port)
        print("listening", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()  # not `async with server`, which waits until all clients have left


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
