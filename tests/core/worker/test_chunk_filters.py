"""Filters of answers, which the type of a request brings, in each way to run an attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.response import Encoded
from penstock.wire import FAILED_HANDLER
from tests.core.worker.zygote_client import WorkerClient, ZygoteClient

STREAMS = [
    ("default", "filtered"),
    ("threads", "filtered-thread"),
    ("tasks", "filtered-task"),
    ("aio", "filtered-aio"),
    ("tasks", "filtered-returned"),
    ("filtered-loop", "filtered-loop"),
]


@pytest.fixture(scope="module")
def zygote() -> Iterator[ZygoteClient]:
    with ZygoteClient() as client:
        yield client


@pytest.fixture(scope="module")
def workers(zygote: ZygoteClient) -> Callable[[str], WorkerClient]:
    pools: dict[str, WorkerClient] = {}

    def worker(pool: str) -> WorkerClient:
        if pool not in pools:
            pools[pool] = zygote.spawn(pool)
        return pools[pool]

    return worker


def streamed(worker: WorkerClient, name: str, words: list[str], **more: Any) -> tuple[list[Any], Any]:
    worker.run(name, {"words": words, **more})
    worker.head()
    values, done = worker.chunks()
    return values, done.results[0]


@pytest.mark.parametrize(("pool", "name"), STREAMS, ids=str)
def test_each_chunk_goes_through_the_filter(workers: Any, pool: str, name: str) -> None:
    """A chunk that it holds back comes at the end; a request without a filter is answered as ever."""
    assert streamed(workers(pool), name, ["a", "b", "c"]) == (["A", "B", "C"], Encoded(b""))
    assert streamed(workers(pool), name, ["a", "b"], is_filtered=False) == (["a", "b"], Encoded(b""))
    assert streamed(workers(pool), name, []) == ([], Encoded(b""))


@pytest.mark.parametrize(("pool", "name"), STREAMS, ids=str)
def test_a_filter_may_end_the_stream(zygote: ZygoteClient, pool: str, name: str) -> None:
    """It has succeeded, and the handler's ``finally`` blocks have run, or the loop's ``release``."""
    worker = zygote.spawn(pool)
    assert streamed(worker, name, ["a", "stop", "b"]) == (["STOPPED"], Encoded(b""))
    worker.output_until("closed")


@pytest.mark.parametrize(("pool", "name"), STREAMS, ids=str)
def test_a_filter_that_raises_fails_the_job(zygote: ZygoteClient, pool: str, name: str) -> None:
    """As if the handler had; its ``finally`` blocks run."""
    worker = zygote.spawn(pool)
    _, failure = streamed(worker, name, ["a", "b", "boom"])
    assert (failure.kind, failure.detail) == (FAILED_HANDLER, "the filter broke")
    worker.output_until("closed")


@pytest.mark.parametrize(
    ("pool", "name"),
    [("default", "filtered-whole"), ("tasks", "filtered-whole-task"), ("batches", "filtered-batch")],
    ids=str,
)
def test_a_single_result_is_filtered_as_a_whole(workers: Any, pool: str, name: str) -> None:
    """Also each item of a batch, by the filter of its own request."""
    assert workers(pool).ask(name, {"words": ["a", "b"]}) == "AB"
    assert workers(pool).ask(name, {"words": ["a"], "is_filtered": False}) == "a"
