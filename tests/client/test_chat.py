"""Chat with each driver: requests, whole answers, streams, time and retries."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import anyio
import pytest

from penstock_client import (
    AsyncClient,
    ChatAnswer,
    ChatChoice,
    Client,
    ContentDelta,
    Done,
    Limits,
    ReasoningDelta,
    Retries,
    Timeouts,
    ToolCall,
    Usage,
    UsageReport,
    chat_assembly,
    chat_decoding,
    errors,
)
from penstock_client.chat_requests import chat_path
from tests.client.chatting import (
    DONE,
    HELLO,
    asked,
    call_piece,
    chat,
    chunk,
    piece,
    said,
    sse,
    streamed,
    whole,
)
from tests.client.drivers import DRIVERS
from tests.client.scripted_server import End, ScriptedServer, answer
from tests.serving import wait_until

QUICK = Retries(base=0.001)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}

each_driver = pytest.mark.parametrize("driver", DRIVERS)
each_way = pytest.mark.parametrize("is_stream", [False, True])


# ---- requests


@each_driver
@each_way
def test_a_request_is_openais(driver: str, is_stream: bool) -> None:
    """Its path, its body with all parameters, and the headers of the policy."""
    response = sse(chunk(piece("Hi")), chunk(piece(finish_reason="stop")), DONE) if is_stream else whole(said())
    with ScriptedServer([(response,)]) as server:
        chat(
            driver,
            server.url,
            is_stream=is_stream,
            settings={"key": "sk-1"},
            temperature=0.5,
            tools=[{"type": "function"}],
            top_k=20,
            extra_body={"timeout": 7},
            timeout=30.0,
            headers={"x-team": "blue"},
        )
        [request] = server.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    body = {"model": "m", "messages": list(HELLO), "temperature": 0.5, "tools": [{"type": "function"}], "top_k": 20}
    assert json.loads(request.body) == {**body, "timeout": 7, **({"stream": True} if is_stream else {})}
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Bearer sk-1", "blue")
    assert 25 < float(request.headers["x-request-timeout"]) < 30


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "v1/chat/completions"),
        ("/models", "v1/chat/completions"),
        ("/v1", "chat/completions"),
        ("/v1/", "chat/completions"),
        ("/openai/v1", "chat/completions"),
        ("/api/paas/v4", "chat/completions"),
        ("/v1beta/openai", "chat/completions"),
        ("/very", "v1/chat/completions"),
    ],
)
def test_a_url_may_have_its_version(path: str, expected: str) -> None:
    """People write it with and without ``/v1``."""
    assert chat_path(path) == expected


def test_the_path_may_be_another() -> None:
    """Some services have one of their own; a host named like a version does not matter."""
    with ScriptedServer([(whole(said()),)]) as server, Client(server.url) as client:
        client.chat("m", HELLO, path="deployments/m/chat/completions?api-version=1")
        assert server.requests[0].line.startswith("POST /deployments/m/chat/completions?api-version=1 ")


@each_driver
@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"model": ""}, ValueError, "model is empty"),
        ({"messages": []}, ValueError, "messages are empty"),
        ({"messages": "Hello"}, TypeError, "messages are a list like .*, and not of the type str"),
        ({"messages": {"role": "user"}}, TypeError, "messages are a list"),
        ({"messages": iter(HELLO)}, TypeError, "messages are a list"),
        ({"messages": ["Hello"]}, TypeError, "a message is a mapping like .*, and not of the type str"),
        ({"stream": True}, TypeError, r"call chat\(\) for a whole answer, and chat_stream\(\)"),
        ({"extra_body": {"stream": True}}, TypeError, "chat_stream"),
        ({"temperature": object()}, TypeError, "cannot be written as JSON"),
        ({"timeout": 0}, ValueError, "give seconds above 0"),
    ],
)
def test_a_request_that_is_wrong_is_not_sent(
    driver: str, arguments: dict[str, Any], kind: type[Exception], match: str
) -> None:
    """The message says what to write."""
    error = chat(driver, "http://127.0.0.1:9", is_stream=False, **arguments).error
    assert type(error) is kind
    assert re.search(match, str(error))


# ---- whole answers


@each_driver
def test_a_whole_answer_has_all_that_the_server_said(driver: str) -> None:
    """The content, why it ends, the usage, the model, and the body as it was."""
    found = asked(driver, whole(said("Hi", reasoning_content="Hm"), usage=USAGE)).answer
    assert found is not None
    assert (found.content, found.text(), found.reasoning, found.finish_reason) == ("Hi", "Hi", "Hm", "stop")
    assert found.usage == Usage(3, 2, 5, USAGE)
    assert (found.model, found.id, found.tool_calls) == ("m-1", "chatcmpl-1", ())
    assert found.raw["object"] == "chat.completion"
    assert [attempt.outcome for attempt in found.attempts] == ["200"]
    assert found.message == {"role": "assistant", "content": "Hi"}


@each_driver
def test_several_choices_are_not_mixed_up(driver: str) -> None:
    """They are in the order of their numbers, whatever the order in the body."""
    second, first = {**said("two", "length"), "index": 1}, said("one")
    found = asked(driver, whole(second, first), n=2).answer
    assert found is not None
    assert [(choice.index, choice.content, choice.finish_reason) for choice in found.choices] == [
        (0, "one", "stop"),
        (1, "two", "length"),
    ]
    assert (found.content, found.finish_reason) == ("one", "stop")


CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
    {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
]
CALLED = (ToolCall("c1", "weather", {"city": "Oslo"}), ToolCall("c2", "now", {}))


@each_driver
def test_tool_calls_are_decoded(driver: str) -> None:
    """Content is null beside them; the message can be sent back with the results."""
    found = asked(driver, whole(said(None, "tool_calls", tool_calls=CALLS))).answer
    assert found is not None
    assert (found.content, found.tool_calls, found.finish_reason) == (None, CALLED, "tool_calls")
    assert [call["function"] for call in found.message["tool_calls"]] == [
        {"name": "weather", "arguments": '{"city":"Oslo"}'},
        {"name": "now", "arguments": "{}"},
    ]
    with pytest.raises(errors.InvalidAnswer, match="no content, but tool_calls; finish_reason='tool_calls'"):
        found.text()


NOTHING: dict[str, dict[str, Any]] = {
    "no choices": {"choices": []},
    "choices that are null": {"choices": None},
    "no message": {"choices": [{"index": 0, "finish_reason": "stop"}]},
    "a message that is null": {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
    "content that is null": {"choices": [said(None)]},
    "no content": {"choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}]},
    "no tool calls": {"choices": [said(None, "tool_calls", tool_calls=[])]},
    "content that is a number": {"choices": [said(5)]},
    "one choice of two": {"choices": [said("Hi"), {**said(None), "index": 1}]},
}


@each_driver
@pytest.mark.parametrize("missing", NOTHING)
def test_missing_content_is_an_error(driver: str, missing: str) -> None:
    """It is never an empty text."""
    error = asked(driver, answer(json.dumps(NOTHING[missing]).encode())).error
    assert type(error) is errors.InvalidAnswer
    assert (error.may_have_run, len(error.attempts)) == (True, 1)
    assert len(error.request_id) == 32


CONTENTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "an empty text": (said(""), ""),
    "null at the limit on tokens": (said(None, "length"), None),
    "null by a filter": (said(None, "content_filter"), None),
    "null beside reasoning": (said(None, reasoning="Hm"), None),
    "null beside a refusal": (said(None, refusal="No."), None),
    "a text at the limit on tokens": (said("Once upon", "length"), "Once upon"),
}


@each_driver
@pytest.mark.parametrize("case", CONTENTS)
def test_content_that_may_be_missing(driver: str, case: str) -> None:
    """The server says why there is none, or that the text is empty."""
    choice, content = CONTENTS[case]
    chatted = asked(driver, whole(choice))
    assert chatted.answer is not None
    assert (chatted.answer.content, chatted.answer.finish_reason) == (content, choice["finish_reason"])


@each_driver
@pytest.mark.parametrize("arguments", ['{"city": "Os', "Oslo", "[1]", "null", 5])
@pytest.mark.parametrize("finish_reason", ["tool_calls", "length"])
def test_a_tool_call_that_is_not_whole_is_an_error(driver: str, arguments: Any, finish_reason: str) -> None:
    """Never a half call; the error has the content and the calls that are whole."""
    half = {"id": "c3", "function": {"name": "weather", "arguments": arguments}}
    error = asked(driver, whole(said("I look", finish_reason, tool_calls=[CALLS[0], half]))).error
    assert type(error) is errors.InvalidAnswer
    assert "'weather'" in str(error)
    assert (error.partial.content, error.partial.tool_calls) == ("I look", CALLED[:1])


# ---- streams


@each_driver
def test_a_stream_has_typed_events(driver: str) -> None:
    """Reasoning, content, tool calls when they are whole, the usage once, and the end."""
    chatted = streamed(
        driver,
        sse(
            chunk(piece("", role="assistant")),
            chunk(piece(reasoning_content="Hm")),
            chunk(piece("I ")),
            chunk(piece("look")),
            chunk(call_piece("", id="c1", name="weather")),
            chunk(call_piece('{"city":')),
            chunk(call_piece(' "Oslo"}')),
            chunk(call_piece("{}", place=1, id="c2", name="now")),
            chunk(piece(finish_reason="tool_calls")),
            chunk(usage=USAGE),
            DONE,
        ),
    )
    assert chatted.events == [
        ReasoningDelta("Hm"),
        ContentDelta("I "),
        ContentDelta("look"),
        *CALLED,
        UsageReport(Usage(3, 2, 5, USAGE)),
        Done("tool_calls"),
    ]
    answer = chatted.answer
    assert answer is not None
    assert answer.choices == (ChatChoice("I look", "Hm", None, CALLED, "tool_calls"),)
    assert (answer.usage, answer.model, answer.id) == (Usage(3, 2, 5, USAGE), "m-1", "chatcmpl-1")
    assert [attempt.outcome for attempt in answer.attempts] == ["200"]


@each_driver
def test_the_choices_of_a_stream_are_not_mixed_up(driver: str) -> None:
    """Chunks of several choices may interleave; each event says to which one it belongs."""
    chatted = streamed(
        driver,
        sse(
            chunk(piece("a"), {**piece("x"), "index": 1}),
            chunk({**piece("y"), "index": 1}),
            chunk(piece("b", "stop")),
            chunk({**piece("z", "length"), "index": 1}),
            DONE,
        ),
        n=2,
    )
    assert [event for event in chatted.events if isinstance(event, Done)] == [Done("stop", 0), Done("length", 1)]
    assert [(event.index, event.text) for event in chatted.events if isinstance(event, ContentDelta)] == [
        (0, "a"),
        (1, "x"),
        (1, "y"),
        (0, "b"),
        (1, "z"),
    ]
    assert chatted.answer is not None
    assert [choice.content for choice in chatted.answer.choices] == ["ab", "xyz"]


def test_the_text_of_a_stream_is_its_content() -> None:
    """Without the reasoning; it is an error if there is none."""
    events = (chunk(piece("a", reasoning="Hm")), chunk(piece("b", "stop")), DONE)
    none = (chunk(piece(reasoning="Hm", finish_reason="length")), DONE)
    with ScriptedServer([(sse(*events),), (sse(*none),)]) as server, Client(server.url) as client:
        with client.chat_stream("m", HELLO) as stream:
            assert stream.text() == "ab"
        with pytest.raises(errors.InvalidAnswer, match="reasoning"), client.chat_stream("m", HELLO) as stream:
            stream.text()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_text_of_a_stream_is_its_content_in_a_loop_too(backend: str) -> None:
    """The same with await."""

    async def main() -> str:
        with ScriptedServer([(sse(chunk(piece("ab", "stop")), DONE),)]) as server:
            async with AsyncClient(server.url) as client, client.chat_stream("m", HELLO) as stream:
                return await stream.text()

    assert anyio.run(main, backend=backend) == "ab"


def test_the_answer_grows_while_the_stream_is_read() -> None:
    """A program may look at it at any time."""
    body = sse(chunk(piece("a")), end=False)
    with (
        ScriptedServer([(body, End.SILENCE)]) as server,
        Client(server.url) as client,
        client.chat_stream("m", HELLO) as stream,
    ):
        assert stream.answer.choices == ()
        assert next(stream) == ContentDelta("a")
        assert (stream.answer.content, stream.answer.finish_reason) == ("a", None)


@each_driver
def test_leaving_a_chat_early_hangs_up(driver: str) -> None:
    """The server sees it at once, and can stop the work."""
    with ScriptedServer([(sse(chunk(piece("a")), end=False), End.SILENCE)]) as server:
        if driver == "sync":
            with Client(server.url) as client, client.chat_stream("m", HELLO) as stream:
                next(stream)
        else:
            anyio.run(leave, server.url, backend=driver)
        wait_until(lambda: server.hang_ups, "the hang-up")


async def leave(url: str) -> None:
    async with AsyncClient(url) as client, client.chat_stream("m", HELLO) as stream:
        await anext(stream)


@each_driver
def test_chats_do_not_use_up_the_pool(driver: str) -> None:
    """A chat that is left early frees its connection, and one that is read to its end keeps it for the next."""
    whole_stream = (sse(chunk(piece("a")), chunk(piece("b", "stop")), DONE),)
    with ScriptedServer([*[(sse(chunk(piece("a")), end=False), End.SILENCE)] * 10, whole_stream]) as server:
        if driver == "sync":
            with Client(server.url, limits=Limits(max_connections=1)) as client:
                for _ in range(10):
                    with client.chat_stream("m", HELLO) as stream:
                        next(stream)
                for _ in range(3):
                    with client.chat_stream("m", HELLO) as stream:
                        assert stream.text() == "ab"
        else:
            anyio.run(chat_often, server.url, backend=driver)
        assert (len(server.requests), server.connections) == (13, 11)


async def chat_often(url: str) -> None:
    async with AsyncClient(url, limits=Limits(max_connections=1)) as client:
        for _ in range(10):
            async with client.chat_stream("m", HELLO) as stream:
                await anext(stream)
        for _ in range(3):
            async with client.chat_stream("m", HELLO) as stream:
                assert await stream.text() == "ab"


# ---- time


@each_driver
def test_keep_alives_do_not_count_as_events(driver: str) -> None:
    """The event time-out looks at chunks; the error has the answer so far."""
    script = (sse(chunk(piece("a")), end=False), *[b"9\r\n: alive\n\n\r\n", 0.02] * 200)
    chatted = streamed(driver, *script, settings={"timeouts": Timeouts(event=0.3)})
    assert type(chatted.error) is errors.EventTimeout
    assert chatted.partial.content == "a"


@each_driver
def test_the_pieces_of_a_tool_call_are_events(driver: str) -> None:
    """A long call keeps the event time-out satisfied, although the program sees it only at its end."""
    pieces = [call_piece("{", id="c", name="f"), *[call_piece(" ")] * 15, call_piece("}")]
    script = [sse(chunk(piece("a")), end=False)]
    for one in (*pieces, piece(finish_reason="tool_calls")):
        data = chunk(one)
        script += [f"{len(data):x}\r\n".encode() + data + b"\r\n", 0.05]
    chatted = streamed(driver, *script, b"0\r\n\r\n", settings={"timeouts": Timeouts(event=0.6)})
    assert chatted.error is None
    assert chatted.events[-2:] == [ToolCall("c", "f", {}), Done("tool_calls")]


@pytest.mark.timed
@each_driver
@each_way
def test_total_bounds_a_chat(driver: str, is_stream: bool) -> None:
    """A server that trickles does not extend it."""
    data = chunk(piece("a"))
    script = (sse(data, end=False), *[f"{len(data):x}\r\n".encode() + data + b"\r\n", 0.02] * 200)
    began = time.monotonic()
    with ScriptedServer([script]) as server:
        chatted = chat(driver, server.url, is_stream=is_stream, timeout=0.4)
    assert type(chatted.error) is errors.TotalTimeout
    assert time.monotonic() - began < 2.5
    if is_stream:
        assert set(chatted.partial.content) == {"a"}


# ---- refusals, and when they are tried again


@each_driver
@each_way
def test_a_refusal_is_tried_again(driver: str, is_stream: bool) -> None:
    """The policy is that of any call, until the first byte of the answer."""
    good = sse(chunk(piece("Hi", "stop")), DONE) if is_stream else whole(said())
    refusal = answer(b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', status=429)
    with ScriptedServer([(refusal,), (good,)]) as server:
        chatted = chat(driver, server.url, is_stream=is_stream, settings={"retries": QUICK})
    assert chatted.answer is not None
    assert [attempt.outcome for attempt in chatted.answer.attempts] == ["429 rate_limit_exceeded", "200"]


QUOTA = b'{"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}}'


@each_driver
@each_way
def test_an_account_that_cannot_pay_is_not_asked_again(driver: str, is_stream: bool) -> None:
    """429 ``insufficient_quota`` does not go away by waiting."""
    with ScriptedServer([(answer(QUOTA, status=429),)]) as server:
        error = chat(driver, server.url, is_stream=is_stream, settings={"retries": QUICK}).error
        assert len(server.requests) == 1
    assert type(error) is errors.RateLimited
    assert (error.server_code, error.server_type) == ("insufficient_quota", "insufficient_quota")
    assert error.server_message == "You exceeded your quota"
    assert (error.retryable, error.may_have_run, error.retries_refused) == (False, False, "rule")


@each_driver
def test_x_should_retry_beats_the_body(driver: str) -> None:
    """The server knows best, in both directions."""
    with ScriptedServer([(answer(QUOTA, status=429, X_Should_Retry="true"),), (whole(said()),)]) as server:
        assert chat(driver, server.url, is_stream=False, settings={"retries": QUICK}).answer is not None
    with ScriptedServer([(answer(b"{}", status=503, X_Should_Retry="false"),)]) as server:
        assert chat(driver, server.url, is_stream=False, settings={"retries": QUICK}).error is not None
        assert len(server.requests) == 1


@each_driver
def test_retry_after_may_be_in_milliseconds(driver: str) -> None:
    """``retry-after-ms`` is the more exact one."""
    error = asked(
        driver,
        answer(b"{}", status=429, Retry_After="1", Retry_After_Ms="250"),
        settings={"retries": Retries(max_attempts=1)},
    ).error
    assert isinstance(error, errors.RateLimited)
    assert error.retry_after == 0.25


@each_driver
@each_way
def test_a_chat_is_not_asked_twice_if_it_may_have_run(driver: str, is_stream: bool) -> None:
    """A generation costs money: after a loss it is asked again only if the call says that it may."""
    good = sse(chunk(piece("Hi", "stop")), DONE) if is_stream else whole(said())
    for options, count in (({}, 1), ({"idempotent": True}, 2), ({"idempotency_key": "k"}, 2)):
        with ScriptedServer([(End.CLOSE,), (good,)]) as server:
            chatted = chat(driver, server.url, is_stream=is_stream, settings={"retries": QUICK}, **options)
            assert len(server.requests) == count
        assert (chatted.error is None) == (count == 2)


def test_an_answer_without_anything_is_empty() -> None:
    """The answer of a stream that has not begun has no content and no reason for its end."""
    empty = ChatAnswer()
    assert (empty.content, empty.tool_calls, empty.finish_reason, empty.request_id) == (None, (), None, "")


# ---- bounds


def endless(event: bytes, tries: int = 60) -> list[Any]:
    return [sse(event, end=False), *[f"{len(event):x}\r\n".encode() + event + b"\r\n"] * tries, b"0\r\n\r\n"]


@each_driver
@pytest.mark.parametrize(
    "delta",
    [
        piece("x" * 10),
        piece(reasoning="x" * 10),
        piece([{"type": "text", "text": "x" * 10}]),
        piece(refusal="x" * 10),
        call_piece("x" * 10, name="f"),
    ],
)
def test_an_endless_answer_does_not_fill_the_memory(
    driver: str, delta: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 64 MiB it is an error, which has the answer until then."""
    monkeypatch.setattr(chat_assembly, "_LONGEST_ANSWER", 400)
    chatted = streamed(driver, *endless(chunk(delta)))
    assert type(chatted.error) is errors.InvalidAnswer
    assert "longer than 64 MiB" in str(chatted.error)


def test_a_whole_answer_in_a_stream_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept until its end, and has no other bound."""
    monkeypatch.setattr(chat_decoding, "_LARGEST_BODY", 1000)
    chatted = streamed("sync", *endless(b'{"n": 12345678}' * 10))
    assert type(chatted.error) is errors.InvalidAnswer
    assert "larger than 256 MiB" in str(chatted.error)


def test_a_refusal_is_a_part_of_the_message() -> None:
    """A conversation goes on with it."""
    message = ChatAnswer((ChatChoice(refusal="No."),)).message
    assert message == {"role": "assistant", "content": None, "refusal": "No."}
