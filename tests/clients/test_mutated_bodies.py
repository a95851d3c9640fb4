"""A hundred thousand bodies that no client would send, to a real server: none ends a worker, and none is a 500."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients.judges import FOLDER
from tests.plugins.openai.test_openai_fuzz import CHAT, COMPLETION, EMBEDDING, SAMPLING, TOOL, Mutator
from tests.serving import HOST, Served

pytestmark = [pytest.mark.e2e, pytest.mark.soak]
BODIES, THREADS = 100_000, 4
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x", "is_error": False}]},
]
SEEDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {**CHAT, "model": "tiny", "messages": [*CHAT["messages"][:1], *CHAT["messages"][2:]]}),
    ("/v1/completions", {**COMPLETION, "model": "tiny"}),
    ("/v1/embeddings", {**EMBEDDING, "model": "tiny-vectors", "input": ["a", "b"]}),
    (
        "/v1/responses",
        {
            "model": "tiny",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "instructions": "Be brief.",
            "stream": True,
            "tools": [{"type": "function", **TOOL["function"]}],
            "tool_choice": "auto",
            "text": {"format": {"type": "json_object"}},
            "max_output_tokens": 9,
            "reasoning": {"effort": "low"},
            "metadata": {"a": "b"},
        },
    ),
    (
        "/v1/messages",
        {
            "model": "tiny",
            "max_tokens": 9,
            "messages": MESSAGES,
            "system": [{"type": "text", "text": "s"}],
            "stream": True,
            "stop_sequences": ["a"],
            "temperature": SAMPLING["temperature"],
            "tools": [{"name": "f", "description": "", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto"},
            "metadata": {"user_id": "u"},
        },
    ),
]


def send_many(port: int, seed: int, counts: Counter[int], lock: threading.Lock) -> None:
    """Send a share of the bodies on one connection, and count the statuses of the answers."""
    mutator, found = Mutator(seed), Counter[int]()
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    for _ in range(BODIES // THREADS):
        path, document = mutator.draw.choice(SEEDS)
        connection.request("POST", path, mutator.body(document), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        found[answer.status] += 1
    connection.close()
    with lock:
        counts.update(found)


@pytest.mark.timeout(600)
def test_no_body_ends_a_worker() -> None:
    """Each is answered, or refused as a mistake of its sender."""
    counts, lock = Counter[int](), threading.Lock()
    with Served(str(FOLDER / "judged_app.py"), "--log-format", "json") as served:
        before = [worker["pid"] for pool in served.status()["pools"].values() for worker in pool["workers"]]
        with ThreadPoolExecutor(THREADS) as pool:
            sent = [pool.submit(send_many, served.port, seed, counts, lock) for seed in range(THREADS)]
            for each in sent:
                each.result()
        after = [worker["pid"] for pool in served.status()["pools"].values() for worker in pool["workers"]]
        assert after == before
        assert not served.events("internal-error")
    print(dict(counts))
    assert sum(counts.values()) == BODIES
    assert set(counts) <= {200, 400, 404}, counts
    assert min(counts.values()) > BODIES // 100, counts
