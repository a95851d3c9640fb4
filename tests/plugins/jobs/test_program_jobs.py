"""``engine.jobs``: background jobs of a program around an engine, with real workers and a store in a real file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

import penstock
from penstock.errors import Cancelled, EngineError, HandlerError, InvalidRequest
from penstock.job_store import IdempotencyMismatch, JobNotFinal, JobNotFound
from tests.plugins.jobs.program_app import app
from tests.serving import wait_until


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[penstock.ThreadedEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_JOBS_STORE", f"sqlite:///{tmp_path_factory.mktemp('store')}/jobs.db")
        with penstock.start_engine(app) as engine:
            yield engine


@pytest.mark.parametrize(
    ("name", "input", "result"),
    [
        ("square", {"x": 4.0}, 16.0),
        ("reverse", b"\x00abc", b"cba\x00"),
        ("page", {"title": "Hello"}, penstock.Response(b"<h1>Hello</h1>", "text/html")),
        ("spell", {"word": "cat"}, ["c", "a", "t"]),
    ],
)
def test_a_result_is_that_of_a_call(engine: penstock.ThreadedEngine, name: str, input: Any, result: Any) -> None:
    """A value, bytes, a ``Response`` that says more, and the chunks of a stream as a list."""
    job = engine.jobs.submit(name, input)
    assert engine.jobs.result(job["id"], timeout=60) == result
    assert engine.jobs.get(job["id"])["state"] == "succeeded"


def test_the_options_are_those_of_http(engine: penstock.ThreadedEngine) -> None:
    """With any priority, which needs a scope there; instants may be those of ``datetime``."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    options = {"priority": "interactive", "not_before": tomorrow, "group": "night", "metadata": {"order": "17"}}
    job = engine.jobs.submit("square", {"x": 4.0}, id="options", request_id="r-1", **options)
    assert (job["id"], job["state"], job["priority"]) == ("options", "scheduled", "interactive")
    assert (job["group"], job["metadata"], job["request_id"]) == ("night", {"order": "17"}, "r-1")
    assert engine.jobs.cancel("options")["state"] == "cancelled"
    with pytest.raises(Cancelled):
        engine.jobs.result("options")


@pytest.mark.parametrize("key", ["id", "idempotency_key"])
def test_a_repeated_call_returns_the_same_job(engine: penstock.ThreadedEngine, key: str) -> None:
    """By an id or by a key; with another input it is refused."""
    name = {key: f"repeated-{key}"}
    job = engine.jobs.submit("square", {"x": 4.0}, **name)
    assert engine.jobs.submit("square", {"x": 4.0}, **name)["id"] == job["id"]
    with pytest.raises(IdempotencyMismatch):
        engine.jobs.submit("square", {"x": 5.0}, **name)


@pytest.mark.parametrize(
    ("name", "input", "options", "complaint"),
    [
        ("squares", {"x": 4.0}, {}, "did you mean square"),
        ("direct", {"x": 4.0}, {}, "'direct' names no endpoint that takes background jobs"),
        ("square", {"x": "four"}, {}, "float"),
        ("square", {"x": 4.0}, {"prio": 1}, "prio"),
        ("square", {"x": 4.0}, {"not_before": "soon"}, "not_before"),
        ("square", None, {"endpoint": "direct"}, "the first two arguments"),
    ],
)
def test_what_cannot_be_used_is_refused(
    engine: penstock.ThreadedEngine, name: str, input: Any, options: dict[str, Any], complaint: str
) -> None:
    """Before anything is stored."""
    with pytest.raises(InvalidRequest, match=complaint):
        engine.jobs.submit(name, input, **options)


def test_the_error_of_a_job_is_raised_as_its_class(engine: penstock.ThreadedEngine) -> None:
    """By ``result``; ``wait`` returns the document, which has the problem."""
    job = engine.jobs.submit("fail")
    with pytest.raises(HandlerError):
        engine.jobs.result(job["id"], timeout=60)
    document = engine.jobs.wait(job["id"])
    assert (document["state"], document["error"]["status"]) == ("failed", 500)


def test_a_job_that_is_not_there(engine: penstock.ThreadedEngine) -> None:
    """The same error as over HTTP, as an exception."""
    with pytest.raises(JobNotFound):
        engine.jobs.get("never")


def test_a_wait_has_an_end_and_the_job_goes_on(engine: penstock.ThreadedEngine, tmp_path: Path) -> None:
    """The error says so."""
    job = engine.jobs.submit("hold", {"until": str(tmp_path / "now")})
    with pytest.raises(JobNotFinal, match="it goes on"):
        engine.jobs.wait(job["id"], timeout=0.01)
    (tmp_path / "now").touch()
    assert engine.jobs.result(job["id"], timeout=60) == "let go"


def test_a_running_job_is_cancelled(engine: penstock.ThreadedEngine, tmp_path: Path) -> None:
    """``wait`` is for the end of its code."""
    job = engine.jobs.submit("hold", {"until": str(tmp_path / "never")})
    wait_until(lambda: engine.jobs.get(job["id"])["state"] == "running", "the job runs")
    assert engine.jobs.cancel(job["id"], wait=60)["state"] == "cancelled"


async def of_loop(of_asyncio: bool) -> None:
    async with penstock.open_engine(app) as engine:
        job = await engine.jobs.submit("square", {"x": 4.0})
        if of_asyncio:
            first, second = await asyncio.gather(engine.jobs.wait(job["id"]), engine.jobs.result(job["id"]))
            assert (first["state"], second) == ("succeeded", 16.0)
        assert await engine.jobs.result(job["id"], timeout=60) == 16.0
        assert (await engine.jobs.cancel(job["id"]))["state"] == "succeeded"


@pytest.mark.parametrize(
    "run", [lambda: asyncio.run(of_loop(True)), lambda: trio.run(of_loop, False)], ids=["asyncio", "trio"]
)
def test_programs_with_a_loop_await_them(
    run: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under asyncio and under trio."""
    monkeypatch.setenv("PENSTOCK_JOBS_STORE", f"sqlite:///{tmp_path}/jobs.db")
    run()


def test_the_end_of_the_engine_ends_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a job must not wait forever; a later call raises at once."""
    monkeypatch.setenv("PENSTOCK_JOBS_STORE", f"sqlite:///{tmp_path}/jobs.db")
    engine = penstock.start_engine(app)
    job = engine.jobs.submit("hold", {"until": str(tmp_path / "never")})
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            engine.jobs.wait(job["id"])
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: repr(engine.jobs) == "<ThreadedJobs: 1 calls>", "the thread waits")
    engine.stop()
    thread.join(30)
    assert [str(error) for error in errors] == ["the engine was closed while a caller waited for a background job"]
    with pytest.raises(EngineError, match="closed"):
        engine.jobs.get(job["id"])


def test_without_a_store_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra and the setting."""
    monkeypatch.delenv("PENSTOCK_JOBS_STORE", raising=False)
    with (
        penstock.start_engine(app) as engine,
        pytest.raises(EngineError, match=r"install penstock\[jobs\], and name a store in the setting 'store'"),
    ):
        engine.jobs.submit("square", {"x": 4.0})
