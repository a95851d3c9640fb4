"""Messages that are broken at random: whatever they say, it is not the server that fails."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from penstock import App, Batching
from penstock.hooks import JobAnswered
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_mcp import McpPlugin, Tool
from tests.plugins.mcp.tool_scene import META, VERSION
from tests.plugins.openai.test_openai_fuzz import Mutator

MESSAGES, SEED = 600, 7
CALL: dict[str, Any] = {"name": "add", "arguments": {"a": 1, "b": 2.5}, "_meta": {"progressToken": "t"}}
SEEDS: list[dict[str, Any]] = [
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL},
    {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "upper", "arguments": {"text": "a"}}},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {**CALL, "_meta": META}},
    {"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {"cursor": None}},
    {"jsonrpc": "2.0", "id": 4, "method": "server/discover", "params": {"_meta": META}},
    {
        "jsonrpc": "2.0",
        "id": 5,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    },
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": "r"}},
    {"jsonrpc": "2.0", "id": 6, "result": {}},
]
STRANGE = ["", "x", VERSION, "2025-06-18", "2099-01-01", "tools/call", "add", "=?base64?YWRk?=", "=?base64?é?=", "\xff"]


def mutated_headers(mutator: Mutator, message: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a message, most of them right."""
    draw, headers = mutator.draw, {"accept": "application/json, text/event-stream", "mcp-session-id": "s"}
    if "_meta" in message.get("params", {}) and draw.random() < 0.9:
        headers |= {"mcp-protocol-version": VERSION, "mcp-method": message["method"], "mcp-name": "add"}
    if draw.random() < 0.2:
        headers[draw.choice(["mcp-protocol-version", "mcp-method", "mcp-name", "origin"])] = draw.choice(STRANGE)
    return headers


def test_mutated_messages_are_answered_or_refused() -> None:
    """No status but these; only what is a call that fits has ever been queued."""
    app = App(__name__)

    @app.endpoint("/add", dialects=[Tool(description="d")])
    def add(a: float, b: float = 1.0) -> float:
        return a + b

    @app.endpoint("/upper", batching=Batching(max_size=2), dialects=[Tool(description="d")])
    def upper(text: list[str]) -> list[str]:
        return text

    harness, mutator, counts = PluginHarness(app, [McpPlugin]), Mutator(SEED), Counter[int]()
    succeeded = 0
    for _ in range(MESSAGES):
        message = mutator.draw.choice(SEEDS)
        headers, body = mutated_headers(mutator, message), mutator.body(message)
        answer = harness.operation("POST", "/mcp", body, Encoded(b"1.0"), headers=headers)
        counts[answer.status] += 1
        assert answer.status < 500, (body, headers, answer.body)
        if answer.status != 202:
            found = msgspec.json.decode(answer.body)
            assert ("error" in found) is (answer.status != 200 or "result" not in found), body
            succeeded += found.get("result", {}).get("isError") is False
    assert set(counts) <= {200, 202, 400, 403, 404}, counts
    assert min(counts[status] for status in (200, 202, 400)) > 20, counts
    assert sum(isinstance(record, JobAnswered) for record in harness.records) == succeeded > 20
