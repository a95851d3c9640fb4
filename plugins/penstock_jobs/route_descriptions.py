"""The routes of background jobs, and direct calls that become jobs, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

from penstock.hooks import EndpointDescription, HeaderDescription
from penstock_jobs.job_ids import ID_PATTERN
from penstock_jobs.job_requests import MOST_METADATA, MOST_METADATA_BYTES

_SECONDS: Final = {"type": "number", "exclusiveMinimum": 0}
_INSTANT: Final = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}
_STATES: Final = ["scheduled", "queued", "running", "succeeded", "failed", "timed_out", "cancelled", "expired"]
_NULLABLE_TEXT: Final = {"type": ["string", "null"]}
_NULLABLE_INSTANT: Final = {"type": ["string", "null"], "format": "date-time"}
_LONGEST_WAIT: Final = 60

JOB: Final[dict[str, Any]] = {
    "title": "Job",
    "type": "object",
    "required": ["id", "endpoint", "state", "links"],
    "properties": {
        "id": {"type": "string"},
        "endpoint": {"type": "string"},
        "state": {"enum": _STATES},
        "cancel_requested": {"type": "boolean"},
        "priority": {"enum": ["interactive", "normal", "batch"]},
        **dict.fromkeys(("group", "principal", "request_id", "retry_of", "result_url"), _NULLABLE_TEXT),
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        **dict.fromkeys(
            ("created_at", "not_before", "start_by", "started_at", "finished_at", "delete_after"), _NULLABLE_INSTANT
        ),
        "claim": {"type": "integer"},
        "attempts": {"type": "integer"},
        "progress": {"type": ["object", "null"]},
        "ahead": {"type": ["integer", "null"]},
        "result": {"description": "The result, if it is JSON of up to 64 KiB; otherwise there is a `result_url`."},
        "error": {"type": ["object", "null"]},
        "webhook": {"type": ["object", "null"]},
        "links": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
"""The schema of the document of a job."""

_WANTED: Final[dict[str, Any]] = {
    "title": "WantedJob",
    "type": "object",
    "required": ["endpoint"],
    "additionalProperties": False,
    "properties": {
        "endpoint": {"type": "string"},
        "input": {"description": "The body, as it would be sent to the endpoint; bytes as text in base64."},
        "priority": {"enum": ["interactive", "normal", "batch"], "default": "batch"},
        "not_before": _INSTANT,
        "start_by": _INSTANT,
        "metadata": {
            "description": f"Keys and values have at most {MOST_METADATA_BYTES} bytes each.",
            "type": "object",
            "maxProperties": MOST_METADATA,
            "additionalProperties": {"type": "string"},
        },
        "group": {"type": "string", "minLength": 1, "maxLength": 128},
        "result_ttl": _SECONDS,
        "webhook": {"type": "object"},
    },
}


def _parameter(place: str, name: str, text: str, schema: Any, *, required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "description": text, "required": required, "schema": schema}


_ID: Final = _parameter("path", "id", "The job's id.", {"type": "string", "pattern": f"^{ID_PATTERN}$"}, required=True)
_WAIT: Final = _parameter(
    "query", "wait", "Seconds to wait for the end.", {"type": "number", "minimum": 0, "maximum": _LONGEST_WAIT}
)
_KEY: Final = _parameter("header", "Idempotency-Key", "The same key and request are the same job.", {"type": "string"})
_START: Final = _parameter("header", "Start-Deadline", "Seconds from now by which the job must start.", _SECONDS)
_BUDGET: Final = _parameter("header", "X-Request-Timeout", "Seconds that the job may run.", _SECONDS)
_NO_RESPONSE: Final = {"default": {"$ref": "#/components/responses/OtherError"}}


def _answer(text: str, schema: Any = JOB, media_type: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _body(media_types: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {name: {"schema": schema} for name, schema in media_types.items()}}


def _described(summary: str, *parameters: Any, body: Any = None, **responses: Any) -> dict[str, Any]:
    numbered = {name.removeprefix("s"): response for name, response in responses.items()}
    return {
        "summary": summary,
        "tags": ["jobs"],
        "parameters": list(parameters),
        **({"requestBody": body} if body else {}),
        "responses": {**numbered, **_NO_RESPONSE},
    }


_EMPTY: Final = {"description": "Nothing more to say."}
_PAGE: Final = {
    "type": "object",
    "properties": {"jobs": {"type": "array", "items": JOB}, "next_after": _NULLABLE_TEXT},
}
_FILTERS: Final = (
    _parameter("query", "state", "Only jobs in this state; may be repeated.", {"enum": _STATES}),
    *(
        _parameter("query", name, f"Only jobs with this {name}.", {"type": "string"})
        for name in ("endpoint", "group", "code")
    ),
    _parameter("query", "dead", "Only jobs that were lost with their engines.", {"type": "boolean"}),
    _parameter("query", "limit", "The most jobs.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    _parameter("query", "after", "The `next_after` of the page before.", {"type": "string"}),
)

DESCRIPTIONS: Final[dict[str, dict[str, Any]]] = {
    "jobs-submit": _described(
        "Store a background job, or a group of them.",
        _KEY, _START, _BUDGET,
        body=_body({"application/json": _WANTED, "application/x-ndjson": _WANTED}),
        s202=_answer("The job, or the counts of a group."),
        s200=_answer("The job, which was there."),
    ),
    "jobs-put": _described(
        "Store a background job by an id of the caller's.",
        _ID, _START, _BUDGET,
        body=_body({"application/json": _WANTED}),
        s201=_answer("The new job."),
        s200=_answer("The job, which was there."),
    ),
    "jobs-list": _described("List background jobs, newest first.", *_FILTERS, s200=_answer("A page of jobs.", _PAGE)),
    "jobs-get": _described("Look at a background job.", _ID, _WAIT, s200=_answer("The job."), s304=_EMPTY),
    "jobs-delete": _described("Remove a background job that has ended.", _ID, s204=_EMPTY),
    "jobs-result": _described(
        "Read the result of a background job.", _ID, _WAIT,
        s200=_answer("The endpoint's own answer.", {}, "*/*"),
        s202=_answer("The job, which has not ended."),
    ),
    "jobs-events": _described(
        "Follow a background job.", _ID,
        _parameter("query", "after", "The number of the last known event.", {"type": "integer", "minimum": 0}),
        _parameter("header", "Last-Event-ID", "The same, as browsers send it.", {"type": "string"}),
        s200=_answer("The events.", {"type": "string"}, "text/event-stream"),
        s204=_EMPTY,
    ),
    "jobs-cancel": _described(
        "Cancel a background job.", _ID, _WAIT,
        s202=_answer("The job, which is being cancelled."),
        s200=_answer("The job, which had ended."),
    ),
    "jobs-retry": _described("Run a background job anew that has ended.", _ID, _KEY, s201=_answer("The new job.")),
}  # fmt: skip
"""The descriptions of the routes for callers, by the names of the routes."""

_ACCEPTED: Final = {
    **_answer("The document of the background job that the call has become."),
    "headers": {
        "Preference-Applied": {"required": True, "schema": {"const": "respond-async"}},
        "Location": {"description": "The address of the job.", "required": True, "schema": {"type": "string"}},
        "Retry-After": {
            "description": "The whole seconds after which it is worth looking at the job again.",
            "schema": {"type": "integer", "minimum": 1},
        },
    },
}

OF_DIRECT_CALLS: Final = EndpointDescription(
    request_headers={
        "Prefer": HeaderDescription(
            "`respond-async` makes a background job of the call. With `wait=N`, the answer is the endpoint's own if "
            "the job ends within N seconds; otherwise it is 202 with the job's document."
        ),
        "Idempotency-Key": HeaderDescription(
            "With `Prefer: respond-async`: the same key and request are the same job."
        ),
        "Start-Deadline": HeaderDescription(
            "With `Prefer: respond-async`: seconds by which the job must start.", _SECONDS
        ),
    },
    response_headers={
        "Preference-Applied": HeaderDescription("`respond-async` if the call has become a background job."),
        "Location": HeaderDescription("The address of the background job, if the call has become one."),
    },
    responses={202: _ACCEPTED},
)
"""The headers of an endpoint that takes background jobs, and its response with the document of a job."""
