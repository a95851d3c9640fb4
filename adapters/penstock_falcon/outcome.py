"""From what became of a job to the answer."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.hosting import Call, ThreadedCall
from penstock_falcon.answers import JSON, Answer, common_headers, server_timing
from penstock_falcon.problems import problem


def answer_call(call: Call | ThreadedCall, request_id: str, *, debug: bool) -> Answer:
    """The answer to a call that has its outcome and no stream to send."""
    outcome = call.outcome
    timing = server_timing(call.queue_seconds, call.execution_seconds)
    if isinstance(outcome, PenstockError):
        return problem(outcome, request_id, debug=debug, timing=timing)
    if outcome is None:
        raise RuntimeError(f"{call!r} is not decided yet")
    headers = common_headers(request_id, outcome.media_type or JSON, timing)
    return Answer(outcome.status, headers, outcome.body, outcome.headers)
