"""The routes of background jobs, row by row of their table: what is sent, and what comes back."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.errors import Forbidden, InvalidRequest, PenstockError, Unauthorized, UnsupportedMediaType
from penstock.job_store import (
    IdempotencyMismatch,
    JobEnding,
    JobGone,
    JobNotFinal,
    JobNotFound,
    Settlement,
    StoreFull,
    StoreLimits,
    StoreUnavailable,
    Webhook,
)
from penstock_jobs.job_ids import created_at, new_job_id
from tests.plugins.jobs.job_route_scene import START, JobScene
from tests.serving import wait_until

BODY = {"endpoint": "square", "input": {"input": 3.0}}
ADMIN = "root:jobs:admin"


@pytest.fixture
def scene() -> JobScene:
    return JobScene()


# ---- POST /v1/jobs


def test_post_stores_a_job(scene: JobScene) -> None:
    """202 with its document and address; the id is the server's."""
    answer = scene.send("POST", "/v1/jobs", BODY)
    document = json.loads(answer.body)
    assert (answer.status, document["state"], document["endpoint"]) == (202, "queued", "square")
    assert answer.headers["location"] == document["links"]["self"] == f"/v1/jobs/{document['id']}"
    assert created_at(document["id"]) == START
    assert (document["principal"], document["priority"], document["ahead"]) == ("alice", "batch", 0)
    stored = scene.job(document["id"])
    assert (stored.result_ttl, stored.record_ttl, stored.on_lost) == (100.0, 1000.0, "retry")
    assert scene.store.request(document["id"]).result().body == b'{"input": 3.0}'


def test_an_idempotency_key_stands_for_one_job(scene: JobScene) -> None:
    """The same key and body: 200 and the same job, however the JSON is spelled; another body: 422. Callers differ."""
    first = scene.send("POST", "/v1/jobs", BODY, Idempotency_Key="k")
    again = scene.send("POST", "/v1/jobs", b'{ "input":{"input":3.0},"endpoint":"square"}', Idempotency_Key="k")
    assert (first.status, again.status) == (202, 200)
    assert json.loads(first.body)["id"] == json.loads(again.body)["id"]
    with pytest.raises(IdempotencyMismatch):
        scene.send("POST", "/v1/jobs", {**BODY, "priority": "normal"}, Idempotency_Key="k")
    assert scene.send("POST", "/v1/jobs", BODY, who="bob", Idempotency_Key="k").status == 202


def test_options_are_stored(scene: JobScene) -> None:
    """With the times of the headers; a result can be kept for a shorter time only."""
    options = {
        "priority": "normal",
        "not_before": "2027-01-15T09:00:00Z",
        "start_by": START + 7200,
        "metadata": {"order": "17"},
        "group": "night",
        "result_ttl": 50,
    }
    sent = scene.send("POST", "/v1/jobs", {**BODY, **options}, X_Request_Timeout="2.5", Start_Deadline="7000")
    document = json.loads(sent.body)
    assert {name: document[name] for name in ("state", "priority", "group", "metadata")} == {
        "state": "scheduled",
        "priority": "normal",
        "group": "night",
        "metadata": {"order": "17"},
    }
    assert document["not_before"] == "2027-01-15T09:00:00.000Z"
    assert document["start_by"] == "2027-01-15T09:56:40.000Z"
    stored = scene.job(document["id"])
    assert (stored.timeout, stored.result_ttl) == (2.5, 50.0)
    assert scene.job(scene.submit(result_ttl=5000)).result_ttl == 100.0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "nothing"}, "endpoint"),
        ({"endpoint": "cube"}, "endpoint"),
        ({"endpoint": 1}, "endpoint"),
        ({"input": {"input": "x"}}, "input.input"),
        ({"input": {}}, "input.input"),
        ({"input": 7}, "input"),
        ({"priority": "urgent"}, "priority"),
        ({"not_before": "soon"}, "not_before"),
        ({"start_by": "2027-01-15T08:00:00"}, "start_by"),
        ({"not_before": 10, "start_by": 9}, "start_by"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"k": "ä" * 257}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata[...]"),
        ({"group": ""}, "group"),
        ({"result_ttl": 0}, "result_ttl"),
        ({"webhook": {"url": "https://example.org"}}, "webhook"),
        ({"id": "mine"}, "id"),
        ({"priorty": "normal"}, "priorty"),
    ],
)
def test_bad_requests_name_the_member(scene: JobScene, change: dict[str, Any], param: str) -> None:
    """422, and nothing is stored."""
    with pytest.raises(InvalidRequest) as caught:
        scene.send("POST", "/v1/jobs", {**BODY, **change})
    assert caught.value.status == 422
    assert caught.value.param == param
    assert caught.value.errors[0]["path"].startswith("$")
    assert scene.json("GET", "/v1/jobs")["jobs"] == []


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X_Request_Timeout", "0"),
        ("X_Request_Timeout", "1e3"),
        ("Start_Deadline", "-1"),
        ("Start_Deadline", "soon"),
        ("Idempotency_Key", "x" * 256),
        ("Idempotency_Key", ""),
    ],
)
def test_bad_headers_are_named(scene: JobScene, header: str, value: str) -> None:
    """422, with the header as the fault."""
    with pytest.raises(InvalidRequest) as caught:
        scene.send("POST", "/v1/jobs", BODY, **{header: value})
    assert caught.value.param == header.replace("_", "-")


@pytest.mark.parametrize("body", [b"", b"{", b'{"endpoint": "square", "input": \xff}'])
def test_what_is_not_json_is_malformed(scene: JobScene, body: bytes) -> None:
    """400, as for endpoints."""
    with pytest.raises(InvalidRequest) as caught:
        scene.send("POST", "/v1/jobs", body)
    assert caught.value.status == 400


def test_a_webhook_that_cannot_be_used_has_its_own_code(scene: JobScene) -> None:
    """``invalid-webhook``, here because the server sends none; one that can be used is stored."""
    with pytest.raises(InvalidRequest) as caught:
        scene.send("POST", "/v1/jobs", {**BODY, "webhook": {"url": "https://example.org"}})
    assert (caught.value.code, caught.value.status) == ("invalid-webhook", 422)
    able = JobScene(read_webhook=lambda option: option and Webhook(option["url"]))
    document = able.json("POST", "/v1/jobs", {**BODY, "webhook": {"url": "https://example.org"}})
    assert document["webhook"]["url"] == "https://example.org"
    assert document["webhook"]["deliveries"] == []


def test_the_priority_interactive_needs_a_scope(scene: JobScene) -> None:
    """Other callers may have the two below it."""
    body = {**BODY, "priority": "interactive"}
    with pytest.raises(Forbidden, match="jobs:interactive"):
        scene.send("POST", "/v1/jobs", body)
    assert scene.json("POST", "/v1/jobs", body, who="bob:jobs:interactive")["priority"] == "interactive"


def test_an_endpoint_s_own_authenticator_decides_who_may_use_it(scene: JobScene) -> None:
    """A route for all callers does not lead around it."""
    body = {"endpoint": "secret"}
    assert scene.send("POST", "/v1/jobs", body).status == 202
    for method, address, sent in (
        ("POST", "/v1/jobs", body),
        ("PUT", "/v1/jobs/mine", body),
        ("POST", "/v1/jobs?group=g", json.dumps(body).encode()),
    ):
        headers = {"Content_Type": "application/x-ndjson"} if "group" in address else {}
        with pytest.raises(Unauthorized):
            scene.send(method, address, sent, who="bob", **headers)


def test_bytes_are_sent_as_base64(scene: JobScene) -> None:
    """JSON has no bytes; the handler gets them as they were."""
    picture = bytes(range(256))
    body = {"endpoint": "size", "input": base64.b64encode(picture).decode()}
    job = scene.json("POST", "/v1/jobs", body)["id"]
    stored = scene.store.request(job).result()
    assert (stored.body, stored.media_type) == (picture, "application/octet-stream")
    with pytest.raises(InvalidRequest, match="base64"):
        scene.send("POST", "/v1/jobs", {**body, "input": "ä"})


def test_a_large_input_is_checked_too(scene: JobScene) -> None:
    """In a thread, with the same result."""
    with pytest.raises(InvalidRequest):
        scene.send("POST", "/v1/jobs", {**BODY, "input": {"input": "x" * 100_000}})
    padded = json.dumps(BODY).encode() + b" " * 100_000
    assert scene.send("POST", "/v1/jobs", padded).status == 202


def test_other_media_types_are_refused(scene: JobScene) -> None:
    """415 with the two that are read."""
    with pytest.raises(UnsupportedMediaType, match="x-ndjson"):
        scene.send("POST", "/v1/jobs", b"x", Content_Type="text/plain")


def test_a_store_that_is_full_or_closed_refuses() -> None:
    """503, to be sent again; nothing was stored."""
    full = JobScene(limits=StoreLimits(max_jobs=1))
    full.submit()
    with pytest.raises(StoreFull) as caught:
        full.submit()
    assert (caught.value.status, caught.value.retryable) == (503, True)
    full.desk.close()
    with pytest.raises(StoreUnavailable):
        full.submit()
    assert full.send("GET", "/v1/jobs").status == 200
    full.store.close()
    with pytest.raises(StoreUnavailable):
        full.send("GET", "/v1/jobs")


# ---- groups


def lines(*bodies: Any) -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


def test_a_group_is_stored_at_once(scene: JobScene) -> None:
    """202 with counts; its jobs are listed by the group's name."""
    answer = scene.send("POST", "/v1/jobs?group=night", lines(BODY, BODY, BODY), Content_Type="application/x-ndjson")
    document = json.loads(answer.body)
    assert (answer.status, document["group"], document["jobs"], document["new"]) == (202, "night", 3, 3)
    assert answer.headers["location"] == "/v1/jobs?group=night"
    listed = scene.json("GET", answer.headers["location"])["jobs"]
    assert {job["id"] for job in listed} == set(document["ids"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (lines(BODY, {"endpoint": "square", "input": {"input": "x"}}), 422),
        (lines(BODY) + b"{\n", 400),
        (lines({**BODY, "group": "a"}, {**BODY, "group": "b"}), 422),
        (lines(*[BODY] * 51), 503),
        (b"{}\n" * 10_001, 413),
        (b"\n\n", 400),
    ],
)
def test_of_a_group_all_or_none_are_stored(scene: JobScene, sent: bytes, status: int) -> None:
    """The error has the number of the line, if it is that of a line."""
    with pytest.raises(PenstockError) as caught:
        scene.send("POST", "/v1/jobs", sent, Content_Type="application/x-ndjson")
    assert caught.value.status == status
    if sent.count(b"\n") == 2 and sent.strip():
        assert caught.value.detail.startswith(("line 2: ", "group: "))
    assert scene.json("GET", "/v1/jobs")["jobs"] == []


def test_a_group_without_a_name_gets_one_and_may_be_repeated_by_its_key(scene: JobScene) -> None:
    """The same key and lines are the same jobs; other lines are refused."""
    media_type = {"Content_Type": "application/x-ndjson"}
    assert json.loads(scene.send("POST", "/v1/jobs", lines(BODY), **media_type).body)["group"]
    first = scene.send("POST", "/v1/jobs", lines(BODY, BODY), Idempotency_Key="k", **media_type)
    again = scene.send("POST", "/v1/jobs", lines(BODY, BODY), Idempotency_Key="k", **media_type)
    assert (first.status, again.status) == (202, 200)
    assert json.loads(first.body)["ids"] == json.loads(again.body)["ids"]
    assert json.loads(again.body)["repeated"] == 2
    with pytest.raises(IdempotencyMismatch):
        scene.send("POST", "/v1/jobs", lines(BODY), Idempotency_Key="k", **media_type)


def test_a_large_group(scene: JobScene) -> None:
    """Its lines are read in a thread."""
    sent = lines(*[{"endpoint": "size", "input": "AAAA" * 500, "id": f"n-{number}"} for number in range(40)])
    answer = scene.send("POST", "/v1/jobs", sent, Content_Type="application/x-ndjson")
    document = json.loads(answer.body)
    assert document["ids"] == [f"n-{number}" for number in range(40)]
    again = json.loads(scene.send("POST", "/v1/jobs", sent, Content_Type="application/x-ndjson").body)
    assert (again["group"], again["repeated"]) == (document["group"], 40)


# ---- PUT /v1/jobs/{id}


def test_put_stores_a_job_by_the_callers_id(scene: JobScene) -> None:
    """201 new; 200 for the same body, before and after its end; 422 for another body, and for another caller's id."""
    first = scene.send("PUT", "/v1/jobs/order-17", BODY)
    assert (first.status, first.headers["location"]) == (201, "/v1/jobs/order-17")
    assert scene.send("PUT", "/v1/jobs/order-17", BODY).status == 200
    scene.run()
    again = scene.send("PUT", "/v1/jobs/order-17", BODY)
    assert (again.status, json.loads(again.body)["result"]) == (200, 9.0)
    for who, body in (("alice", {**BODY, "input": {"input": 4.0}}), ("bob", BODY)):
        with pytest.raises(IdempotencyMismatch) as caught:
            scene.send("PUT", "/v1/jobs/order-17", body, who=who)
        assert caught.value.retryable is False
    for other in ("order 17", "ä", "x" * 129):
        with pytest.raises(InvalidRequest):
            scene.send("PUT", f"/v1/jobs/{other}", BODY)


def test_no_caller_takes_the_id_of_a_scheduled_job(scene: JobScene) -> None:
    """With such a job, the schedule would find its work done already."""
    with pytest.raises(InvalidRequest, match="those of schedules"):
        scene.send("PUT", "/v1/jobs/schedule:nightly:2027-05-04T01:00:00Z", BODY)


# ---- GET /v1/jobs/{id}


def test_get_returns_the_document(scene: JobScene) -> None:
    """With a tag, and a time to look again until it has ended."""
    job = scene.submit()
    answer = scene.send("GET", f"/v1/jobs/{job}")
    assert (answer.status, answer.headers["retry-after"]) == (200, "1")
    assert answer.headers["etag"]
    scene.run()
    answer = scene.send("GET", f"/v1/jobs/{job}")
    document = json.loads(answer.body)
    assert (document["state"], document["result"], document["claim"], document["attempts"]) == ("succeeded", 9.0, 1, 1)
    assert "retry-after" not in answer.headers


def test_a_known_tag_is_answered_with_304(scene: JobScene) -> None:
    """Until the job changes; tags may be several, strong, or a star."""
    job = scene.submit()
    tag = scene.send("GET", f"/v1/jobs/{job}").headers["etag"]
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        answer = scene.send("GET", f"/v1/jobs/{job}", If_None_Match=known)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    scene.claim()
    assert scene.send("GET", f"/v1/jobs/{job}", If_None_Match=tag).status == 200


@pytest.mark.parametrize(
    ("query", "headers", "is_over_at_the_start"),
    [
        ("?wait=30", {}, False),
        ("", {"Prefer": "wait=30"}, False),
        ("?wait=30", {"If_None_Match": "the tag"}, True),
    ],
)
def test_get_waits(scene: JobScene, query: str, headers: dict[str, str], is_over_at_the_start: bool) -> None:
    """For the end of the job, or, with a known tag, for any change."""
    job = scene.submit()
    if "If_None_Match" in headers:
        headers = {"If_None_Match": scene.send("GET", f"/v1/jobs/{job}").headers["etag"]}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scene.send, "GET", f"/v1/jobs/{job}{query}", **headers)
        wait_until(lambda: "1 watched" in repr(scene.desk), "the wait")
        key = scene.claim()
        if not is_over_at_the_start:
            assert not waiting.done()
            scene.finish(key)
        answer = waiting.result(10)
    assert json.loads(answer.body)["state"] == ("running" if is_over_at_the_start else "succeeded")
    assert "0 watched" in repr(scene.desk)


def test_a_wait_that_is_over_returns_what_there_is(scene: JobScene) -> None:
    """200 with the document, or 304 with a known tag; a final job is never waited for."""
    job = scene.submit()
    assert scene.json("GET", f"/v1/jobs/{job}?wait=0.01")["state"] == "queued"
    tag = scene.send("GET", f"/v1/jobs/{job}").headers["etag"]
    assert scene.send("GET", f"/v1/jobs/{job}?wait=0.01", If_None_Match=tag).status == 304
    scene.run()
    tag = scene.send("GET", f"/v1/jobs/{job}?wait=60").headers["etag"]
    assert scene.send("GET", f"/v1/jobs/{job}?wait=60", If_None_Match=tag).status == 304
    with pytest.raises(InvalidRequest):
        scene.send("GET", f"/v1/jobs/{job}?wait=soon")


ON_ONE = [
    ("GET", ""),
    ("GET", "/result"),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "rest"), ON_ONE)
def test_jobs_of_others_are_not_found(scene: JobScene, method: str, rest: str) -> None:
    """The error is that of a job that does not exist, in the same words; the scope jobs:admin sees all."""
    job = scene.submit()
    scene.run()
    for who, wanted in (("bob", job), ("", job), ("alice", "nothing"), ("alice", "no thing")):
        with pytest.raises(JobNotFound) as caught:
            scene.send(method, f"/v1/jobs/{wanted}{rest}", who=who)
        assert (caught.value.detail, caught.value.retryable) == (f"there is no job {wanted!r}", False)
    assert scene.send(method, f"/v1/jobs/{job}{rest}", who=ADMIN).status in {200, 201, 204}


def test_after_its_retention_a_job_is_gone(scene: JobScene) -> None:
    """First the result, then the record: 410, before and after it was removed. An id of a caller's is 404 then."""
    job = scene.submit()
    scene.run()
    scene.send("PUT", "/v1/jobs/mine", BODY)
    scene.run()
    scene.now += 101
    for _ in range(2):
        with pytest.raises(JobGone) as caught:
            scene.send("GET", f"/v1/jobs/{job}/result")
        assert (caught.value.status, caught.value.retryable) == (410, False)
        assert "result" not in scene.json("GET", f"/v1/jobs/{job}")
        scene.store.retain(now=scene.now).result()
    with pytest.raises(JobGone):
        scene.send("POST", f"/v1/jobs/{job}/retry")
    scene.now += 1000
    for _ in range(2):
        for method, rest in ON_ONE:
            with pytest.raises(JobGone):
                scene.send(method, f"/v1/jobs/{job}{rest}")
        scene.store.retain(now=scene.now).result()
    with pytest.raises(JobNotFound):
        scene.send("GET", "/v1/jobs/mine")
    with pytest.raises(JobNotFound):
        scene.send("GET", f"/v1/jobs/{new_job_id(scene.now)}")


# ---- result, cancel, retry, delete


def test_the_result_is_the_handlers_own(scene: JobScene) -> None:
    """Its bytes, type, status and headers; 202 and the document before the end, and with ``wait`` at the end."""
    job = scene.submit()
    before = scene.send("GET", f"/v1/jobs/{job}/result")
    assert (before.status, json.loads(before.body)["id"]) == (202, job)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scene.send, "GET", f"/v1/jobs/{job}/result?wait=30")
        wait_until(lambda: "1 watched" in repr(scene.desk), "the wait")
        scene.run(result=b"\x89PNG", media_type="image/png", status=201, headers={"x-own": "1"})
        answer = waiting.result(10)
    assert (answer.status, answer.body, answer.media_type) == (201, b"\x89PNG", "image/png")
    assert answer.headers["x-own"] == "1"


def test_the_result_of_a_failed_job_is_its_problem(scene: JobScene) -> None:
    """With its status, and the advice not to ask again."""
    job = scene.submit()
    scene.fail(scene.claim(), "invalid-request", 422)
    answer = scene.send("GET", f"/v1/jobs/{job}/result")
    assert (answer.status, answer.media_type) == (422, "application/problem+json")
    assert json.loads(answer.body)["error"]["code"] == "invalid-request"
    assert answer.headers["x-should-retry"] == "false"
    cancelled = scene.submit()
    scene.send("POST", f"/v1/jobs/{cancelled}/cancel")
    assert scene.send("GET", f"/v1/jobs/{cancelled}/result").status == 499


def test_cancel(scene: JobScene) -> None:
    """202 for a job that is queued, which ends at once, or running, which is flagged; 200 unchanged for a final one."""
    queued = scene.submit()
    answer = scene.send("POST", f"/v1/jobs/{queued}/cancel")
    document = json.loads(answer.body)
    assert (answer.status, document["state"], document["cancel_requested"]) == (202, "cancelled", True)
    assert scene.send("POST", f"/v1/jobs/{queued}/cancel").status == 200
    running = scene.submit()
    key = scene.claim()
    for _ in range(2):
        answer = scene.send("POST", f"/v1/jobs/{running}/cancel")
        document = json.loads(answer.body)
        assert (answer.status, document["state"], document["cancel_requested"]) == (202, "running", True)
    scene.finish(key)
    answer = scene.send("POST", f"/v1/jobs/{running}/cancel")
    assert (answer.status, json.loads(answer.body)["state"]) == (200, "succeeded")


def test_cancel_waits_for_the_stop(scene: JobScene) -> None:
    """With ``wait``, the document is the final one."""
    job = scene.submit()
    key = scene.claim()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scene.send, "POST", f"/v1/jobs/{job}/cancel?wait=30")
        wait_until(lambda: scene.job(job).cancel_requested, "the flag")
        scene.store.finish(key, JobEnding(state="cancelled", code="cancelled"), now=scene.now).result()
        answer = waiting.result(10)
    assert (answer.status, json.loads(answer.body)["state"]) == (202, "cancelled")


def test_retry_makes_a_new_job(scene: JobScene) -> None:
    """201, with the same request and options; 409 before the end."""
    job = scene.submit(4.0, group="night", metadata={"a": "b"}, priority="normal")
    with pytest.raises(JobNotFinal) as caught:
        scene.send("POST", f"/v1/jobs/{job}/retry")
    assert (caught.value.status, caught.value.retryable) == (409, False)
    scene.fail(scene.claim())
    answer = scene.send("POST", f"/v1/jobs/{job}/retry")
    document = json.loads(answer.body)
    assert (answer.status, document["retry_of"], document["state"]) == (201, job, "queued")
    assert answer.headers["location"] == f"/v1/jobs/{document['id']}"
    assert (document["group"], document["metadata"], document["priority"]) == ("night", {"a": "b"}, "normal")
    assert scene.store.request(document["id"]).result().body == b'{"input": 4.0}'
    assert json.loads(scene.send("POST", f"/v1/jobs/{job}/retry").body)["id"] != document["id"]


def test_delete_removes_everything(scene: JobScene) -> None:
    """204, then 404; 409 before the end."""
    job = scene.submit()
    with pytest.raises(JobNotFinal):
        scene.send("DELETE", f"/v1/jobs/{job}")
    scene.run()
    assert scene.send("DELETE", f"/v1/jobs/{job}").status == 204
    with pytest.raises(JobNotFound):
        scene.send("GET", f"/v1/jobs/{job}")


# ---- lists


def listed(scene: JobScene, query: str, who: str = "alice") -> list[str]:
    return [job["id"] for job in scene.json("GET", f"/v1/jobs?{query}", who=who)["jobs"]]


def test_a_list_has_filters(scene: JobScene) -> None:
    """Newest first, own jobs only; states are those that callers see."""
    ids = {}
    for name in ("done", "failed", "lost", "running", "claimed"):
        ids[name] = scene.submit(group="g")
        scene.now += 1
        key = scene.claim(is_started=name != "claimed")
        if name == "done":
            scene.finish(key)
        elif name in {"failed", "lost"}:
            scene.fail(key, "worker-lost" if name == "lost" else "handler-error")
    ids["later"] = scene.submit(not_before=scene.now + 100)
    scene.now += 1
    ids["queued"] = scene.submit()
    theirs = scene.submit(who="bob")
    newest = list(reversed(ids.values()))
    for query, names in {
        "": ids,
        "state=succeeded": ["done"],
        "state=failed": ["failed", "lost"],
        "state=failed&code=worker-lost": ["lost"],
        "dead=true": ["lost"],
        "dead=false&state=running": ["running"],
        "state=queued": ["claimed", "queued"],
        "state=scheduled": ["later"],
        "state=succeeded,running&state=scheduled": ["done", "running", "later"],
        "group=g&state=running": ["running"],
        "endpoint=cube": [],
    }.items():
        assert listed(scene, query) == [job for job in newest if job in {ids[name] for name in names}], query
    assert listed(scene, "", who="bob") == [theirs]
    assert len(listed(scene, "", who=ADMIN)) == len(ids) + 1
    assert listed(scene, "principal=bob", who=ADMIN) == [theirs]
    assert listed(scene, "principal=bob") == newest


def test_a_list_has_pages(scene: JobScene) -> None:
    """The cursor of a page leads to the next one, without a gap; the last page has none."""
    ids = []
    for _ in range(5):
        ids.append(scene.submit())
        scene.now += 1
    found, after = [], ""
    while True:
        page = scene.json("GET", f"/v1/jobs?limit=2&after={after}")
        found += [job["id"] for job in page["jobs"]]
        after = page["next_after"]
        if after is None:
            break
    assert found == ids[::-1]


@pytest.mark.parametrize(
    "query", ["state=done", "limit=0", "limit=1001", "limit=x", "after=x", "after=x/y", "dead=maybe"]
)
def test_bad_queries_are_refused(scene: JobScene, query: str) -> None:
    """422 with the name of the parameter."""
    with pytest.raises(InvalidRequest) as caught:
        scene.send("GET", f"/v1/jobs?{query}")
    assert caught.value.param == query.partition("=")[0]


# ---- operators


def test_operators_see_the_store_in_numbers(scene: JobScene) -> None:
    """By state and endpoint, with the oldest queued job and the owners."""
    scene.submit()
    scene.run()
    scene.submit()
    scene.now += 5
    found = scene.json("GET", "/-/jobs")
    assert found["states"] == {"succeeded": 1, "queued": 1}
    assert found["endpoints"]["square"]["states"] == {"succeeded": 1, "queued": 1}
    assert found["endpoints"]["square"]["oldest_queued_seconds"] == 5.0
    assert [owner["id"] for owner in found["owners"]] == ["engine-1"]
    assert "beat" in found["owners"][0]


def test_operators_have_a_delivery_sent_again(scene: JobScene) -> None:
    """202 once it was delivered or given up; 200 while it waits; 404 if there is none."""
    able = JobScene(read_webhook=lambda option: option and Webhook(option["url"]))
    job = able.submit(webhook={"url": "https://example.org"})
    able.run()
    [delivery] = able.json("GET", f"/v1/jobs/{job}")["webhook"]["deliveries"]
    address = f"/v1/jobs/{job}/deliveries/{delivery['n']}/retry"
    assert able.send("POST", address).status == 200
    [claimed] = able.store.claim_deliveries("engine-1", 1, now=able.now).result()
    able.store.settle(claimed.id, claimed.claim, Settlement(is_delivered=False, status=500)).result()
    answer = able.send("POST", address)
    assert (answer.status, json.loads(answer.body)["state"]) == (202, "waiting")
    with pytest.raises(PenstockError) as caught:
        able.send("POST", f"/v1/jobs/{job}/deliveries/77/retry")
    assert caught.value.status == 404


def test_routes_for_operators_are_not_for_callers(scene: JobScene) -> None:
    """The authenticator decides by these two facts of a route."""
    routes = {route.name: route for route in scene.penstock_routes()}
    operators = {name for name, route in routes.items() if not route.is_for_callers}
    assert operators == {"jobs-status", "jobs-retry-delivery"}
    assert not any(route.is_open for route in routes.values())
