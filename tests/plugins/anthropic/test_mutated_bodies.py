"""Bodies that are broken at random: whatever they say, it is not the server that fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec

from penstock import App
from penstock.hooks import JobAnswered
from penstock.testing import PluginHarness
from penstock_anthropic import AnthropicPlugin, Messages
from penstock_chat import ChatRequest

BODIES = 1000
SEED = 7

BODY: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "Rhyme."}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "20"}],
                    "is_error": False,
                },
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "metadata": {"user_id": "u"},
    "stream": False,
}
WRONG: list[Any] = [
    None, True, 0, -1, 1e300, 2**70, 0.5, "", "x", "\u2028", "text", "tool_use", "url", [], [[]], {}, {"type": "text"},
    {"type": "tool_result", "tool_use_id": "a"}, ["x"], {"x": {"y": []}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value inside another one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(dice: random.Random) -> bytes:
    """Return the body with one to three values replaced, removed or renamed; sometimes with broken bytes as well."""
    body = deepcopy(BODY)
    for _ in range(dice.randint(1, 3)):
        *path, key = dice.choice(list(places(body)))
        holder = body
        for step in path:
            holder = holder[step]
        change = dice.random()
        if change < 0.7:
            holder[key] = dice.choice([*WRONG, deepcopy(BODY["messages"])])
        elif change < 0.9 or not isinstance(holder, dict):
            del holder[key]
        else:
            holder[f"{key}s"] = holder.pop(key)
    encoded = bytearray(msgspec.json.encode(body))
    if dice.random() < 0.1:
        encoded[dice.randrange(len(encoded))] = dice.randrange(256)
    return bytes(encoded)


def test_mutated_bodies_are_answered_or_refused() -> None:
    """Each is a 200, a 400, or a 404 for the model; what is refused has never been queued."""
    app = App(__name__)
    offer = Messages(model="tiny", tools=True, inputs=("text", "image", "file"), structured="validate")

    @app.endpoint("/chat", dialects=[offer])
    def chat(request: ChatRequest) -> Iterator[str]:
        yield request.model

    harness = PluginHarness(app, [AnthropicPlugin])
    dice = random.Random(SEED)
    statuses = {200: 0, 400: 0, 404: 0}
    for _ in range(BODIES):
        body = mutated(dice)
        status = harness.operation("POST", "/v1/messages", body, answer=[b'"Hi"']).status
        assert status in statuses, body
        statuses[status] += 1
    assert min(statuses.values()) > 0
    assert sum(isinstance(record, JobAnswered) for record in harness.records) == statuses[200]
