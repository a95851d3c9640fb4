"""Direct calls with ``Prefer: respond-async``: stored first, and answered at the end of the job or of the wait."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio

from penstock.body_files import Body, BodyFile
from penstock.errors import InvalidRequest, Unavailable
from penstock.hooks import Endpoint, Principal, RouteResponse, Submission
from penstock.job_store import IdempotencyMismatch, JobNotFound, StoreUnavailable
from penstock_jobs.embedded_jobs import EmbeddedJobs
from penstock_jobs.job_acceptors import job_acceptor
from penstock_jobs.job_heads import read_head
from penstock_jobs.job_requests import ADMIN_SCOPE
from tests.plugins.jobs.job_route_scene import NO_WEBHOOKS, JobScene
from tests.serving import wait_until

BODY = b'{"input": 3.0}'
Run = Callable[[Callable[[], Coroutine[Any, Any, RouteResponse]]], RouteResponse]
LOOPS: dict[str, Run] = {"asyncio": lambda work: asyncio.run(work()), "trio": trio.run}


@pytest.fixture
def scene() -> JobScene:
    return JobScene()


def endpoint(scene: JobScene, name: str = "square") -> Endpoint:
    return next(each for each in scene.app.endpoints if each.name == name)


def submission(scene: JobScene, name: str = "square", **headers: str) -> Submission:
    sent = {key.replace("_", "-").lower(): value for key, value in headers.items()}
    target = endpoint(scene, name)
    return Submission(target, request_id="r9", header=sent.get, query="q=1", principal=Principal("alice"))


def accept(
    scene: JobScene, submission: Submission, body: Body = BODY, run: Run = LOOPS["asyncio"], **headers: str
) -> RouteResponse:
    acceptor = job_acceptor(scene.desk, submission.endpoint)  # type: ignore[arg-type] # an endpoint
    assert acceptor is not None

    async def work() -> RouteResponse:
        answer: Any = acceptor.accept(submission, body, headers or None)
        return await answer

    return run(work)


@pytest.mark.parametrize(
    ("prefer", "is_wanted"),
    [
        (None, False),
        ("respond-async", True),
        ("wait=5, Respond-Async", True),
        ("wait=5", False),
        ('x="respond-async"', False),
    ],
)
def test_a_job_is_made_if_the_caller_prefers_one(scene: JobScene, prefer: str | None, is_wanted: bool) -> None:
    """By the name of the preference, in any case and place."""
    acceptor = job_acceptor(scene.desk, endpoint(scene))
    assert acceptor is not None
    asked = submission(scene) if prefer is None else submission(scene, Prefer=prefer)
    assert acceptor.wants(asked) == is_wanted


def test_an_endpoint_without_jobs_ignores_the_preference(scene: JobScene) -> None:
    """As RFC 7240 asks; there is nothing that could take its requests away."""
    assert job_acceptor(scene.desk, endpoint(scene, "cube")) is None


@pytest.mark.parametrize(
    ("name", "headers"), [("square", {}), ("square", {"Prefer": "wait=5"}), ("cube", {"Prefer": "respond-async"})]
)
def test_a_server_for_jobs_only_refuses_direct_calls(scene: JobScene, name: str, headers: dict[str, str]) -> None:
    """Also those to endpoints without background jobs. Another server may take them, so they may be retried."""
    call = submission(scene, name, **headers)
    acceptor = job_acceptor(scene.desk, call.endpoint, jobs_only=True)  # type: ignore[arg-type] # an endpoint
    assert acceptor is not None
    assert acceptor.wants(call)
    answer: Any = acceptor.accept(call, BODY, None)
    with pytest.raises(Unavailable, match="background jobs only") as caught:
        asyncio.run(answer)
    assert (caught.value.retryable, caught.value.retry_after) == (True, 1.0)


def test_a_server_for_jobs_only_takes_jobs(scene: JobScene) -> None:
    """As any other one."""
    call = submission(scene, Prefer="respond-async")
    acceptor = job_acceptor(scene.desk, call.endpoint, jobs_only=True)  # type: ignore[arg-type] # an endpoint
    assert acceptor is not None
    assert acceptor.wants(call)
    answer: Any = acceptor.accept(call, BODY, None)
    assert asyncio.run(answer).status == 202


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_without_a_wait_the_answer_is_the_document(scene: JobScene, run: Run) -> None:
    """202, and the job has what the handler needs."""
    asked = submission(scene, Prefer="respond-async", X_Request_Timeout="2.5", Start_Deadline="60")
    asked.credential_headers = ("authorization",)
    answer = accept(scene, asked, run=run, authorization="secret", accept="*/*")
    document = json.loads(answer.body)
    assert (answer.status, document["state"]) == (202, "queued")
    assert answer.headers["location"] == f"/v1/jobs/{document['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert (document["principal"], document["request_id"], document["priority"]) == ("alice", "r9", "batch")
    job, request = scene.job(document["id"]), scene.store.request(document["id"]).result()
    assert (job.timeout, job.start_by) == (2.5, scene.now + 60)
    assert request.body == BODY
    head = read_head(request.head)
    assert (head.query, head.scopes, head.headers, head.media_type) == ("q=1", (), {"accept": "*/*"}, None)


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("is_failure", [False, True])
def test_within_the_wait_the_answer_is_that_of_the_endpoint(scene: JobScene, run: Run, is_failure: bool) -> None:
    """The handler's own bytes, or its error, with the address of the job."""

    def work() -> None:
        wait_until(lambda: "1 watched" in repr(scene.desk), "the wait")
        key = scene.claim()
        if is_failure:
            scene.fail(key, "queue-full", 503)
        else:
            scene.finish(key, result=b"9.0")

    thread = threading.Thread(target=work)
    thread.start()
    answer = accept(scene, submission(scene, Prefer="respond-async, wait=30"), run=run)
    thread.join()
    assert answer.headers["location"].startswith("/v1/jobs/")
    assert answer.headers["preference-applied"] == "respond-async"
    if is_failure:
        assert (answer.status, answer.media_type) == (503, "application/problem+json")
        assert answer.headers["x-should-retry"] == "true"
    else:
        assert (answer.status, answer.body, answer.media_type) == (200, b"9.0", "application/json")


@pytest.mark.parametrize("loop", LOOPS)
def test_who_hangs_up_cancels_nothing(scene: JobScene, loop: str) -> None:
    """The wait ends, and the job stays."""
    acceptor = job_acceptor(scene.desk, endpoint(scene))
    assert acceptor is not None
    asked = submission(scene, Prefer="respond-async, wait=60")

    async def leave_asyncio() -> None:
        task = asyncio.ensure_future(acceptor.accept(asked, BODY, None))  # type: ignore[arg-type] # a coroutine
        await asyncio.to_thread(wait_until, lambda: "1 watched" in repr(scene.desk), "the wait")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def leave_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acceptor.accept, asked, BODY, None)  # type: ignore[arg-type] # async
            await trio.to_thread.run_sync(wait_until, lambda: "1 watched" in repr(scene.desk), "the wait")
            nursery.cancel_scope.cancel()

    if loop == "trio":
        trio.run(leave_trio)
    else:
        asyncio.run(leave_asyncio())
    assert "0 watched" in repr(scene.desk)
    [job] = scene.json("GET", "/v1/jobs")["jobs"]
    assert (job["state"], job["cancel_requested"]) == ("queued", False)


def test_a_key_stands_for_one_job(scene: JobScene) -> None:
    """A repeated request finds it, even when it has ended; another body, or query, is refused."""
    first = accept(scene, submission(scene, Prefer="respond-async", Idempotency_Key="k"))
    scene.run()
    again = accept(scene, submission(scene, Prefer="respond-async", Idempotency_Key="k"))
    assert (first.status, again.status, again.body) == (202, 200, b"9.0")
    assert first.headers["location"] == again.headers["location"]
    with pytest.raises(IdempotencyMismatch):
        accept(scene, submission(scene, Prefer="respond-async", Idempotency_Key="k"), b'{"input": 4.0}')


def test_nothing_that_cannot_run_is_stored(scene: JobScene) -> None:
    """Large bodies, which the engine leaves to its workers, are checked here; a closed store takes nothing."""
    with pytest.raises(InvalidRequest):
        accept(scene, submission(scene, Prefer="respond-async"), b'{"input": "%s"}' % (b"x" * 100_000))
    scene.desk.close()
    with pytest.raises(StoreUnavailable):
        accept(scene, submission(scene, Prefer="respond-async"))
    assert scene.json("GET", "/v1/jobs")["jobs"] == []


def with_memo(scene: JobScene, **headers: str) -> Submission:
    asked = submission(scene, **headers)
    asked.job_memo = b"to be kept"
    return asked


def test_a_dialect_that_asks_for_a_job_has_its_document(scene: JobScene) -> None:
    """At once, whatever the headers prefer, with its memo in the store; for a repeated request, too."""
    acceptor = job_acceptor(scene.desk, endpoint(scene))
    assert acceptor is not None
    assert acceptor.wants(with_memo(scene))
    first = accept(scene, with_memo(scene, Prefer="respond-async, wait=60", Idempotency_Key="k"))
    document = json.loads(first.body)
    assert (first.status, document["state"]) == (202, "queued")
    assert read_head(scene.store.request(document["id"]).result().head).memo == b"to be kept"
    scene.run()
    again = accept(scene, with_memo(scene, Idempotency_Key="k"))
    assert (again.status, json.loads(again.body)["id"]) == (202, document["id"])


def test_a_caller_sees_its_own_jobs(scene: JobScene) -> None:
    """With what a dialect has stored with them; those of others are not there, except for a caller who may see all."""
    job_id = json.loads(accept(scene, with_memo(scene)).body)["id"]
    plain = json.loads(accept(scene, submission(scene, Prefer="respond-async")).body)["id"]
    jobs = EmbeddedJobs(scene.desk, scene.app, NO_WEBHOOKS)

    async def look() -> None:
        own = jobs.seen_by(Principal("alice"))
        assert (await own.memo(job_id), await own.memo(plain)) == (b"to be kept", None)
        assert (await own.get(job_id))["state"] == "queued"
        assert (await own.cancel(plain))["state"] == "cancelled"
        scene.run()
        assert (await own.result(job_id), (await own.wait(job_id))["state"]) == (9.0, "succeeded")
        assert await jobs.seen_by(Principal("olga", frozenset({ADMIN_SCOPE}))).memo(job_id) == b"to be kept"
        for other in (jobs.seen_by(Principal("bob")), jobs.seen_by(None)):
            for ask in (other.get, other.wait, other.result, other.cancel, other.memo):
                with pytest.raises(JobNotFound):
                    await ask(job_id)

    asyncio.run(look())


def test_a_large_body_comes_in_a_file(scene: JobScene) -> None:
    """It is read in a thread; the key finds its job."""
    body = b'{"input": 3.0}' + b" " * (2 << 20)
    asked = submission(scene, Prefer="respond-async", Idempotency_Key="k")
    answers = [accept(scene, asked, content) for content in (BodyFile.of(body), body)]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    job = json.loads(answers[0].body)["id"]
    assert scene.store.request(job).result().body == body


def test_links_have_the_prefix_of_a_mounted_app(scene: JobScene) -> None:
    """As those of the routes: the submission of an adapter has the path."""

    class Mounted(Submission):
        path = "/api/square"

    asked = Mounted(endpoint(scene), header={"prefer": "respond-async"}.get)
    answer = accept(scene, asked)
    assert answer.headers["location"].startswith("/api/v1/jobs/")
    assert json.loads(answer.body)["links"]["self"] == answer.headers["location"]


def test_a_priority_that_a_policy_has_set_stays(scene: JobScene) -> None:
    """Otherwise the job is one of a batch, since its caller does not wait."""
    asked = submission(scene, Prefer="respond-async")
    asked.priority = "interactive"
    assert json.loads(accept(scene, asked).body)["priority"] == "interactive"
