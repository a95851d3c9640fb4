"""Bodies that no client would send: each is answered or refused, and none breaks anything."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from penstock.hooks import JobAnswered
from penstock.response import Encoded
from penstock.testing import PluginHarness
from tests.plugins.openai.model_app import make_harness

SEED = 20_261_129
TEXT = {"type": "text", "text": "a"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa", "detail": "low"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "data:;base64,aaaa", "filename": "f"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}, "strict": False}}
SAMPLING = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 9,
    "stop": ["a"],
    "seed": 1,
    "presence_penalty": 0,
    "logit_bias": {"1": 1},
    "user": "u",
    "metadata": {"a": "b"},
    "top_k": 3,
}
CHAT: dict[str, Any] = {
    **SAMPLING,
    "model": "able",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": [TEXT, IMAGE, AUDIO, FILE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
    ],
    "logprobs": True,
    "top_logprobs": 1,
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
    "reasoning_effort": "low",
}
COMPLETION: dict[str, Any] = {
    **SAMPLING,
    "model": "davinci",
    "prompt": ["a", "b"],
    "suffix": "s",
    "echo": True,
    "best_of": 2,
    "logprobs": 1,
}
EMBEDDING: dict[str, Any] = {"model": "tokens", "input": [[1, 2], [3]], "encoding_format": "base64", "dimensions": 3}
SEEDS = [
    ("/v1/chat/completions", CHAT, b'"a"'),
    ("/v1/completions", COMPLETION, b'"a"'),
    ("/v1/embeddings", EMBEDDING, b"[1.0]"),
]
STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    1.5,
    1e300,
    "",
    "a",
    "\x00\u2028\U0001f600",
    "data:,",
    "data:x;base64,=",
    "x" * 5000,
    [],
    [[]],
    [None],
    {},
    {"": {}},
    {"type": "x"},
    "able",
    "plain",
    "embed",
    "none",
    "required",
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    """Return a document with a change at a path."""
    if not path:
        return change(value)
    key, *rest = path
    copied = value.copy()
    copied[key] = replaced(value[key], tuple(rest), change)
    return copied


class Mutator:
    """Bodies that differ from a valid one in a few places, or in their bytes."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def body(self, document: Any) -> bytes:
        for _ in range(self.draw.randrange(4)):
            path = self.draw.choice(places(document))
            document = replaced(document, path, self.change)
        content = msgspec.json.encode(document)
        return self.torn(content) if self.draw.random() < 0.1 else content

    def change(self, value: Any) -> Any:
        kind = self.draw.randrange(5)
        if kind == 0 and isinstance(value, dict) and value:
            left_out = self.draw.choice(list(value))
            return {name: each for name, each in value.items() if name != left_out}
        if kind == 1 and isinstance(value, list):
            return value * self.draw.choice([0, 2, 3, 700])
        if kind == 2 and isinstance(value, dict):
            return {**value, self.draw.choice(["x", "n", "type", "stream", "content"]): self.draw.choice(STRANGE)}
        return self.draw.choice(STRANGE)

    def torn(self, content: bytes) -> bytes:
        at = self.draw.randrange(len(content) + 1)
        noise = bytes(self.draw.randrange(256) for _ in range(self.draw.randrange(4)))
        return content[:at] + noise + content[at + self.draw.randrange(6) :]


def send(harness: PluginHarness, mutator: Mutator) -> int:
    """Send one body; check what is always true; return the status."""
    path, document, answer = mutator.draw.choice(SEEDS)
    body = mutator.body(document)
    harness.records.clear()
    streams = mutator.draw.random() < 0.5 and path != "/v1/embeddings"
    found = harness.operation("POST", path, body, [answer] * 2 if streams else Encoded(answer))
    jobs = [record for record in harness.records if isinstance(record, JobAnswered)]
    if found.status == 200:
        assert jobs, body
        assert found.media_type.startswith("text/event-stream") or msgspec.json.decode(found.body), body
    else:
        error = msgspec.json.decode(found.body)["error"]
        assert found.status in (400, 404), (body, error)
        assert not jobs, body
        assert error["message"], body
        assert error["type"] == "invalid_request_error", body
    return found.status


def fuzz(count: int, seed: int) -> dict[int, int]:
    """Send many bodies; return how many had each status."""
    harness, mutator = make_harness(), Mutator(seed)
    counts = {200: 0, 400: 0, 404: 0}
    for _ in range(count):
        counts[send(harness, mutator)] += 1
    return counts


def test_no_body_breaks_anything() -> None:
    """Each is answered, or refused as a mistake of the client before anything is queued."""
    counts = fuzz(2_000, SEED)
    assert min(counts.values()) > 5, counts


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_no_body_of_very_many_breaks_anything(seed: int) -> None:
    """The same, for longer."""
    fuzz(20_000, seed)
