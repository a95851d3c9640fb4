"""Responses: the output of an answer, whole and as events."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.hooks import PublicError
from penstock_chat import Finish, Logprob, Piece, Reasoning, Text, ToolCall, Usage
from penstock_openai.response_objects import ResponseMemo
from penstock_openai.response_stream import ResponseStream
from tests.plugins.openai.response_scene import ResponseScene, events_of

TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


@pytest.fixture
def scene() -> ResponseScene:
    return ResponseScene(tools=True, logprobs=True, structured="handler", inputs=("text", "image"))


def kinds(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


def test_a_whole_answer(scene: ResponseScene) -> None:
    """One message with the text, and the fields that clients rely on."""
    status, response = scene.ask("Hel", "lo", Usage(3, 2, 1), instructions="Be brief.", temperature=0.5)
    assert (status, response["object"], response["status"], response["model"]) == (200, "response", "completed", "tiny")
    assert response["id"].startswith("resp_")
    [message] = response["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert response["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }
    assert (response["instructions"], response["temperature"], response["tools"]) == ("Be brief.", 0.5, [])
    assert (response["error"], response["incomplete_details"], response["previous_response_id"]) == (None, None, None)


def test_a_result_is_an_answer_too(scene: ResponseScene) -> None:
    """A handler that returns a piece, a list of them or nothing."""
    assert scene.result("Hello")[0]["content"][0]["text"] == "Hello"
    assert [item["type"] for item in scene.result(["Hello", ToolCall("c", "f", {})])] == ["message", "function_call"]
    assert scene.result(None)[0]["content"][0]["text"] == ""


def test_nothing_is_stored_and_the_response_says_so(scene: ResponseScene) -> None:
    """Clients send ``store`` by default: it is tolerated."""
    assert scene.ask("Hello", store=True)[1]["store"] is False
    answer = scene.harness.route("/v1/responses/resp_1", "GET")
    assert answer.status == 404
    assert b"responses are not stored here" in answer.body


def test_the_events_of_a_text(scene: ResponseScene) -> None:
    """Their names and order are those of OpenAI, and the last one has the whole response."""
    events = scene.events("Hel", "lo", Usage(3, 2))
    assert kinds(events) == TEXT_EVENTS
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[2]["item"]["content"] == []
    assert events[6]["text"] == events[7]["part"]["text"] == "Hello"
    assert events[-1]["response"]["output"] == [events[-2]["item"]]
    assert events[-1]["response"]["usage"]["total_tokens"] == 5
    assert {event["item_id"] for event in events if "item_id" in event} == {events[2]["item"]["id"]}


def test_texts_are_passed_on_as_they_are(scene: ResponseScene) -> None:
    """Quotes, escapes, and the characters at which clients split lines."""
    pieces = ['say "', "\\", '\n"', "\u2028é", "\U0001f600"]
    events = scene.events(*pieces)
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "".join(pieces)
    assert [event["delta"] for event in events if "delta" in event] == pieces


def test_an_empty_answer_is_a_message(scene: ResponseScene) -> None:
    """Clients that expect a message find one."""
    assert kinds(scene.events()) == [kind for kind in TEXT_EVENTS if not kind.endswith("text.delta")]
    assert scene.output("")[0]["content"][0]["text"] == ""


def test_reasoning_is_an_item_before_the_message(scene: ResponseScene) -> None:
    """Each has events of its own; the first is done before the other begins."""
    events = scene.events(Reasoning("hm"), Reasoning("m"), "so")
    assert kinds(events)[2:9] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    reasoning, message = events[-1]["response"]["output"]
    assert (reasoning["type"], reasoning["summary"]) == ("reasoning", [])
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hmm"}]
    assert message["content"][0]["text"] == "so"


def test_calls_of_functions(scene: ResponseScene) -> None:
    """A call is done as soon as the next one begins; its arguments come in pieces."""
    events = scene.events(ToolCall("c1", "f"), ToolCall(arguments='{"a":'), ToolCall(arguments="1}"), ToolCall("", "g"))
    assert kinds(events)[2:9] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.done",
    ]
    first, second = events[-1]["response"]["output"]
    assert (first["call_id"], first["name"], first["arguments"], first["status"]) == ("c1", "f", '{"a":1}', "completed")
    assert second["call_id"].startswith("call_")
    assert first["id"] != second["id"]


def test_numbered_calls_may_take_turns(scene: ResponseScene) -> None:
    """They are done at the end, each with its own arguments."""
    calls = [ToolCall("a", "f", "1", 0), ToolCall("b", "g", "2", 1), ToolCall(arguments="3", index=0)]
    events = scene.events(*calls)
    deltas = [(event["output_index"], event["delta"]) for event in events if "delta" in event]
    assert deltas == [(0, "1"), (1, "2"), (0, "3")]
    assert [item["arguments"] for item in events[-1]["response"]["output"]] == ["13", "2"]


def test_a_text_after_a_call_is_another_message(scene: ResponseScene) -> None:
    """Items stay in the order in which they begin."""
    output = scene.output("a", ToolCall("c", "f", "{}"), "b")
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")], ids=str
)
def test_an_answer_that_was_cut_is_incomplete(scene: ResponseScene, reason: Any, told: str) -> None:
    """The response and its last item say so, whole and streamed."""
    pieces: list[Piece] = ["cut", Finish(reason)]
    _, response = scene.ask(*pieces)
    last = scene.events(*pieces)[-1]
    assert last["type"] == "response.incomplete"
    for found in (response, last["response"]):
        assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": told})
        assert found["output"][0]["status"] == "incomplete"


def test_log_probabilities(scene: ResponseScene) -> None:
    """With each piece, and all of them at the end."""
    text = Text("Hi", [Logprob("Hi", -0.1, [Logprob("Hi", -0.1)])])
    events = scene.events(text, "!", include=["message.output_text.logprobs"])
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}
    expected = [{**token, "top_logprobs": [token]}]
    assert events[4]["logprobs"] == expected
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == expected


def test_a_response_repeats_what_was_asked_for(scene: ResponseScene) -> None:
    """Tools, the choice among them, and the form of the answer, in the shape of the request."""
    schema = {"type": "object"}
    _, response = scene.ask(
        "{}",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "f"},
        text={"format": {"type": "json_schema", "name": "s", "schema": schema, "strict": True}},
        metadata={"a": "b"},
    )
    assert response["tools"] == [{**TOOL, "description": None, "strict": False}]
    assert response["tool_choice"] == {"type": "function", "name": "f"}
    assert response["text"]["format"] == {"type": "json_schema", "name": "s", "schema": schema, "strict": True}
    assert response["metadata"] == {"a": "b"}


ERROR = PublicError(
    status=500, code="handler-error", title="t", message="It failed.", type="server_error", request_id="1"
)


@pytest.mark.parametrize("chunks", [[b'"first"'], []], ids=["after text", "before any"])
def test_a_stream_that_fails_ends_with_a_failed_response(chunks: list[bytes]) -> None:
    """Its code is one that clients know, and it has what there was of the output."""
    stream = ResponseStream(ResponseMemo(id="resp_1", created_at=0, settings={}))
    sent = (stream.frame(chunks) if chunks else b"") + stream.error(ERROR)
    events = events_of(sent)
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.failed")
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]["code"], failed["error"]["message"]) == (
        "failed",
        "server_error",
        "It failed.",
    )
    assert [(item["status"], item["content"][0]["text"]) for item in failed["output"]] == [
        ("incomplete", "first")
    ] * len(chunks)
