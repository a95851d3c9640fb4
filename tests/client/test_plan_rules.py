"""Rules that hold for every call, whatever happens to it: hypothesis chooses the happenings."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_client.call_records import CallRecord, RetryRecord
from penstock_client.errors import StreamError
from penstock_client.event_lines import EventLines
from penstock_client.plan_messages import Give, HeadArrived, Raise, RequestFailed, Send
from penstock_client.retry_settings import Retries
from penstock_client.retry_table import Fault
from tests.client.test_plan import Clocked

HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-should-retry": st.sampled_from(["true", "false", "perhaps"]),
        "retry-after": st.sampled_from(["0", "1", "30", "500", "soon"]),
    },
)
HEADS = st.builds(HeadArrived, st.sampled_from([200, 302, 401, 404, 408, 425, 429, 500, 502, 503, 504, 599]), HEADERS)
FAULTS = st.builds(RequestFailed, st.sampled_from(Fault), is_sent=st.booleans(), is_reused=st.booleans())
EVENTS = st.lists(HEADS | FAULTS, min_size=1, max_size=12)


@settings(max_examples=500)
@given(
    events=EVENTS,
    seconds=st.floats(0.0, 3.0),
    rand=st.floats(0.0, 1.0),
    total=st.none() | st.floats(0.01, 60.0),
    is_idempotent=st.booleans(),
    has_new_keys=st.booleans(),
    most=st.integers(1, 6),
)
def test_every_call_keeps_the_rules(  # noqa: PLR0917 - hypothesis passes them by name
    events: list[Any],
    seconds: float,
    rand: float,
    total: float | None,
    is_idempotent: bool,
    has_new_keys: bool,
    most: int,
) -> None:
    """It ends; no request and no wait begins after the deadline; nothing that may have run is sent again unasked."""
    clocked = Clocked(
        rand=rand,
        total=total,
        is_idempotent=is_idempotent,
        has_new_keys=has_new_keys,
        retries=Retries(max_attempts=most),
    )
    deadline = math.inf if total is None else 1000.0 + total
    began: list[float] = []
    handle = clocked.plan.handle

    def watched(event: Any, now: float) -> Any:
        command = handle(event, now)
        if isinstance(command, Send):
            began.append(now)
        return command

    clocked.plan.handle = watched  # type: ignore[method-assign]
    last = clocked.run(*events, seconds=seconds)
    assert isinstance(last, Give | Raise)
    assert len(clocked.sent) <= most + 1
    assert all(instant < deadline for instant in began)
    assert sum(clocked.slept) + seconds * (len(clocked.sent) - 1) <= (total or math.inf)
    met = (events + [events[-1]] * 20)[: len(clocked.sent)]
    if not is_idempotent:
        assert not any(may_have_run(event) for event in met[:-1])
    known = last.error.attempts if isinstance(last, Raise) else last.attempts
    assert len(known) == len(clocked.sent)
    *retries, end = clocked.records
    assert isinstance(end, CallRecord)
    assert all(isinstance(record, RetryRecord) for record in retries)
    assert clocked.budget.tokens >= 0


def may_have_run(event: HeadArrived | RequestFailed) -> bool:
    """Return whether the work may have run, by what the server has not said."""
    if isinstance(event, RequestFailed):
        return event.fault in {Fault.LOST, Fault.FIRST_BYTE_TIMEOUT, Fault.CUT, Fault.IDLE_TIMEOUT, Fault.EVENT_TIMEOUT}
    return event.headers.get("x-should-retry") != "true" and event.status in {408, 500, 502, 504, 599}


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "code", "n"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(values=st.lists(VALUES, max_size=8), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_the_cuts_of_the_network_do_not_matter(values: list[Any], sizes: list[int]) -> None:
    """However the bytes are cut, the events are those that were sent."""
    text = b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)
    lines, found, place = EventLines(), [], 0
    while place < len(text):
        size = sizes[place % len(sizes)]
        found += [event for event, _ in lines.feed(text[place : place + size])]
        place += size
    assert [*found, *(event for event, _ in lines.finish())] == values


@given(values=st.lists(VALUES, min_size=1, max_size=8), share=st.floats(0.0, 1.0))
def test_a_cut_stream_has_the_events_before_the_cut(values: list[Any], share: float) -> None:
    """Wherever it is cut, the events are a beginning of those that were sent, and there is an error."""
    text = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    lines = EventLines()
    found = [event for event, _ in lines.feed(text[: int(len(text) * share)])]
    assert found == values[: len(found)]
    assert isinstance(lines.failure("cut"), StreamError)
