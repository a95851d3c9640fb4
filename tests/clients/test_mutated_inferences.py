"""A hundred thousand requests that no client would send, to a real server: none ends a worker, and none is a 500."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.clients.judges import FOLDER
from tests.clients.mutated_inferences import InferenceMutator, Request
from tests.serving import HOST, Served

pytestmark = pytest.mark.e2e
EXPECTED = {200, 400, 404, 405, 415, 501, 503, 504}  # 501: to load a model; 503 and 504: the caller's own timeout
MANY, SEEDS = 10_000, range(10)


class Answered(NamedTuple):
    """A request with the status and the body of its answer."""

    request: Request
    status: int
    body: bytes


def sent(served: Served, seed: int, count: int) -> Iterator[Answered]:
    """Send many requests, and yield their answers."""
    mutator = InferenceMutator(seed)
    connection = http.client.HTTPConnection(HOST, served.port, timeout=30)
    for _ in range(count):
        request = mutator.request()
        try:
            yield answered(connection, request)
        except http.client.RemoteDisconnected:
            # The answer before came before the body of its request, which the server did not wait for.
            connection.close()
            yield answered(connection, request)
    connection.close()


def answered(connection: http.client.HTTPConnection, request: Request) -> Answered:
    connection.request(request.method, request.path, request.body, request.headers)
    answer = connection.getresponse()
    return Answered(request, answer.status, answer.read())


def is_readable(answered: Answered) -> bool:
    """Return whether an error has the protocol's form."""
    if answered.status == 200 or answered.request.method in ("HEAD", "OPTIONS"):
        return True
    try:
        error = json.loads(answered.body)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(error, str) and error != ""


def check(served: Served, seed: int, count: int) -> None:
    """Send many requests, and check what is always true."""
    counts = Counter[int]()
    before = [worker["pid"] for pool in served.status()["pools"].values() for worker in pool["workers"]]
    for answered in sent(served, seed, count):
        counts[answered.status] += 1
        assert answered.status in EXPECTED, answered
        assert is_readable(answered), answered
    status = served.status()
    assert [worker["pid"] for pool in status["pools"].values() for worker in pool["workers"]] == before
    assert [name for name, each in status["endpoints"].items() if each["queued"] or each["running"]] == []
    assert not served.events("internal-error")
    print(dict(counts))
    assert sum(counts.values()) == count
    assert min(counts[200], counts[400], counts[404]) > count // 100, counts


def test_no_inference_of_some_ends_a_worker() -> None:
    """Each is answered, or refused as a mistake of its sender, in the protocol's form."""
    with Served(str(FOLDER / "inferring_app.py"), "--log-format", "json") as served:
        check(served, 0, 1_000)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_inference_of_very_many_ends_a_worker(seed: int) -> None:
    """The same, for longer."""
    with Served(str(FOLDER / "inferring_app.py"), "--log-format", "json") as served:
        check(served, seed, MANY)


@pytest.mark.parametrize(
    "body",
    [b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1,1],"data":["\xff"]}]}'],
    ids=["a text that is not UTF-8"],
)
def test_a_body_that_was_once_a_500_is_refused(body: bytes) -> None:
    """As a mistake of its sender: what the mutated requests have found."""
    with Served(str(FOLDER / "inferring_app.py")) as served:
        answer = served.post("/v2/models/echo-bytes/infer", body)
    assert answer.status == 400, answer.body
