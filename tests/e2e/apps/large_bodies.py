"""An app that takes and returns large bodies in every mode of running handlers, and dies with them."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from pathlib import Path

from penstock import App, Batching, Context
from tests.e2e.apps.marks import folder, mark

app = App(__name__)


@app.endpoint("/raw")
def raw(body: bytes) -> int:
    return len(body)


@app.endpoint("/blank")
def blank(size: int) -> bytes:
    return bytes(size)


@app.endpoint("/inline", pool="inline")
def inline(body: bytes) -> bytes:
    return body


@app.endpoint("/thread", pool="threads", concurrency=2)
def thread(body: bytes) -> bytes:
    return body


@app.endpoint("/trio", pool="trio", runtime="trio", concurrency=2)
async def trio(body: bytes) -> bytes:
    return body


@app.endpoint("/asyncio", pool="asyncio", runtime="asyncio", concurrency=2)
async def asyncio(body: bytes) -> bytes:
    return body


@app.endpoint("/batch", pool="batches", batching=Batching(max_size=4, max_wait=0.2))
def batch(bodies: list[bytes]) -> list[bytes]:
    return bodies


@app.endpoint("/json", pool="json")
def json(text: str, context: Context) -> str:
    return text + str(context.attempt)


@app.endpoint("/digest", pool="frail")
def digest(body: bytes, context: Context) -> dict[str, object]:
    """Die at the first attempt."""
    if not (folder() / "died").exists():
        mark("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return {"sha256": hashlib.sha256(body).hexdigest(), "pid": os.getpid()}


@app.endpoint("/hold", pool="frail")
def hold(body: bytes) -> int:
    """Keep a large body for a while."""
    mark("held")
    time.sleep(20.0)
    return len(body)


@app.endpoint("/hoard", pool="frail")
def hoard() -> None:
    """Use up all descriptors of this worker."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(1)
    except OSError:
        return


@app.endpoint("/starved-inline", pool="starved-inline")
def starved_inline(body: bytes) -> int:
    return starve()


@app.endpoint("/starved-asyncio", pool="starved-asyncio", runtime="asyncio", concurrency=2)
async def starved_asyncio(body: bytes) -> int:
    return starve()


@app.endpoint("/starved-trio", pool="starved-trio", runtime="trio", concurrency=2)
async def starved_trio(body: bytes) -> int:
    return starve()


def starve() -> int:
    """Leave this process so little memory that it cannot hold a large body; return its pid."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most_bytes = pages * resource.getpagesize() + (4 << 20)
    # The hard limit stays: the next call may need a higher one, since the process has grown.
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return os.getpid()
