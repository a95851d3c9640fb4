"""Completions: what a handler gets of a body, and what a client gets of the answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.hooks import DialectRequest
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_chat import ChatRequest, Message
from penstock_openai import CompletionRequest
from tests.plugins.openai.model_app import make_harness


@pytest.fixture(scope="module")
def harness() -> PluginHarness:
    return make_harness()


def asked(harness: PluginHarness, kind: Any = CompletionRequest, **body: Any) -> list[Any]:
    """Return the requests that a handler gets of a body."""
    [dialect] = [each for each in harness.registry.dialects(harness.app) if each.name == "openai-completions"]
    content = msgspec.json.encode(body)
    request = DialectRequest(request_id="r", method="POST", path="", path_values={}, header={}.get, body=content)
    payload = dialect.operations[0].read(request)
    parts = payload.parts or [payload.body or b""]
    return [msgspec.json.decode(part, type=kind) for part in parts]


def post(harness: PluginHarness, body: dict[str, Any], answer: Any = None) -> tuple[int, Any]:
    content = msgspec.json.encode(body)
    found = harness.operation("POST", "/v1/completions", content, answer or Encoded(b'"Hello"'))
    return found.status, msgspec.json.decode(found.body)


def test_prompts(harness: PluginHarness) -> None:
    """A text, several, the ids of tokens, or several lists of them; each is a request of its own, n times."""
    for prompt, found in (
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
        ("", [""]),
    ):
        assert [request.prompt for request in asked(harness, prompt=prompt)] == found
    assert [(each.prompt, each.choice) for each in asked(harness, prompt=["a", "b"], n=2)] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]


def test_the_fields_of_a_body(harness: PluginHarness) -> None:
    """The number of log probabilities is that of the likeliest tokens."""
    [found] = asked(harness, prompt="a", suffix="z", logprobs=2, max_tokens=0, stop=["x"], best_of=1, top_k=4)
    assert found == CompletionRequest(
        prompt="a", suffix="z", logprobs=True, top_logprobs=2, max_tokens=0, stop=["x"], raw={"top_k": 4}
    )


def test_a_chat_handler_completes_too(harness: PluginHarness) -> None:
    """The prompt is the message of a user."""
    assert asked(harness, ChatRequest, model="plain", prompt="a") == [
        ChatRequest(model="plain", messages=[Message(role="user", content="a")])
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": 1, "echo": True}, "echo"),
        ({"prompt": [1], "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b", "model": "plain"}, "suffix"),
        ({"prompt": [1], "model": "plain"}, "prompt"),
        ({"prompt": "a", "logprobs": 1, "model": "plain"}, "logprobs"),
        ({"prompt": ["a"] * 100, "n": 100}, "prompt"),
    ],
)
def test_a_body_that_does_not_fit(harness: PluginHarness, body: dict[str, Any], param: str) -> None:
    """It is a 400 that names the field."""
    status, found = post(harness, body)
    assert (status, found["error"]["param"]) == (400, param)


def test_a_whole_answer(harness: PluginHarness) -> None:
    """With the prompt in front, if it is to be echoed; there are no tools here."""
    _, found = post(harness, {"prompt": ["a", "b"], "echo": True}, ([b'"x"'], [b'{"type":"tool_call","name":"f"}']))
    assert found.pop("id").startswith("cmpl-")
    assert isinstance(found.pop("created"), int)
    choices = [
        {"index": 0, "text": "ax", "logprobs": None, "finish_reason": "stop"},
        {"index": 1, "text": "b", "logprobs": None, "finish_reason": "stop"},
    ]
    assert found == {"object": "text_completion", "model": "davinci", "choices": choices}


def test_log_probabilities(harness: PluginHarness) -> None:
    """In lists, with the places of the tokens in the text."""
    chunks = [
        b'{"type":"text","text":"ab","logprobs":[{"token":"ab","logprob":-1,"top":[{"token":"x","logprob":-2}]}]}',
        b'{"type":"text","text":"c","logprobs":[{"token":"c","logprob":-3}]}',
    ]
    _, found = post(harness, {"prompt": "p", "logprobs": 1}, chunks)
    assert found["choices"][0]["logprobs"] == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-1.0, -3.0],
        "top_logprobs": [{"x": -2.0}, {}],
        "text_offset": [0, 2],
    }
    body = msgspec.json.encode({"prompt": "p", "logprobs": 1, "stream": True})
    lines = harness.operation("POST", "/v1/completions", body, chunks).body.split(b"\n\n")
    second = msgspec.json.decode(lines[1].removeprefix(b"data: "))
    assert second["choices"][0]["logprobs"]["text_offset"] == [2]


def test_a_stream(harness: PluginHarness) -> None:
    """Its object is that of a whole answer; the echo comes first, the reason last."""
    body = msgspec.json.encode({"prompt": "p", "echo": True, "stream": True})
    found = harness.operation("POST", "/v1/completions", body, [b'"a"', b'{"type":"reasoning","text":"x"}'])
    *lines, done, _ = found.body.split(b"\n\n")
    events = [msgspec.json.decode(line.removeprefix(b"data: ")) for line in lines]
    assert done == b"data: [DONE]"
    assert {event["object"] for event in events} == {"text_completion"}
    choices = [event["choices"][0] for event in events]
    assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [("p", None), ("a", None), ("", "stop")]
