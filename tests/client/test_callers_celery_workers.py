"""Celery as in docs/how-to/celery-temporal-airflow.md, with other workers.

Celery stops all workers of a process at once, so these have a module of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.callers import Code, Site, new_frames, serving_site, value_of, wait_retried

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("callers")) as site:
        yield site


@pytest.fixture
def code(site: Site) -> Iterator[Code]:
    code = Code(site)
    yield code
    code.close()


@pytest.fixture
def frames() -> int:
    return new_frames()


def test_a_worker_that_ends_leaves_the_job_to_the_next_one(
    site: Site, code: Code, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job runs on while there is no worker, and a later one returns its result."""
    # As with other brokers; the one in memory would drop the messages that a worker has not acknowledged.
    monkeypatch.setattr("kombu.transport.memory.Channel.do_restore", True)
    with code.worker():
        result = code.render_film.delay(frames)
        site.wait_state(result.id, "running")
    assert site.job(result.id).state == "running"
    site.open(frames)
    site.wait_state(result.id, "succeeded")
    with code.worker():
        assert value_of(result) == f"{frames} frames"
    assert site.runs(frames) == 1


def test_a_worker_that_does_one_thing_at_a_time_cancels_too(site: Site, code: Code, frames: int) -> None:
    """The pool ``solo`` hears of the revoked task between two steps."""
    with code.worker("solo"):
        result = code.render_film.delay(frames)
        wait_retried(result)
        result.revoke()
        site.wait_state(result.id, "cancelled")
