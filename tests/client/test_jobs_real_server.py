"""Background jobs of a real server, by the client: results, events across a restart, cancels, and webhooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from standardwebhooks import Webhook

from penstock_client import AsyncClient, Client, errors
from tests.client.drivers import DRIVERS
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
APP = """
    import time
    from collections.abc import Iterator

    from penstock import App, Context, Jobs

    app = App(__name__)

    @app.endpoint("/square", jobs=Jobs())
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/fail", jobs=Jobs())
    def fail() -> None:
        raise ValueError("no")

    @app.endpoint("/count", jobs=Jobs(), concurrency=2)
    def count(to: int, pause: float, context: Context) -> Iterator[int]:
        for number in range(to):
            context.progress(number, to)
            yield number
            time.sleep(pause)

    @app.endpoint("/sleep", jobs=Jobs(), concurrency=2)
    async def sleep(seconds: float) -> str:
        import trio
        await trio.sleep(seconds)
        return "done"
"""


class Receiver:
    """A receiver of webhooks."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def server_of(folder: Path) -> Served:
    environment = {
        "PENSTOCK_JOBS_STORE": f"sqlite:///{folder / 'jobs.db'}",
        "PENSTOCK_JOBS_WEBHOOK_SECRET": SECRET,
        "PENSTOCK_JOBS_WEBHOOK_HOSTS": "127.0.0.1",
    }
    return Served(write_app(folder, APP), environment=environment)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with server_of(tmp_path_factory.mktemp("jobs")) as server:
        yield server


def by(driver: str, served: Served, name: str, *arguments: Any, **options: Any) -> Any:
    if driver == "sync":
        with Client(served.base_url) as client:
            found = getattr(client.jobs, name)(*arguments, **options)
            if name == "events":
                with found as events:
                    return list(events)
            return list(found) if name == "list" else found

    async def main() -> Any:
        async with AsyncClient(served.base_url) as client:
            found = getattr(client.jobs, name)(*arguments, **options)
            if name == "events":
                async with found as events:
                    return [event async for event in events]
            return [job async for job in found] if name == "list" else await found

    return anyio.run(main, backend=driver)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_job_has_the_result_of_a_call(served: Served, driver: str) -> None:
    """It is stored, runs, and its document and its result are read."""
    job = by(driver, served, "submit", "square", {"input": 3.0}, metadata={"team": "blue"})
    assert by(driver, served, "result", job.id, timeout=20).value == 9.0
    ended = by(driver, served, "get", job.id)
    assert (ended.state, ended.result, ended.metadata, ended.claim) == ("succeeded", 9.0, {"team": "blue"}, 1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_job_that_fails_has_the_error_of_a_call(served: Served, driver: str) -> None:
    """With the same class."""
    job = by(driver, served, "submit", "fail", {})
    assert by(driver, served, "wait", job.id, timeout=20).state == "failed"
    with pytest.raises(errors.HandlerError):
        by(driver, served, "result", job.id)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_job_of_ones_own_name_is_stored_once(served: Served, driver: str) -> None:
    """Another job under the same id is refused."""
    name = f"named-{driver}"
    assert by(driver, served, "submit", "square", {"input": 2.0}, job_id=name).id == name
    assert by(driver, served, "submit", "square", {"input": 2.0}, job_id=name).id == name
    with pytest.raises(errors.IdempotencyMismatch):
        by(driver, served, "submit", "square", {"input": 5.0}, job_id=name)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_events_of_a_stream(served: Served, driver: str) -> None:
    """States, progress and chunks, numbered without a gap; after the end they are all there again."""
    job = by(driver, served, "submit", "count", {"to": 3, "pause": 0.01})
    events = by(driver, served, "events", job.id, timeout=20)
    assert [event.number for event in events] == list(range(events[0].number, events[0].number + len(events)))
    assert events[-1].kind == "end"
    assert "chunk" in {event.kind for event in events}
    assert by(driver, served, "events", job.id, timeout=20) == events
    assert by(driver, served, "events", job.id, after=events[-1].number, timeout=20) == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_running_job_is_cancelled(served: Served, driver: str) -> None:
    """The document says so once the work has stopped."""
    job = by(driver, served, "submit", "sleep", {"seconds": 60})
    wait_until(lambda: by("sync", served, "get", job.id).state == "running", "the start")
    assert by(driver, served, "cancel", job.id, wait=20).state == "cancelled"


@pytest.mark.parametrize("driver", DRIVERS)
def test_jobs_are_listed_and_deleted(served: Served, driver: str) -> None:
    """A list has the jobs of one group, over several pages."""
    group = f"group-{driver}"
    stored = [by(driver, served, "submit", "square", {"input": float(number)}, group=group) for number in range(5)]
    found = by(driver, served, "list", group=group, limit=2)
    assert [job.id for job in found] == [job.id for job in reversed(stored)]
    by(driver, served, "wait", stored[0].id, timeout=20)
    by(driver, served, "delete", stored[0].id)
    with pytest.raises(errors.JobNotFound):
        by(driver, served, "get", stored[0].id)


def test_the_end_of_a_job_is_reported(served: Served, receiver: Receiver) -> None:
    """Signed by Standard Webhooks, with the document of the job."""
    job = by("sync", served, "submit", "square", {"input": 4.0}, webhook={"url": receiver.url})

    def mine() -> list[tuple[dict[str, str], bytes]]:
        return [found for found in receiver.received if job.id in found[1].decode()]

    [(headers, body)] = wait_until(mine, "the webhook")
    verified = Webhook(SECRET).verify(body.decode(), headers)
    assert verified["type"] == "job.succeeded"
    assert (verified["data"]["id"], verified["data"]["result"]) == (job.id, 16.0)


def test_events_go_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    """The reader of a job that is queued when the server stops sees its end, and every event once."""
    first, second = server_of(tmp_path), server_of(tmp_path)
    second.port, second.base_url, second.command = first.port, first.base_url, first.command
    with first, Client(first.base_url) as client:
        before = [client.jobs.submit("sleep", {"seconds": 1.0}) for _ in range(2)]
        last = client.jobs.submit("sleep", {"seconds": 2.0})
        with client.jobs.events(last.id, timeout=60) as events:
            numbers = [next(events).number]
            assert first.stop() == 0
            with second:
                numbers += [event.number for event in events]
                ended = [client.jobs.wait(job.id, timeout=30).state for job in [*before, last]]
    assert ended == ["succeeded"] * 3
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
