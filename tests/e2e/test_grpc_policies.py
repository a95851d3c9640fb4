"""The policies of a server hold over gRPC: who may call, how often, and what is seen of a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc import StatusCode

from tests.collector import Collector
from tests.e2e.grpc_calls import PATIENCE, GrpcServed, asks, refusal, value_of
from tests.serving import HOST, ROOT, wait_until, write_app

pytestmark = pytest.mark.e2e

KEY = "q7Zr0yDkT3vW8uXeB1nHs5LmJa9GcPf2oRiY6tVwEdU"
OPERATORS_KEY = "w3Kc9uVx2LpQ7dRs5TyBn8HgJ4mZa1FeXo6Wi0EtCbA"
BEARER = (("authorization", f"Bearer {KEY}"),)
PARENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    environment = {
        "PENSTOCK_AUTH_KEYS": f"alice={KEY},ops:operator={OPERATORS_KEY}",
        "PENSTOCK_AUTH_SCOPES": json.dumps({"length": ["files"]}),
        "PENSTOCK_RATELIMIT_ENDPOINTS": json.dumps({"teapot": {"requests": ["2/hour"]}}),
        "PENSTOCK_ACCESSLOG_ENABLED": "true",
    }
    options = ("--http-workers", request.param)
    with GrpcServed(*options, marks=tmp_path_factory.mktemp("marks"), environment=environment) as served:
        yield served
        assert not served.events("internal-error")


def test_a_caller_needs_a_key(served: GrpcServed) -> None:
    """Without one, or with a wrong one, nothing is read of the call; the challenge is in the metadata."""
    with served.stub() as stub:
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            for method in (stub.Call, stub.Stream):
                found = refusal(method, asks("square", {"input": 2.0}), metadata=metadata)
                assert (found.code, found.name) == (StatusCode.UNAUTHENTICATED, "unauthorized")
                assert found.trailing["www-authenticate"].startswith("Bearer")


def test_a_caller_without_the_right_is_refused(served: GrpcServed) -> None:
    """A key without the scope of the endpoint is not enough."""
    with served.stub() as stub:
        found = refusal(stub.Call, asks("length", b"x"), metadata=BEARER)
    assert (found.code, found.name) == (StatusCode.PERMISSION_DENIED, "forbidden")


def test_a_handler_knows_its_caller_and_not_the_key(served: GrpcServed) -> None:
    """The principal is in the context, and the credential is not among the headers."""
    with served.stub() as stub:
        about = value_of(stub.Call(asks("about"), metadata=BEARER, timeout=PATIENCE))
    assert about["principal"] == "alice"
    assert KEY not in json.dumps(about)


def test_a_caller_over_its_rate_is_refused(served: GrpcServed) -> None:
    """HTTP and gRPC count together, and the refusal says when the next call may come."""
    assert served.post_json("/teapot", {}, headers={"Authorization": f"Bearer {KEY}"}).status == 202
    with served.stub() as stub:
        assert stub.Call(asks("teapot"), metadata=BEARER, timeout=PATIENCE).status == 202
        found = refusal(stub.Call, asks("teapot"), metadata=BEARER)
    assert (found.code, found.name) == (StatusCode.RESOURCE_EXHAUSTED, "rate-limited")
    assert int(found.trailing["retry-after"]) > 60


def test_a_call_is_in_the_access_log(served: GrpcServed) -> None:
    """With its method, the caller, and the HTTP status that stands for the outcome."""
    with served.stub() as stub:
        stub.Call(asks("square", {"input": 2.0}), metadata=(*BEARER, ("x-request-id", "logged-1")), timeout=PATIENCE)
        refusal(stub.Call, asks("square", {}), metadata=(*BEARER, ("x-request-id", "logged-2")))
        list(stub.Stream(asks("count", {"n": 1}), metadata=(*BEARER, ("x-request-id", "logged-3")), timeout=PATIENCE))
        refusal(stub.Call, asks("nope"), metadata=(*BEARER, ("x-request-id", "logged-4")))

    def lines() -> dict[str, tuple[str, int, str]]:
        found = {}
        for line in served.output().splitlines():
            if '"logged-' in line:
                fields = json.loads(line)
                if "status" in fields:
                    assert fields["request_id"] not in found
                    found[fields["request_id"]] = (fields["path"], fields["status"], fields["principal"])
        return found

    wait_until(lambda: len(lines()) == 4, "four lines of the access log")
    call, stream = "/penstock.v1.Endpoints/Call", "/penstock.v1.Endpoints/Stream"
    assert lines() == {
        "logged-1": (call, 200, "alice"),
        "logged-2": (call, 422, "alice"),
        "logged-3": (stream, 200, "alice"),
        "logged-4": (call, 404, "alice"),
    }


def test_metrics_count_a_call(served: GrpcServed) -> None:
    """The job is counted with its endpoint and outcome, and the call with the status that stands for it."""
    operator = {"Authorization": f"Bearer {OPERATORS_KEY}"}

    def counted() -> list[float]:
        lines = served.get("/metrics", headers=operator).body.decode().splitlines()
        wanted = (
            'penstock_http_responses_total{endpoint="square",status="200"}',
            'penstock_jobs_total{code="ok",endpoint="square"}',
        )
        return [sum(float(line.split()[-1]) for line in lines if line.startswith(name)) for name in wanted]

    before = counted()
    with served.stub() as stub:
        stub.Call(asks("square", {"input": 2.0}), metadata=BEARER, timeout=PATIENCE)
    wait_until(lambda: counted() == [count + 1 for count in before], "one more of each")


def test_a_call_is_a_part_of_its_callers_trace(tmp_path: Path) -> None:
    """The span of the call has the caller's as its parent, and those of the job below it."""
    with Collector() as collector:
        with GrpcServed(marks=tmp_path, environment=collector.environment) as served, served.stub() as stub:
            trace_id = f"{77:032x}"
            metadata = (("traceparent", f"00-{trace_id}-{PARENT}-01"),)
            stub.Call(asks("square", {"input": 2.0}), metadata=metadata, timeout=PATIENCE)
        spans = collector.of_trace(trace_id, spans=3)
    [server] = [span for span in spans if span.kind == "server"]
    assert server.parent_id == PARENT
    assert {span.parent_id for span in spans if span is not server} == {server.span_id}


def test_limits_apply_to_the_address_of_the_client(tmp_path: Path) -> None:
    """The address of the caller is that of the client's connection, or of the client of a trusted proxy."""
    environment = {"PENSTOCK_ACCESSLOG_ENABLED": "true"}
    with GrpcServed("--trusted-proxy", HOST, marks=tmp_path, environment=environment) as served:
        with served.stub() as stub:
            stub.Call(asks("square", {"input": 2.0}), metadata=(("x-request-id", "from-1"),), timeout=PATIENCE)
            metadata = (("x-request-id", "from-2"), ("x-forwarded-for", "192.0.2.7"))
            stub.Call(asks("square", {"input": 2.0}), metadata=metadata, timeout=PATIENCE)

        def addresses() -> dict[str, str]:
            found = [json.loads(line) for line in served.output().splitlines() if '"from-' in line]
            return {fields["request_id"]: fields["address"] for fields in found if "address" in fields}

        wait_until(lambda: addresses() == {"from-1": HOST, "from-2": "192.0.2.7"}, "the addresses")


def test_a_policy_that_blocks_holds_up_its_own_call_alone(tmp_path: Path) -> None:
    """It is asked in a thread, so others are answered meanwhile, and a client that leaves ends its own call only."""
    app = write_app(
        tmp_path,
        """
        from penstock import App
        from penstock.errors import Forbidden
        from penstock.hooks import Principal, blocking, hookimpl
        from tests.e2e.apps.marks import mark, wait_for_marks

        class Slow:
            @hookimpl
            def penstock_authenticator(self, endpoint):
                @blocking
                def decide(submission):
                    name = submission.header("x-name") or ""
                    if name == "slow":
                        mark("asked")
                        wait_for_marks("release")
                    if name == "nobody":
                        raise Forbidden("not you")
                    return Principal(name or "anyone")

                return decide

        app = App(__name__, plugins=[Slow])

        @app.endpoint("/square")
        def square(input: float) -> float:
            return input**2
        """,
    )
    environment = {"PYTHONPATH": str(ROOT)}
    with GrpcServed(marks=tmp_path, target=app, environment=environment) as served, served.stub() as stub:
        slow = stub.Call.future(asks("square", {"input": 3.0}), metadata=(("x-name", "slow"),), timeout=PATIENCE)
        gone = stub.Call.future(asks("square", {"input": 3.0}), metadata=(("x-name", "slow"),), timeout=PATIENCE)
        wait_until((tmp_path / "asked").exists, "the policy to be asked")
        gone.cancel()
        assert value_of(stub.Call(asks("square", {"input": 2.0}), timeout=PATIENCE)) == 4.0
        found = refusal(stub.Call, asks("square", {"input": 2.0}), metadata=(("x-name", "nobody"),))
        assert (found.code, found.name) == (StatusCode.PERMISSION_DENIED, "forbidden")
        (tmp_path / "release").touch()
        assert value_of(slow.result()) == 9.0
        wait_until(lambda: served.status()["grpc"]["calls"] == 0, "the calls to end")
        assert not served.events("internal-error")


def test_results_are_compared_with_their_annotations(tmp_path: Path) -> None:
    """A mismatch is logged once, and is an error under --debug, which also shows the exceptions of handlers."""
    app = write_app(
        tmp_path,
        """
        from penstock import App

        app = App(__name__)

        @app.endpoint("/wrong")
        def wrong() -> int:
            return "one"

        @app.endpoint("/fail")
        def fail() -> int:
            raise ValueError("shown")
        """,
    )
    with GrpcServed(marks=tmp_path, target=app) as served, served.stub() as stub:
        for _ in range(2):
            assert value_of(stub.Call(asks("wrong"), timeout=PATIENCE)) == "one"
        assert len(served.events("result-mismatch")) == 1
    with GrpcServed("--debug", marks=tmp_path, target=app) as served, served.stub() as stub:
        for method in (stub.Call, stub.Stream):
            found = refusal(method, asks("wrong"))
            assert (found.code, found.name) == (StatusCode.INTERNAL, "handler-error")
            assert "annotation" in found.message
        assert refusal(stub.Call, asks("fail")).message == "ValueError: shown"
