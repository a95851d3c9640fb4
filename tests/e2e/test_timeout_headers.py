"""A caller's deadline over HTTP: taken from its headers, kept, and carried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import Served

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

TARGET = "tests/e2e/apps/timeout_headers.py"
LATENESS_SECONDS = 0.5


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(TARGET, "--log-format", "json") as server:
        yield server


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Request-Timeout", "0.3"),
        ("grpc-timeout", "300m"),
        ("x-envoy-expected-rq-timeout-ms", "300"),
        ("x-request-timeout-seconds", "0.3"),
        ("x-stainless-read-timeout", "0.3"),
    ],
)
def test_the_callers_deadline_is_kept(served: Served, name: str, value: str) -> None:
    """The answer is a 504 at that deadline, though the endpoint would have had five seconds."""
    answer = served.post_json("/sleep", {"seconds": 4}, headers={name: value})
    assert (answer.status, answer.json()["error"]["code"]) == (504, "total-timeout")
    assert 0.3 <= answer.seconds < 0.3 + LATENESS_SECONDS


def test_the_handler_knows_what_remains(served: Served) -> None:
    """The remaining time is that of the caller's deadline or of the endpoint's timeout, whichever is less."""
    assert 19 < served.post_json("/remaining", {}, headers={"grpc-timeout": "20S"}).json() <= 20
    assert 49 < served.post_json("/remaining", {}, headers={"grpc-timeout": "20H"}).json() <= 50
    assert 49 < served.post_json("/remaining", {}).json() <= 50


def test_a_deadline_that_cannot_be_read_is_refused(served: Served) -> None:
    """400, which names the header; nothing of it is believed."""
    answer = served.post_json("/remaining", {}, headers={"X-Request-Timeout": "2 seconds"})
    problem = answer.json()
    assert (answer.status, problem["error"]["code"]) == (400, "invalid-request")
    assert problem["error"]["param"] == "X-Request-Timeout"
    assert problem["detail"] == "X-Request-Timeout: '2 seconds' cannot be read; give seconds, such as 2.5"
    assert answer.headers["x-should-retry"] == "false"


def test_a_deadline_that_has_passed_starts_nothing(served: Served) -> None:
    """503, and at once."""
    answer = served.post_json("/sleep", {"seconds": 1}, headers={"grpc-timeout": "0m"})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "deadline-infeasible")
    assert answer.seconds < LATENESS_SECONDS


def test_a_stream_is_cut_at_its_callers_deadline(served: Served) -> None:
    """But not at the read timeout of the OpenAI client, which is for the next chunk."""
    answer = served.post_json("/count", {"n": 4}, headers={"x-stainless-read-timeout": "0.2"})
    assert answer.lines() == [0, 1, 2, 3]


def test_what_remains_travels_on(served: Served) -> None:
    """With the request's id, and less than what came in."""
    given = {"X-Request-Id": "trip-1", "X-Request-Timeout": "20"}
    headers = served.post_json("/downstream", {}, headers=given).json()
    milliseconds = int(headers["x-envoy-expected-rq-timeout-ms"])
    assert 19_000 < milliseconds < 20_000
    assert headers == {
        "X-Request-Id": "trip-1",
        "X-Request-Timeout": f"{milliseconds / 1000:.3f}",
        "grpc-timeout": f"{milliseconds}m",
        "x-envoy-expected-rq-timeout-ms": str(milliseconds),
    }


def test_without_a_deadline_only_the_id_travels_on(served: Served) -> None:
    """The endpoint has no limits, and the caller has named none."""
    assert served.post_json("/downstream", {}, headers={"X-Request-Id": "trip-2"}).json() == {"X-Request-Id": "trip-2"}


def test_a_batch_has_a_deadline_and_no_id(served: Served) -> None:
    """Its jobs have different callers."""
    headers = served.post_json("/downstream-batch", 1, headers={"X-Request-Id": "trip-3", "grpc-timeout": "9S"}).json()
    assert "X-Request-Id" not in headers
    assert 8 < float(headers["X-Request-Timeout"]) < 9


def test_whoever_has_no_time_left_calls_nobody(served: Served) -> None:
    """The attempt ends with its deadline: a 504, not an error of the handler's."""
    answer = served.post_json("/late", {}, headers={"grpc-timeout": "300m"})
    assert (answer.status, answer.json()["error"]["code"]) == (504, "total-timeout")


def test_limits_and_headers_are_set_from_outside() -> None:
    """A default limit applies without any header, and a header that is switched off is not read."""
    environment = {
        "PENSTOCK_TIMEOUTS_DEFAULT": '{"total": 0.3}',
        "PENSTOCK_TIMEOUTS_HEADERS": "X-Request-Timeout",
    }
    with Served(TARGET, environment=environment) as server:
        slow = server.post_json("/sleep", {"seconds": 4})
        assert (slow.status, slow.json()["error"]["code"]) == (504, "total-timeout")
        assert 0.3 <= slow.seconds < 0.3 + LATENESS_SECONDS
        assert server.post_json("/remaining", {}, headers={"grpc-timeout": "soon"}).status == 200
        assert server.post_json("/remaining", {}, headers={"X-Request-Timeout": "soon"}).status == 400


def test_switched_off_it_reads_nothing() -> None:
    """Then only what the endpoint declares holds."""
    with Served(TARGET, environment={"PENSTOCK_TIMEOUTS_ENABLED": "false"}) as server:
        answer = server.post_json("/remaining", {}, headers={"X-Request-Timeout": "soon", "grpc-timeout": "1S"})
        assert answer.status == 200
        assert answer.json() > 40
