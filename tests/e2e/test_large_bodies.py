from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.serving import Answer, Served

pytestmark = pytest.mark.e2e

BODY = bytes(15 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with Served("tests/e2e/apps/large_bodies.py:app") as served:
        yield served


def test_large_uploads_at_the_same_time_are_all_answered(server: Served) -> None:
    """Attempts known to be short do not make large bodies travel ahead, to be recalled and sent again without end."""
    for _ in range(3):  # now the handler is known to be quick
        assert server.post("/raw", BODY).json() == len(BODY)

    def upload(_: int) -> Answer:
        return server.post("/raw", BODY, headers={"X-Request-Timeout": "10"})

    began = monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(upload, range(4)))
    assert [answer.json() for answer in answers] == [len(BODY)] * 4
    assert monotonic() - began < 5.0


def test_large_results_at_the_same_time_are_all_answered(server: Served) -> None:
    """The jobs that wait behind a result that is still being written begin when it is written."""

    def fetch(size: int) -> Answer:
        return server.post_json("/blank", {"size": size})

    sizes = [15 << 20, 1, 1 << 20, 15 << 20, 7]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(fetch, sizes))
    assert [len(answer.body) for answer in answers] == sizes
