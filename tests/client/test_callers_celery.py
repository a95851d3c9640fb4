"""The part of docs/how-to/celery-temporal-airflow.md about Celery, in a worker of Celery in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from celery.result import AsyncResult

from tests.client.callers import Code, Site, new_frames, serving_site, value_of, wait_retried
from tests.serving import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("callers")) as site:
        yield site


@pytest.fixture(scope="module")
def code(site: Site) -> Iterator[Code]:
    code = Code(site)
    with code.worker():
        yield code
    code.close()


@pytest.fixture
def frames() -> int:
    return new_frames()


def test_a_task_returns_the_result_of_its_job(site: Site, code: Code) -> None:
    """The job has the id of the task."""
    result = code.render_film.delay(0)
    assert value_of(result) == "0 frames"
    assert site.job(result.id).state == "succeeded"


def test_a_task_whose_job_runs_for_longer_than_a_step_is_called_again(site: Site, code: Code, frames: int) -> None:
    """Each step finds the job of the first one, and the work runs once."""
    result = code.render_film.delay(frames)
    wait_retried(result)
    site.open(frames)
    assert value_of(result) == f"{frames} frames"
    assert site.runs(frames) == 1


def test_a_message_that_is_delivered_twice_does_not_run_the_work_twice(site: Site, code: Code, frames: int) -> None:
    """The second delivery has the id of the first, finds its job, and returns the same result."""
    site.open(frames)
    for _ in range(2):
        result = code.render_film.apply_async([frames], task_id=f"twice-{frames}")
        assert value_of(result) == f"{frames} frames"
        result.forget()
    assert site.runs(frames) == 1


def test_a_task_whose_job_fails_fails(code: Code) -> None:
    """The job stays as it ended, so there is no further step."""
    result = code.render_film.delay(-1)
    with pytest.raises(RuntimeError, match=r"is failed: .*handler-error"):
        value_of(result)


def test_a_revoked_task_cancels_its_job(site: Site, code: Code, frames: int) -> None:
    """Where the next step would begin, also in a pool that cannot terminate a task."""
    result = code.render_film.delay(frames)
    wait_retried(result)
    result.revoke()
    site.wait_state(result.id, "cancelled")
    wait_until(lambda: result.state == "REVOKED", "the state of the task")


def test_a_task_that_expires_cancels_its_job(site: Site, code: Code, frames: int) -> None:
    """``expires`` limits all steps together, in a pool that has no time limits."""
    result = code.render_film.apply_async([frames], expires=3)
    site.wait_state(result.id, "cancelled")


def test_a_task_that_is_revoked_before_it_began_has_no_job_to_cancel(code: Code) -> None:
    """The handler of the signal accepts that, so nothing is logged."""
    code.cancel_job(request=SimpleNamespace(id="never-begun"))


class Hook:
    """A receiver of webhooks, which answers with the status that the page's function returns."""

    def __init__(self, receive: Callable[[dict[str, str], bytes], int]) -> None:
        self.statuses: list[int] = []
        statuses = self.statuses

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receive({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                self.end_headers()
                statuses.append(status)

            def log_message(self, *_: Any) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hook(code: Code) -> Iterator[Hook]:
    hook = Hook(code.receive)
    yield hook
    hook.close()


def test_a_webhook_starts_the_second_task(code: Code, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the result of the job that the first task has begun."""
    second: list[AsyncResult] = []
    delay = code.end_film.delay
    monkeypatch.setattr(code.end_film, "delay", lambda job_id: second.append(delay(job_id)))
    monkeypatch.setitem(code.HOOK, "url", hook.url)
    first = code.begin_film.delay(0)
    wait_until(lambda: hook.statuses, "the webhook", timeout=20)
    assert hook.statuses == [204]
    assert (value_of(first), value_of(second[0])) == (None, "0 frames")


def test_a_forged_webhook_starts_nothing(code: Code) -> None:
    """The signature is verified before anything is believed."""
    headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,AA=="}
    assert code.receive(headers, b'{"data": {"id": "a"}}') == 400
