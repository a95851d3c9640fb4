"""Background jobs of several callers, with real keys and scopes: each sees its own, and uses what it may use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import Answer, Served, write_app

pytestmark = pytest.mark.e2e

APP = """
    from penstock import App, Jobs

    app = App(__name__, settings={"auth": {"scopes": {"secret": ["spies"]}}})

    @app.endpoint("/square", jobs=Jobs())
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/secret", jobs=Jobs())
    def secret() -> str:
        return "x"
"""
CALLERS = {"alice": "", "bob": "", "root": "jobs:admin", "hurry": "jobs:interactive", "spy": "spies", "op": "operator"}


def key_of(name: str) -> str:
    return f"{name}-{'k' * 40}"


@pytest.fixture(scope="module", params=[(), ("--http-workers", "2")], ids=["one", "shared"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("owners")
    keys = " ".join(f"{name}{':' if scope else ''}{scope}={key_of(name)}" for name, scope in CALLERS.items())
    environment = {"PENSTOCK_JOBS_STORE": f"sqlite:///{folder / 'jobs.db'}", "PENSTOCK_AUTH_KEYS": keys}
    with Served(write_app(folder, APP), *request.param, environment=environment) as served:
        yield served


def send(served: Served, who: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    key = {"Authorization": f"Bearer {key_of(who)}"} if who else {}
    return served.request(method, path, content, headers={"Content-Type": "application/json", **key, **named})


BODY = {"endpoint": "square", "input": {"input": 3}}


def test_callers_see_their_own_jobs(served: Served) -> None:
    """To others they do not exist; jobs:admin sees all; without a key there is nothing."""
    job = send(served, "alice", "POST", "/v1/jobs", BODY).json()["id"]
    statuses = {who: send(served, who, "GET", f"/v1/jobs/{job}?wait=10").status for who in ("alice", "bob", "root", "")}
    assert statuses == {"alice": 200, "bob": 404, "root": 200, "": 401}
    assert send(served, "bob", "POST", f"/v1/jobs/{job}/cancel").json()["error"]["code"] == "job-not-found"
    assert job not in [each["id"] for each in send(served, "bob", "GET", "/v1/jobs").json()["jobs"]]
    assert job in [each["id"] for each in send(served, "root", "GET", "/v1/jobs?principal=alice").json()["jobs"]]


def test_a_caller_may_submit_what_it_may_call(served: Served) -> None:
    """The scopes of an endpoint count for its jobs, directly and by the route."""
    body = {"endpoint": "secret", "input": {}}
    for who, direct, stored in (("alice", 403, 403), ("spy", 202, 202)):
        assert send(served, who, "POST", "/secret", {}, Prefer="respond-async").status == direct
        assert send(served, who, "POST", "/v1/jobs", body).status == stored
    assert send(served, "alice", "PUT", "/v1/jobs/stolen", body).status == 403


def test_scopes_of_jobs(served: Served) -> None:
    """A priority above the others needs one, and so do the routes of operators."""
    urgent = {**BODY, "priority": "interactive"}
    assert send(served, "alice", "POST", "/v1/jobs", urgent).json()["error"]["code"] == "forbidden"
    assert send(served, "hurry", "POST", "/v1/jobs", urgent).json()["priority"] == "interactive"
    assert send(served, "alice", "GET", "/-/jobs").status == 403
    assert send(served, "op", "GET", "/-/jobs").status == 200
    assert send(served, "alice", "POST", "/v1/jobs/x/deliveries/1/retry").status == 403
    assert send(served, "op", "POST", "/v1/jobs/x/deliveries/1/retry").status == 404
