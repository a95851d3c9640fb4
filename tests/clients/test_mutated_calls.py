"""A hundred thousand messages that no client would send, to real tools: none ends a worker, and none is a 500."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients.judges import FOLDER
from tests.plugins.mcp.test_mutated_messages import SEEDS, mutated_headers
from tests.plugins.openai.test_openai_fuzz import Mutator
from tests.serving import HOST, Served

pytestmark = [pytest.mark.e2e, pytest.mark.soak]
MESSAGES, THREADS = 100_000, 4
CALLS: list[dict[str, Any]] = [
    {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    for name, arguments in (
        ("spell", {"word": "abc"}),
        ("picture", {}),
        ("person", {"name": "Ada"}),
        ("always-fails", {}),
    )
]
REPORTED: dict[str, Any] = {"name": "climb", "arguments": {"steps": 1}, "_meta": {"progressToken": "t"}}


def send_many(port: int, seed: int, counts: Counter[int], lock: threading.Lock) -> None:
    """Send a share of the messages on one connection, and count the statuses of the answers."""
    mutator, found = Mutator(seed), Counter[int]()
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    for _ in range(MESSAGES // THREADS):
        message = mutator.draw.choice([*SEEDS, *CALLS])
        if mutator.draw.random() < 0.001:  # it takes a while
            message = {"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": REPORTED}
        path, headers = mutator.draw.choice(["/mcp", "/mcp/"]), mutated_headers(mutator, message)
        sent = {name: value.encode() for name, value in headers.items()}
        connection.request("POST", path, mutator.body(message), {"Content-Type": "application/json", **sent})
        answer = connection.getresponse()
        content = answer.read()
        found[answer.status] += 1
        if answer.status == http.HTTPStatus.FORBIDDEN:  # the body was not read, so the server closes the connection
            connection.close()
        if content and answer.getheader("content-type") == "application/json":
            assert json.loads(content)["jsonrpc"] == "2.0"
    connection.close()
    with lock:
        counts.update(found)


@pytest.mark.timeout(600)
def test_no_message_ends_a_worker() -> None:
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
        assert not served.events("hook-failed")
    print(dict(counts))
    assert sum(counts.values()) == MESSAGES
    assert set(counts) <= {200, 202, 400, 403, 404}, counts
    assert min(counts[status] for status in (200, 202, 400, 403)) > MESSAGES // 100, counts
