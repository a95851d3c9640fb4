"""Batching handlers: each returns the facts about its batch that a test checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio

from penstock import App, Batching, Timeouts
from tests.e2e.apps.marks import folder, mark, wait_for_marks

HOURS = 3600.0  # longer than any test: a batch that starts sooner has another reason
MEMBER_TOTAL = 4.0

app = App(__name__)


# ---- when a batch starts


@app.endpoint("/full", batching=Batching(max_size=4, max_wait=HOURS))
def full(batch: list[int]) -> list[dict[str, int]]:
    """Return the size of the batch and the square of the item."""
    return [{"size": len(batch), "square": item**2} for item in batch]


@app.endpoint("/columns", batching=Batching(max_size=2, max_wait=HOURS))
def columns(text: list[str], times: list[int]) -> list[str]:
    return [f"{len(text)}: {word * count}" for word, count in zip(text, times, strict=True)]


@app.endpoint("/patient", batching=Batching(max_size=4, max_wait=1.0))
def patient(batch: list[int]) -> list[int]:
    return [len(batch) for _ in batch]


@app.endpoint("/total", batching=Batching(max_size=4, max_wait=HOURS), timeouts=Timeouts(total=2.0))
def total(batch: list[int]) -> list[int]:
    return [len(batch) for _ in batch]


@app.endpoint("/queue", batching=Batching(max_size=4, max_wait=HOURS), timeouts=Timeouts(queue=2.0))
def queue(batch: list[int]) -> list[int]:
    return [len(batch) for _ in batch]


# ---- results


@app.endpoint("/roots", batching=Batching(max_size=4, max_wait=HOURS))
def roots(batch: list[float]) -> list[float | ValueError]:
    return [item**0.5 if item >= 0 else ValueError(f"{item} has no root") for item in batch]


@app.endpoint("/short", batching=Batching(max_size=4, max_wait=HOURS))
def short(batch: list[int]) -> list[int]:
    return batch[:-1]


@app.endpoint("/alone", batching=Batching(max_size=4, max_wait=HOURS))
def alone(batch: list[int]) -> int:
    return batch[0]


@app.endpoint("/raises", batching=Batching(max_size=4, max_wait=HOURS))
def raises(batch: list[int]) -> list[int]:
    raise RuntimeError("no batch pleases me")


@app.endpoint("/unsendable", batching=Batching(max_size=4, max_wait=HOURS))
def unsendable(batch: list[int]) -> list[object]:
    return [object() if item < 0 else item for item in batch]


# ---- inputs


class Page(msgspec.Struct):
    title: str
    text: str = ""


@app.endpoint("/pages", batching=Batching(max_size=4, max_wait=HOURS))
def pages(batch: list[Page]) -> list[Page]:
    return [Page(page.title.upper(), f"{len(page.text)} letters, {len(batch)} pages") for page in batch]


@app.endpoint("/raw", batching=Batching(max_size=4, max_wait=HOURS))
def raw(batch: list[bytes]) -> list[bytes]:
    return [body[::-1] for body in batch]


@app.endpoint("/meeting", workers=1, runtime="trio", concurrency=2, batching=Batching(max_size=2, max_wait=HOURS))
async def meeting(batch: list[str]) -> list[int]:
    """Wait until two batches run here at the same time; otherwise neither ends."""
    mark(f"meeting.{batch[0]}")
    with trio.fail_after(10.0):
        while len(list(folder().glob("meeting.*"))) < 2:  # noqa: ASYNC110 - the event is in another process
            await trio.sleep(0.005)
    return [len(batch) for _ in batch]


# ---- jobs that end before their batch does


@contextmanager
def watched(name: str) -> Iterator[None]:
    mark(f"{name}.began")
    try:
        yield
    except BaseException:
        mark(f"{name}.stopped")
        raise
    mark(f"{name}.ended")


@app.endpoint("/held", workers=1, batching=Batching(max_size=2, max_wait=HOURS), timeouts=Timeouts(grace=60.0))
def held(batch: list[str]) -> list[str]:
    """Run until the test releases the batch by its first item."""
    with watched(batch[0]):
        wait_for_marks(f"{batch[0]}.release")
    return batch


@app.endpoint(
    "/mortal", pool="held", batching=Batching(max_size=2, max_wait=HOURS), timeouts=Timeouts(total=MEMBER_TOTAL)
)
def mortal(batch: list[str]) -> list[str]:
    """Run like ``held``, with deadlines for the jobs."""
    with watched(batch[0]):
        wait_for_marks(f"{batch[0]}.release")
    return batch


@app.endpoint(
    "/held_async",
    workers=1,
    runtime="trio",
    concurrency=2,
    batching=Batching(max_size=2, max_wait=HOURS),
    timeouts=Timeouts(grace=60.0),
)
async def held_async(batch: list[str]) -> list[str]:
    with watched(batch[0]):
        while not (folder() / f"{batch[0]}.release").exists():  # noqa: ASYNC110 - the event is in another process
            await trio.sleep(0.005)
    return batch
