"""Chat with the defects of real servers: each has a name here, and is either read correctly or an error."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock_client import (
    ChatEvent,
    ContentDelta,
    Done,
    ReasoningDelta,
    ToolCall,
    Usage,
    UsageReport,
    errors,
)
from penstock_client.chat_decoding import ChatDecoder, whole_answer
from penstock_client.failures import error_of_response
from penstock_client.tool_call_pieces import ToolCallAssembly
from tests.client.chatting import (
    DONE,
    STOP,
    asked,
    call_piece,
    chunk,
    piece,
    said,
    sse,
    streamed,
    whole,
    whole_body,
)
from tests.client.drivers import DRIVERS
from tests.client.scripted_server import End, Step, answer, chunked

each_driver = pytest.mark.parametrize("driver", DRIVERS)
HI = [ContentDelta("Hi"), Done("stop")]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
REPORT = UsageReport(Usage(3, 2, 5, USAGE))
END = chunk(piece(finish_reason="stop"))
LONELY = {"choices": [{"delta": {"content": "Hi"}}]}


def event_of(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


# ---- framing

FRAMINGS: dict[str, bytes] = {
    "CRLF": sse(b"".join([chunk(piece("Hi")), END, DONE]).replace(b"\n", b"\r\n")),
    "CR": sse(b"".join([chunk(piece("Hi")), END, DONE]).replace(b"\n", b"\r")),
    "data without a space": sse(b"".join([chunk(piece("Hi")), END, DONE]).replace(b"data: ", b"data:")),
    "keep-alive comments": sse(b": PROCESSING\n\n", chunk(piece("Hi")), b": PROCESSING\n\n", END, DONE),
    "an event without data": sse(b"event: ping\n\nid: 3\n\ndata:\n\n", chunk(piece("Hi")), END, DONE),
    "ids and names": sse(b"id: 1\nevent: message\n" + chunk(piece("Hi")), b"event: done\n" + END, DONE),
    "empty lines before the first event": sse(b"\n\n\n", chunk(piece("Hi")), END, DONE),
    "a byte order mark": sse(b"\xef\xbb\xbf", chunk(piece("Hi")), END, DONE),
    "JSON on several lines": sse(b'data: {"choices": [\ndata: {"delta": {"content": "Hi"}}]}\n\n', END, DONE),
    "no empty line at the end": sse(chunk(piece("Hi")), END, DONE.rstrip()),
    "space around [DONE]": sse(chunk(piece("Hi")), END, b"data:  [DONE] \n\n"),
    "events after [DONE]": sse(chunk(piece("Hi")), END, DONE, chunk(piece("more")), DONE),
    "no [DONE], but a finish_reason": sse(chunk(piece("Hi")), END),
    "a media type for JSON": chunked(chunk(piece("Hi")), END, DONE, media_type="application/json"),
    "a media type for text": chunked(chunk(piece("Hi")), END, DONE, media_type="text/plain"),
    "one byte at a time": sse(*(bytes([byte]) for byte in chunk(piece("Hi")) + END + DONE)),
}


@each_driver
@pytest.mark.parametrize("defect", FRAMINGS)
def test_a_framing_is_read(driver: str, defect: str) -> None:
    """The answer is the same in all of them."""
    chatted = streamed(driver, FRAMINGS[defect])
    assert chatted.error is None
    assert chatted.events == HI


@each_driver
def test_utf_8_may_be_split_over_chunks(driver: str) -> None:
    """No byte of a character is lost or replaced."""
    text = chunk(piece("Grüße, 世界 🙂")) + END + DONE
    assert streamed(driver, sse(*(text[place : place + 3] for place in range(0, len(text), 3)))).events == [
        ContentDelta("Grüße, 世界 🙂"),
        Done("stop"),
    ]


# ---- the end

CUTS: dict[str, tuple[Step, ...]] = {
    "a clean end without finish_reason and [DONE]": (sse(chunk(piece("Hi"))),),
    "a cut after a chunk": (sse(chunk(piece("Hi")), end=False), End.CLOSE),
    "a cut inside a chunk": (sse(chunk(piece("Hi")), b'data: {"cho', end=False), End.CLOSE),
    "a clean end inside a chunk": (sse(chunk(piece("Hi")), b'data: {"cho'),),
    "a reset": (sse(chunk(piece("Hi")), end=False), 0.05, End.RESET),
    "a cut before [DONE]": (sse(chunk(piece("Hi", "stop")), end=False), End.CLOSE),
    "one choice of two without its end": (sse(chunk(piece("Hi", "stop"), {**piece("You"), "index": 1})),),
    "a chunk that is not JSON": (sse(chunk(piece("Hi")), b"data: <html>\n\n", DONE),),
    "a connection that is just closed": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + chunk(piece("Hi")),
        End.CLOSE,
    ),
}


@each_driver
@pytest.mark.parametrize("cut", CUTS)
def test_a_truncated_answer_is_never_whole(driver: str, cut: str) -> None:
    """The error has the answer so far, and the loop has had its events."""
    chatted = streamed(driver, *CUTS[cut])
    assert type(chatted.error) is errors.TruncatedStream
    assert chatted.partial.content == "Hi"
    assert chatted.events[0] == ContentDelta("Hi")
    assert not any(isinstance(event, Done) for event in chatted.events)


@each_driver
def test_done_without_a_finish_reason_is_an_end(driver: str) -> None:
    """The server has said that this is all, and not why; so does the answer."""
    chatted = streamed(driver, sse(chunk(piece("Hi")), DONE))
    assert chatted.events == [ContentDelta("Hi"), Done(None)]


@each_driver
@pytest.mark.parametrize(
    "events", [[DONE], [chunk(piece(role="assistant")), END, DONE], [chunk(piece(None, role="assistant")), DONE], []]
)
def test_a_stream_without_content_is_an_error(driver: str, events: list[bytes]) -> None:
    """It has neither a text, which may be empty, nor anything in its place."""
    assert type(streamed(driver, sse(*events)).error) is errors.InvalidAnswer


@each_driver
def test_an_empty_text_is_an_answer(driver: str) -> None:
    """The server has sent it."""
    chatted = streamed(driver, sse(chunk(piece("", role="assistant")), END, DONE))
    assert chatted.answer is not None
    assert (chatted.answer.content, chatted.events) == ("", [Done("stop")])


# ---- the shapes of chunks

SHAPES: dict[str, list[bytes]] = {
    "a role-only first delta": [chunk(piece(role="assistant")), chunk(piece("Hi")), END],
    "content null in the first delta": [
        chunk({"delta": {"role": "assistant", "content": None}}),
        chunk(piece("Hi")),
        END,
    ],
    "empty choices first": [chunk(), chunk(piece("Hi")), END],
    "choices that are null": [event_of({"choices": None}), chunk(piece("Hi")), END],
    "no index, id, model or object": [event_of(LONELY), END],
    "a delta that is null": [chunk(piece("Hi")), chunk({"index": 0, "delta": None, "finish_reason": "stop"})],
    "finish_reason beside the last content": [chunk(piece("Hi", "stop"))],
    "finish_reason empty until the end": [chunk(piece("Hi", "")), chunk(piece("", "stop"))],
    "an error that is null": [chunk(piece("Hi"), error=None), END],
    "content as a list of parts": [chunk(piece([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}])), END],
    "the message so far in each chunk": [chunk({**piece("Hi"), "message": {"content": "Hi"}}), END],
    "logprobs and unknown fields": [chunk({**piece("Hi"), "logprobs": {"content": []}}, system_fingerprint="x"), END],
}


@each_driver
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_of_chunks_is_read(driver: str, shape: str) -> None:
    """The answer is the same in all of them."""
    chatted = streamed(driver, sse(*SHAPES[shape], DONE))
    assert chatted.error is None
    assert "".join(event.text for event in chatted.events if isinstance(event, ContentDelta)) == "Hi"
    assert chatted.events[-1] == Done("stop")


USAGES: dict[str, list[bytes]] = {
    "in a last chunk with empty choices": [chunk(piece("Hi")), END, chunk(usage=USAGE)],
    "in a last chunk without choices": [chunk(piece("Hi")), END, event_of({"usage": USAGE})],
    "in each chunk": [
        chunk(piece("Hi"), usage={**USAGE, "completion_tokens": 1}),
        chunk(STOP, usage=USAGE),
    ],
    "beside finish_reason": [chunk(piece("Hi")), chunk(piece(finish_reason="stop"), usage=USAGE)],
    "null in all others": [chunk(piece("Hi"), usage=None), chunk(STOP, usage=None), chunk(usage=USAGE)],
    "inside the choice": [chunk(piece("Hi")), chunk({**piece(finish_reason="stop"), "usage": USAGE})],
    "in a field of Groq": [chunk(piece("Hi")), chunk(piece(finish_reason="stop"), x_groq={"usage": USAGE})],
    "before the content": [chunk(usage=USAGE), chunk(piece("Hi")), END],
}


@each_driver
@pytest.mark.parametrize("place", USAGES)
def test_usage_is_reported_once(driver: str, place: str) -> None:
    """The last one, so that a program may add the reports up."""
    assert streamed(driver, sse(*USAGES[place], DONE)).events == [ContentDelta("Hi"), REPORT, Done("stop")]


@each_driver
def test_usage_that_is_incomplete_is_passed_on(driver: str) -> None:
    """A number that is missing is None."""
    chatted = streamed(driver, sse(chunk(piece("Hi", "stop"), usage={"total_tokens": 5, "prompt_tokens": None}), DONE))
    assert chatted.events[1] == UsageReport(Usage(None, None, 5, {"total_tokens": 5, "prompt_tokens": None}))


@each_driver
@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Hm"},
        {"reasoning": "Hm"},
        {"reasoning_content": "Hm", "reasoning": "Hm"},
        {"reasoning_content": None, "reasoning": "Hm"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
    ],
)
def test_reasoning_has_several_names(driver: str, delta: dict[str, Any]) -> None:
    """One event for each piece, whatever the server calls it."""
    chatted = streamed(driver, sse(chunk(piece(**delta)), chunk(piece("Hi", "stop")), DONE))
    assert chatted.events == [ReasoningDelta("Hm"), *HI]
    found = asked(driver, whole(said(**{"content": "Hi", **delta}))).answer
    assert found is not None
    assert found.reasoning == "Hm"


# ---- tool calls

OSLO = ToolCall("c1", "weather", {"city": "Oslo"})
BERN = ToolCall("c2", "weather", {"city": "Bern"})
TOOLS: dict[str, tuple[list[dict[str, Any]], list[ToolCall]]] = {
    "ids and names on the first piece only": (
        [call_piece("", id="c1", name="weather"), call_piece('{"city":'), call_piece('"Oslo"}')],
        [OSLO],
    ),
    "no index": (
        [
            call_piece("", place=None, id="c1", name="weather"),
            call_piece('{"city":', place=None),
            call_piece('"Oslo"}', place=None),
            call_piece("", place=None, id="c2", name="weather"),
            call_piece('{"city":"Bern"}', place=None),
        ],
        [OSLO, BERN],
    ),
    "no index, whole calls in one chunk": (
        [
            piece(
                tool_calls=[
                    {"id": "c1", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                    {"id": "c2", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
                ]
            )
        ],
        [OSLO, BERN],
    ),
    "neither index nor id": (
        [
            call_piece('{"city":"Oslo"}', place=None, name="weather"),
            call_piece('{"city":"Bern"}', place=None, name="weather"),
        ],
        [ToolCall("", "weather", {"city": "Oslo"}), ToolCall("", "weather", {"city": "Bern"})],
    ),
    "the name and the id repeated": (
        [
            call_piece("", id="c1", name="weather"),
            call_piece('{"city":', id="c1", name="weather"),
            call_piece('"Oslo"}', id="c1", name="weather"),
            call_piece("", id="c1", name="weather"),
        ],
        [OSLO],
    ),
    "the name repeated without an id": (
        [
            call_piece('{"city":', id="c1", name="weather"),
            call_piece('"Oslo"}', name="weather"),
            call_piece("", name="weather"),
        ],
        [OSLO],
    ),
    "another id in each piece": (
        [
            call_piece("", id="c1", name="weather"),
            call_piece('{"city":', id="x2"),
            call_piece('"Oslo"}', id="x3"),
        ],
        [OSLO],
    ),
    "index 0 for all calls": (
        [
            call_piece('{"city":"Oslo"}', id="c1", name="weather"),
            call_piece("", id="c2", name="weather"),
            call_piece('{"city":"Bern"}'),
        ],
        [OSLO, BERN],
    ),
    "interleaved by index": (
        [
            call_piece('{"city":', place=0, id="c1", name="weather"),
            call_piece('{"city":', place=1, id="c2", name="weather"),
            call_piece('"Oslo"}', place=0),
            call_piece('"Bern"}', place=1),
        ],
        [OSLO, BERN],
    ),
    "arguments as an object": ([call_piece({"city": "Oslo"}, id="c1", name="weather")], [OSLO]),
    "arguments that are null, then there": (
        [
            piece(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": None}}]),
            call_piece('{"city":"Oslo"}'),
        ],
        [OSLO],
    ),
    "no arguments": ([call_piece("", id="c1", name="now")], [ToolCall("c1", "now", {})]),
    "a function_call, as it was before": (
        [
            piece(function_call={"name": "weather", "arguments": '{"city":'}),
            piece(function_call={"arguments": '"Oslo"}'}),
        ],
        [ToolCall("", "weather", {"city": "Oslo"})],
    ),
}


@each_driver
@pytest.mark.parametrize("defect", TOOLS)
@pytest.mark.parametrize("finish_reason", ["tool_calls", "stop"])
def test_tool_calls_are_assembled(driver: str, defect: str, finish_reason: str) -> None:
    """Each call is one event, with the arguments decoded."""
    pieces, calls = TOOLS[defect]
    end = chunk(piece(finish_reason=finish_reason))
    chatted = streamed(driver, sse(*(chunk(one) for one in pieces), end, DONE))
    assert chatted.error is None
    assert chatted.events == [*calls, Done(finish_reason)]


@each_driver
@pytest.mark.parametrize("end", [[chunk(piece(finish_reason="tool_calls")), DONE], [chunk(piece(None, "length"))]])
def test_a_tool_call_cut_in_half_is_an_error(driver: str, end: list[bytes]) -> None:
    """Never a half call: the server ended the answer, and the arguments have not ended."""
    half = call_piece('{"city": "Be', place=1, id="c2", name="weather")
    events = (chunk(call_piece('{"city":"Oslo"}', id="c1", name="weather")), chunk(half))
    chatted = streamed(driver, sse(*events, *end))
    assert type(chatted.error) is errors.InvalidAnswer
    assert (chatted.events, chatted.partial.tool_calls) == ([], (OSLO,))


@each_driver
def test_a_tool_call_cut_by_the_connection_is_a_truncated_stream(driver: str) -> None:
    """The answer so far has no half call either."""
    chatted = streamed(driver, sse(chunk(call_piece('{"city": "Be', id="c2", name="weather")), end=False), End.CLOSE)
    assert type(chatted.error) is errors.TruncatedStream
    assert (chatted.events, chatted.partial.tool_calls) == ([], ())


@each_driver
@pytest.mark.parametrize(
    "call", [{"index": 0, "id": "c"}, {"index": 0, "type": "custom", "custom": {"name": "f", "input": "x"}}]
)
def test_a_call_that_is_not_of_a_function_is_an_error(driver: str, call: dict[str, Any]) -> None:
    """It is not dropped; the error names its type."""
    chatted = streamed(driver, sse(chunk(piece(tool_calls=[call])), END, DONE))
    assert type(chatted.error) is errors.InvalidAnswer
    assert "and not a function" in str(chatted.error)


@each_driver
def test_a_tool_call_without_a_name_is_an_error(driver: str) -> None:
    """There is nothing to call."""
    error = streamed(driver, sse(chunk(call_piece("{}", id="c")), END, DONE)).error
    assert type(error) is errors.InvalidAnswer


# ---- errors in the middle

BROKEN: dict[str, tuple[bytes, str, str]] = {
    "an object": (
        event_of({"error": {"message": "out of memory", "type": "server_error", "code": 500}}),
        "out of memory",
        "server_error",
    ),
    "a text": (event_of({"error": "out of memory"}), "out of memory", ""),
    "an object of the type error": (
        event_of({"object": "error", "message": "out of memory", "type": "server_error", "code": 500}),
        "out of memory",
        "server_error",
    ),
    "a message": (event_of({"message": "out of memory", "code": "oom"}), "out of memory", "oom"),
    "a detail": (event_of({"detail": "out of memory"}), "out of memory", ""),
    "an event with the name": (b"event: error\ndata: out of memory\n\n", "out of memory", ""),
    "llama.cpp, in a field of its own": (
        b'error: {"code": 500, "message": "out of memory", "type": "server_error"}\n\n',
        "out of memory",
        "server_error",
    ),
    "an error beside choices": (
        chunk(piece("", "error"), error={"code": "oom", "message": "out of memory"}),
        "out of memory",
        "oom",
    ),
    "a finish_reason": (chunk({**piece("", "error"), "error": {"message": "out of memory"}}), "out of memory", ""),
    "Penstock": (
        b'event: error\ndata: {"error": {"message": "out of memory", "code": "handler-error"}}\n\n',
        "out of memory",
        "handler-error",
    ),
}


@each_driver
@pytest.mark.parametrize("shape", BROKEN)
@pytest.mark.parametrize("end", [[DONE], []])
def test_an_error_in_the_middle_is_the_servers(driver: str, shape: str, end: list[bytes]) -> None:
    """The status was 200; the stream may even end as if nothing had happened."""
    event, message, code = BROKEN[shape]
    chatted = streamed(driver, sse(chunk(piece("Hi")), event, *end))
    assert type(chatted.error) is errors.StreamFailed
    assert str(chatted.error) == f"The stream ended with an error: {message}"
    assert (chatted.error.server_code, chatted.partial.content) == (code, "Hi")
    assert chatted.events == [ContentDelta("Hi")]


# ---- errors in place of an answer

BODIES: dict[str, tuple[bytes, str, str, str]] = {
    "OpenAI": (
        b'{"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "c_l"}}',
        "too long",
        "c_l",
        "invalid_request_error",
    ),
    "OpenAI without a code": (
        b'{"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": null}}',
        "too long",
        "invalid_request_error",
        "invalid_request_error",
    ),
    "a code that is the status": (
        b'{"error": {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}}',
        "too long",
        "BadRequestError",
        "BadRequestError",
    ),
    "an error that is a text": (b'{"error": "too long"}', "too long", "", ""),
    "a message": (b'{"message": "too long", "code": "c_l"}', "too long", "c_l", ""),
    "an object of the type error": (
        b'{"object": "error", "message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}',
        "too long",
        "BadRequestError",
        "BadRequestError",
    ),
    "a detail": (b'{"detail": "too long"}', "too long", "", ""),
    "FastAPI's faults": (
        b'{"detail": [{"loc": ["body", "messages", 0], "msg": "too long", "type": "x"}]}',
        "$.messages.0: too long",
        "",
        "",
    ),
    "a list": (
        b'[{"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}}]',
        "too long",
        "INVALID_ARGUMENT",
        "",
    ),
    "plain text": (b"too long\n", "too long", "", ""),
    "HTML": (b"<html><body>too long</body></html>", "", "", ""),
    "nothing": (b"", "", "", ""),
    "null": (b"null", "", "", ""),
    "bytes": (b"\xff\xfe\x00", "", "", ""),
}


@each_driver
@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_error_body_of_any_shape_is_read(driver: str, shape: str, is_stream: bool) -> None:
    """The message, the code and the type of the server are on the error."""
    body, message, code, type_ = BODIES[shape]
    error = (streamed if is_stream else asked)(driver, answer(body, status=400)).error
    assert type(error) is errors.MalformedRequest
    assert (error.server_message, error.server_code, error.server_type) == (message, code, type_)
    assert str(error) == f"400: {message or 'The request cannot be read'}"
    assert error.param == ("messages" if b'"param"' in body else None)


@each_driver
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"error": {"message": "slow down", "code": 429}}', errors.RateLimited, 429),
        (b'{"error": {"message": "no", "code": "invalid-request"}}', errors.InvalidRequest, 200),
        (b'{"object": "error", "message": "no", "code": 40303}', errors.ResponseError, 200),
        (b'{"detail": "no"}', errors.ResponseError, 200),
    ],
)
def test_an_error_with_status_200_is_an_error(
    driver: str, is_stream: bool, body: bytes, kind: type[errors.ResponseError], status: int
) -> None:
    """Gateways send the error of the service behind them so; the status is in the body, if anywhere."""
    error = (streamed if is_stream else asked)(driver, answer(body)).error
    assert type(error) is kind
    assert (error.status, error.may_have_run, error.retryable) == (status, True, False)


# ---- the other of the two


@each_driver
def test_a_whole_answer_in_place_of_a_stream(driver: str) -> None:
    """A server that cannot stream answers with JSON, whatever its media type; the events are those of the whole."""
    message = said("Hi", reasoning="Hm", tool_calls=[{"function": {"name": "now", "arguments": "{}"}}])
    for media_type in ("application/json", "text/event-stream"):
        chatted = streamed(driver, answer(whole_body(message, usage=USAGE), media_type=media_type))
        assert chatted.events == [
            ReasoningDelta("Hm"),
            ContentDelta("Hi"),
            ToolCall("", "now", {}),
            REPORT,
            Done("stop"),
        ]


@each_driver
def test_a_stream_in_place_of_a_whole_answer(driver: str) -> None:
    """A server that always streams is understood; its stream must be whole."""
    events = b"".join([chunk(piece("H")), chunk(piece("i", "stop")), chunk(usage=USAGE)])
    found = asked(driver, answer(events + DONE, media_type="text/event-stream")).answer
    assert found is not None
    assert (found.content, found.finish_reason, found.usage, found.raw) == ("Hi", "stop", REPORT.usage, None)
    error = asked(driver, answer(chunk(piece("H")), media_type="text/event-stream")).error
    assert type(error) is errors.TruncatedStream
    assert error.partial.content == "H"


@each_driver
def test_space_before_a_whole_answer(driver: str) -> None:
    """Some servers keep the connection alive with empty lines, and some files begin with a byte order mark."""
    for space in (b"\n\n\n", b"\xef\xbb\xbf"):
        found = asked(driver, answer(space + whole_body(said()))).answer
        assert found is not None
        assert found.content == "Hi"


@each_driver
def test_a_finish_reason_that_is_null_on_a_whole_answer(driver: str) -> None:
    """The body is whole, so the answer is; the reason is not known."""
    found = asked(driver, whole(said("Hi", None))).answer
    assert found is not None
    assert (found.content, found.finish_reason) == ("Hi", None)


@each_driver
def test_content_as_a_list_of_parts(driver: str) -> None:
    """Their texts are the content."""
    found = asked(driver, whole(said([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]))).answer
    assert found is not None
    assert found.content == "Hi"


@each_driver
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("body", [b"", b"<html>Log in</html>", b'{"choices": [{"mess', b"hello", b"[]", b"{}", b"\xff"])
def test_a_body_that_is_not_an_answer_is_an_error(driver: str, is_stream: bool, body: bytes) -> None:
    """A page of a proxy, another protocol, half an answer."""
    error = (streamed if is_stream else asked)(driver, answer(body)).error
    assert type(error) is errors.InvalidAnswer


# ---- for any split, and any chunk

TEXT = sse(chunk(piece("Grüße")), chunk(call_piece('{"a": 1}', id="c", name="f")), END, chunk(usage=USAGE), DONE)
BODY = b"".join([chunk(piece("Grüße")), chunk(call_piece('{"a": 1}', id="c", name="f")), END, chunk(usage=USAGE), DONE])


def events_of(*pieces: bytes) -> list[ChatEvent]:
    decoder = ChatDecoder()
    found = [event for piece in pieces for event, _ in decoder.feed(piece)]
    return [*found, *(event for event, _ in decoder.finish())]


@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=10).map(sorted), ending=st.sampled_from([b"\n", b"\r\n"]))
def test_the_cuts_of_the_network_do_not_matter(cuts: list[int], ending: bytes) -> None:
    """Any split of the bytes is the same answer."""
    body = BODY.replace(b"\n", ending)
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert events_of(*pieces) == [ContentDelta("Grüße"), ToolCall("c", "f", {"a": 1}), REPORT, Done("stop")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "delta", "message", "content", "tool_calls", "function", "index", "name", "arguments"),
                    *("usage", "error", "finish_reason", "id", "type", "text", "detail", "reasoning"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(values=st.lists(JSON, max_size=5))
def test_any_json_is_an_answer_or_an_error_of_the_client(values: list[Any]) -> None:
    """A server that has gone mad raises no ``KeyError`` or ``AttributeError``, streamed, whole, or with an error."""
    bodies = [b"".join(map(event_of, values)) + DONE, *(json.dumps(value).encode() for value in values)]
    for body in bodies:
        with contextlib.suppress(errors.ClientError):
            assert whole_answer({}, (), body).choices
        assert error_of_response(400, {}, body).status == 400


ARGUMENTS = st.dictionaries(st.sampled_from(["city", 'a "b"']), st.text(max_size=4) | st.integers(0, 9), max_size=2)


@given(
    wanted=st.lists(st.tuples(st.sampled_from(["weather", "now"]), ARGUMENTS), min_size=1, max_size=4),
    numbers=st.sampled_from(["index", "zero", "none"]),
    has_ids=st.booleans(),
    repeats_id=st.booleans(),
    repeats_name=st.booleans(),
    size=st.integers(1, 9),
)
def test_calls_are_told_apart_in_any_style(  # noqa: PLR0917 - hypothesis passes them by name
    wanted: list[tuple[str, dict[str, Any]]],
    numbers: str,
    has_ids: bool,
    repeats_id: bool,
    repeats_name: bool,
    size: int,
) -> None:
    """Whatever a server repeats and leaves out, there are as many calls as it meant, with their arguments."""
    assume(numbers != "zero" or has_ids)  # nothing would tell them apart
    calls = ToolCallAssembly()
    for number, (name, arguments) in enumerate(wanted):
        text, id_ = json.dumps(arguments), f"c{number}" if has_ids else ""
        for place in range(0, len(text), size):
            piece: dict[str, Any] = {"function": {"arguments": text[place : place + size]}}
            if place == 0 or repeats_name:
                piece["function"]["name"] = name
            if id_ and (place == 0 or repeats_id):
                piece["id"] = id_
            if numbers != "none":
                piece["index"] = number if numbers == "index" else 0
            calls.add(piece)
    assert [(call.name, call.arguments) for call in calls.finish("tool_calls", 0)] == wanted
