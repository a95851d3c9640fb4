"""The document of a job, member by member, without a store."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from penstock.job_store import JobDelivery, JobProgress, JobResult, StoredJob, Webhook
from penstock_jobs.job_answers import answer_of
from penstock_jobs.job_documents import MOST_INLINE_BYTES, document_of, etag_of, shown_state
from penstock_jobs.job_ids import created_at, is_job_id, new_job_id
from penstock_jobs.job_times import instant_text, read_instant
from penstock_jobs.prefer import preferences, wait_in

NOW = 1_800_000_000.0
QUEUED = StoredJob(
    id="order-17",
    endpoint="square",
    principal="alice",
    state="queued",
    priority=2,
    created_at=NOW - 10.0005,
    digest="d",
    request_id="r1",
    result_ttl=100.0,
    record_ttl=1000.0,
    on_lost="retry",
    max_claims=2,
    events=1,
    body_bytes=10,
)
RUNNING = replace(QUEUED, state="running", started_at=NOW - 5, claim=1, claims=1, events=2)
DONE = replace(RUNNING, state="succeeded", finished_at=NOW - 1, bodies_until=NOW + 99, delete_after=NOW + 999, events=3)
MEMBERS = [
    "id",
    "endpoint",
    "state",
    "cancel_requested",
    "priority",
    "group",
    "principal",
    "request_id",
    "metadata",
    "created_at",
    "not_before",
    "start_by",
    "started_at",
    "finished_at",
    "delete_after",
    "claim",
    "attempts",
    "progress",
    "ahead",
    "error",
    "webhook",
    "retry_of",
    "links",
]


def document(job: StoredJob, **values: Any) -> Any:
    return json.loads(msgspec.json.encode(document_of(job, now=NOW, **values)))


def test_a_document_has_every_member() -> None:
    """Those without a value are null, so that readers need no defaults; instants are RFC 3339 with milliseconds."""
    found = document(QUEUED, metadata={"order": "17"}, ahead=3)
    assert list(found) == MEMBERS
    assert found["created_at"] == "2027-01-15T07:59:50.000Z"
    assert (found["state"], found["priority"], found["ahead"], found["principal"]) == ("queued", "batch", 3, "alice")
    assert found["metadata"] == {"order": "17"}
    assert found["links"]["cancel"] == "/v1/jobs/order-17/cancel"
    assert document(QUEUED, prefix="/api")["links"]["self"] == "/api/v1/jobs/order-17"


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (QUEUED, "queued"),
        (replace(QUEUED, not_before=NOW + 1), "scheduled"),
        (replace(QUEUED, not_before=NOW - 1), "queued"),
        (replace(RUNNING, started_at=None), "queued"),
        (RUNNING, "running"),
        (DONE, "succeeded"),
    ],
)
def test_states_are_those_of_callers(job: StoredJob, state: str) -> None:
    """A job runs once an attempt has started in a worker, and is scheduled until its time has come."""
    assert shown_state(job, NOW) == document(job)["state"] == state


def test_progress_has_its_instant() -> None:
    """With what the handler has reported."""
    progress = document(replace(RUNNING, progress=JobProgress(3, 10, "loading", NOW)))["progress"]
    assert progress == {"done": 3, "total": 10, "message": "loading", "at": "2027-01-15T08:00:00.000Z"}


@pytest.mark.parametrize(
    ("result", "is_inline"),
    [
        (JobResult(b'{"x": null}', "application/json", 200, {}), True),
        (JobResult(b"9.0", "", 200, {}), True),
        (JobResult(b'"' + b"1" * (MOST_INLINE_BYTES - 2) + b'"', "application/json", 200, {}), True),
        (JobResult(b"1" * (MOST_INLINE_BYTES + 1), "application/json", 200, {}), False),
        (JobResult(b"\x89PNG", "image/png", 200, {}), False),
        (None, False),
    ],
)
def test_a_small_result_is_in_the_document(result: JobResult | None, is_inline: bool) -> None:
    """JSON up to 64 KiB as it is; otherwise the address of the result. Never both."""
    found = document(DONE, result=result)
    assert ("result" in found, "result_url" in found) == (is_inline, not is_inline)
    assert is_inline or found["result_url"] == "/v1/jobs/order-17/result"


def test_a_result_that_is_gone_is_in_no_document() -> None:
    """Neither the result nor its address, as soon as it has outlived its time."""
    for gone in (replace(DONE, bodies_until=NOW - 1), replace(DONE, bodies_until=None), RUNNING):
        assert not {"result", "result_url"} & document(gone).keys()


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [
        ("failed", "worker-lost", 503),
        ("cancelled", "cancelled", 499),
        ("expired", "queue-timeout", 503),
        ("timed_out", "execution-timeout", 504),
        ("timed_out", None, 504),
        ("failed", "code-of-a-handler", 500),
    ],
)
def test_a_job_without_a_problem_document_gets_one(state: Any, code: str | None, status: int) -> None:
    """From its code: the store ends some jobs by itself."""
    job = replace(DONE, state=state, code=code)
    error = document(job)["error"]
    assert (error["status"], error["instance"]) == (status, "r1")
    assert error["type"] == f"urn:penstock:{error['error']['code']}"
    assert error["error"]["code"] == (code or "execution-timeout")
    assert answer_of(job, None).status == status


def test_the_problem_document_is_the_stored_one() -> None:
    """Byte for byte; and so is the answer that the job's endpoint would have given."""
    job = replace(DONE, state="failed", code="invalid-request", error=b'{"status":422,"x":1}')
    assert document(job)["error"] == {"status": 422, "x": 1}
    answer = answer_of(job, None)
    assert (answer.status, answer.body, answer.media_type) == (422, job.error, "application/problem+json")
    assert answer.headers["x-should-retry"] == "false"
    lost = replace(DONE, state="failed", code="queue-full", error=b'{"status":503}')
    assert answer_of(lost, None).headers["x-should-retry"] == "true"
    assert answer_of(lost, None, is_retryable=False).headers["x-should-retry"] == "false"


def test_deliveries_have_numbers() -> None:
    """By which an operator has one sent again."""
    job = replace(DONE, webhook=Webhook("https://example.org/hook"))
    delivery = JobDelivery(
        id="order-17/3", job="order-17", seq=3, event="succeeded", url="https://example.org/hook", created_at=NOW,
        next_at=NOW, sent=2, status=500,
    )  # fmt: skip
    found = document(job, deliveries=[delivery])["webhook"]
    assert (found["url"], "succeeded" in found["events"]) == ("https://example.org/hook", True)
    assert found["deliveries"][0]["n"] == 3
    assert (found["deliveries"][0]["sent"], found["deliveries"][0]["status"]) == (2, 500)


def test_the_tag_changes_with_the_job() -> None:
    """Also when it only becomes due, and when its result is removed."""
    jobs = [QUEUED, replace(QUEUED, not_before=NOW + 1), RUNNING, DONE, replace(DONE, body_bytes=0)]
    tags = [etag_of(job, NOW) for job in jobs]
    assert len(set(tags)) == len(jobs)
    assert all(tag.startswith('W/"') for tag in tags)


# ---- ids, instants, preferences


def test_ids_of_the_server_have_the_time_in_them() -> None:
    """They are UUIDs of version 7, and valid ids of jobs."""
    job_id = new_job_id(NOW)
    assert is_job_id(job_id)
    assert created_at(job_id) == NOW
    assert created_at("order-17") is None
    assert len({new_job_id(NOW) for _ in range(100)}) == 100
    assert new_job_id(NOW) < new_job_id(NOW + 0.001)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [("a" * 128, True), ("A.z_9:-", True), ("", False), ("a" * 129, False), ("a/b", False), ("ä", False)],
)
def test_ids_of_callers(text: str, is_valid: bool) -> None:
    """1 to 128 characters that need no quoting in a path."""
    assert bool(is_job_id(text)) == is_valid


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00:00.500z", NOW + 0.5),
        ("2027-01-15T09:00:00+01:00", NOW),
        (NOW, NOW),
        (0, 0.0),
        *(
            (bad, None)
            for bad in ("2027-01-15T08:00:00", "2027-01-15", "soon", "", True, -1, float("nan"), 1e300, [], {})
        ),
    ],
)
def test_instants_are_rfc_3339_or_seconds(value: Any, seconds: float | None) -> None:
    """An offset is required: a local time would be one of the server's."""
    if seconds is None:
        with pytest.raises(ValueError):
            read_instant(value)
    else:
        assert read_instant(value) == seconds
        assert read_instant(instant_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("header", "found", "wait"),
    [
        (None, {}, None),
        ("respond-async", {"respond-async": ""}, None),
        ("respond-async, wait=10", {"respond-async": "", "wait": "10"}, 10.0),
        ("Respond-Async;foo=bar,Wait = 100", {"respond-async": "", "wait": "100"}, 60.0),
        ('a="x, wait=5", wait="7"', {"a": "x, wait=5", "wait": "7"}, 7.0),
        ("wait=1, wait=2", {"wait": "1"}, 1.0),
        ("wait=-1", {"wait": "-1"}, None),
        ("wait=soon;x, ,=,respond-async", {"wait": "soon", "respond-async": ""}, None),
    ],
)
def test_preferences(header: str | None, found: dict[str, str], wait: float | None) -> None:
    """As RFC 7240 writes them: names in any case, quoted values, parameters, and the first of a name counts."""
    assert preferences(header) == found
    assert wait_in(preferences(header)) == wait
