"""Policies, observers and routes, which see the same under ASGI and WSGI."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import falcon.asgi
import falcon.testing
import pytest

import penstock_falcon
from penstock import errors
from penstock.hooks import (
    JobAnswered,
    Principal,
    RequestAnswered,
    Route,
    RouteRequest,
    RouteResponse,
    Submission,
    Timeouts,
    blocking,
    hookimpl,
)
from penstock.hooks.pipeline import endpoint_pipeline, tightest
from penstock.hooks.registry import Registry
from penstock_falcon._asgi.asgi_service import Lifespan
from penstock_falcon._wsgi.wsgi_hangups import WsgiWatchedCall
from penstock_falcon.exchange import Exchange
from tests.adapters.falcon.direct_server import DirectConnection, DirectServer, direct
from tests.adapters.falcon.fake_engine import FakeCall, FakeEngine, FakeThreadedEngine, keep, make_app
from tests.adapters.falcon.shared_server import shared, shared_direct
from tests.adapters.falcon.toy_dialect import toy_asgi, toy_direct, toy_shared, toy_wsgi

KINDS: dict[str, tuple[Callable[..., Any], type[FakeEngine]]] = {
    "asgi": (penstock_falcon.asgi, FakeEngine),
    "direct": (direct, FakeEngine),
    "shared": (shared, FakeEngine),
    "shared-direct": (shared_direct, FakeEngine),
    "toy": (toy_asgi, FakeEngine),
    "toy-direct": (toy_direct, FakeEngine),
    "toy-shared": (toy_shared, FakeEngine),
    "toy-wsgi": (toy_wsgi, FakeThreadedEngine),
    "wsgi": (penstock_falcon.wsgi, FakeThreadedEngine),
}


class Policies:
    """A plug-in whose decisions the test sets; it keeps what it has seen."""

    name = "policies"

    def __init__(self) -> None:
        self.authenticate: Callable[[Submission], Principal | None] = lambda _submission: None
        self.limit: Callable[[Submission], Timeouts | None] = lambda _submission: None
        self.admit: Callable[[Submission], Callable[[JobAnswered], None] | None] = lambda _submission: None
        self.submissions: list[Submission] = []
        self.answered: list[RequestAnswered] = []
        self.released: list[JobAnswered] = []

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Callable[[Submission], Principal | None]:
        return lambda submission: self.authenticate(submission)  # noqa: PLW0108 - a test changes it later

    @hookimpl
    def penstock_timeout_policy(self) -> Callable[[Submission], Timeouts | None]:
        return lambda submission: self.limit(submission)  # noqa: PLW0108 - a test changes it later

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], Callable[[JobAnswered], None] | None]:
        def admit(submission: Submission) -> Callable[[JobAnswered], None] | None:
            self.submissions.append(submission)
            return self.admit(submission)

        return admit

    @hookimpl
    def penstock_observer(self) -> dict[Any, Callable[[Any], None]]:
        return {RequestAnswered: self.answered.append}

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        return [
            Route(path="/echo", name="echo", handler=echo),
            Route(path="/do", name="do", handler=do, method="POST", is_open=True),
            Route(path="/refuse", name="refuse", handler=refuse),
            Route(path="/break", name="break", handler=break_),
            Route(path="/busy", name="busy", handler=busy),
        ]


def echo(request: RouteRequest, engine: Any) -> RouteResponse:
    who = None if request.principal is None else request.principal.name
    said = {"path": request.path, "query": request.query, "who": who, "agent": request.header("user-agent")}
    return RouteResponse(body=repr(said).encode(), media_type="text/plain", headers={"X-Echo": "1"})


def do(request: RouteRequest, engine: Any) -> RouteResponse:
    return RouteResponse.json({"done": engine.status()["pools"]}, status=202)


def refuse(request: RouteRequest, engine: Any) -> RouteResponse:
    raise errors.Forbidden("not you")


def break_(request: RouteRequest, engine: Any) -> RouteResponse:
    raise ZeroDivisionError("a secret")


def busy(request: RouteRequest, engine: Any) -> RouteResponse:
    return RouteResponse.json({}, status=503)


IN_PROCESS = ["asgi", "direct", "wsgi"]
in_process = pytest.mark.parametrize("kind", IN_PROCESS, indirect=True)
"""For what only an application with its engine in the same process can do."""


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[Callable[..., Any], type[FakeEngine]]:
    return KINDS[request.param]


@pytest.fixture
def engine(kind: Any, policies: Policies) -> FakeEngine:
    made: FakeEngine = kind[1](registry=Registry([policies]))
    return made


@pytest.fixture
def client(kind: Any, engine: FakeEngine) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(kind[0](make_app(), engine=engine, trusted_proxies=["127.0.0.1"]))


def square(client: falcon.testing.TestClient, **headers: str) -> falcon.testing.Result:
    return client.simulate_post("/square", json={"input": 4.0}, headers={"X-Request-Id": "r1", **headers})


def refuse_all(_submission: Submission) -> None:
    raise errors.RateLimited("too often", retry_after=3)


# ---- policies


def test_what_a_policy_sees(client: falcon.testing.TestClient, policies: Policies) -> None:
    """The endpoint, the id, the headers, the address behind the proxy, and the principal before the admission."""
    policies.authenticate = lambda submission: Principal(submission.header("x-user") or "")
    forwarded = {"X-User": "ada", "X-Forwarded-For": "6.6.6.6, 1.2.3.4"}
    result = client.simulate_post("/square", json={"input": 1}, headers=forwarded, remote_addr="127.0.0.1")
    assert result.status_code == 200
    (seen,) = policies.submissions
    assert (seen.endpoint.name, seen.request_id, seen.address) == ("square", result.headers["x-request-id"], "1.2.3.4")
    assert (seen.principal, seen.share) == (Principal("ada"), "ada")
    assert (seen.header("content-type"), seen.header("x-none")) == ("application/json", None)


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (
            errors.Unauthorized("who are you", challenge='Bearer realm="x"'),
            401,
            ("www-authenticate", 'Bearer realm="x"'),
        ),
        (errors.Forbidden("not you"), 403, ("x-should-retry", "false")),
        (errors.MalformedRequest("what?"), 400, ("x-should-retry", "false")),
    ],
    ids=["401", "403", "400"],
)
def test_a_policy_may_refuse(
    client: falcon.testing.TestClient,
    policies: Policies,
    engine: FakeEngine,
    *,
    error: errors.PenstockError,
    status: int,
    header: tuple[str, str],
) -> None:
    """With any error of the tree; the request never becomes a job, and later policies are not asked."""

    def authenticate(_submission: Submission) -> None:
        raise error

    policies.authenticate = authenticate
    result = client.simulate_post("/square", body=b"nonsense", headers={"Content-Type": "text/plain"})
    assert (result.status_code, result.headers[header[0]]) == (status, header[1])
    assert (engine.calls, engine.refused, policies.submissions) == ([], [error.code], [])


def test_a_refusal_says_when_to_come_again(client: falcon.testing.TestClient, policies: Policies) -> None:
    """``Retry-After`` is at least what the policy says, and more headers of the policy are on the refusal too."""

    def admit(submission: Submission) -> None:
        submission.response_headers.append(("ratelimit", '"a";r=0'))
        refuse_all(submission)

    policies.admit = admit
    result = square(client)
    assert (result.status_code, result.headers["ratelimit"]) == (429, '"a";r=0')
    assert 3 <= int(result.headers["retry-after"]) <= 6


IN_VAIN = [
    (errors.QueueFull(retry_after=5), 4.0, "false"),  # the caller has gone before the wait is over
    (errors.QueueFull(retry_after=5), 60.0, "true"),
    (errors.QueueFull(retry_after=5), None, "true"),
    (errors.QueueTimeout(), 0.9, "false"),  # the shortest wait is a second
    (errors.RateLimited(retry_after=5), 4.0, "false"),
    (errors.DeadlineInfeasible(), 60.0, "true"),
    (errors.DeadlineInfeasible(retryable=False), 60.0, "false"),
    (errors.RequestTimeout(), 60.0, "true"),  # without a wait
    (errors.RequestTimeout(), 0.0, "false"),
    (errors.ExecutionTimeout(), 60.0, "false"),
]


@pytest.mark.parametrize(("error", "caller_timeout", "header"), IN_VAIN)
def test_no_retry_is_advised_that_would_come_too_late(  # noqa: PLR0917 - pytest passes by name
    client: falcon.testing.TestClient,
    policies: Policies,
    engine: FakeEngine,
    error: errors.PenstockError,
    caller_timeout: float | None,
    header: str,
) -> None:
    """``x-should-retry`` is false if the caller's deadline, which its retries share, ends before ``Retry-After``."""

    def limit(submission: Submission) -> None:
        if caller_timeout is not None:
            submission.tighten_caller_timeout(caller_timeout)

    policies.limit = limit
    engine.script = lambda call: call.decide(error)
    result = square(client)
    assert (result.status_code, result.headers["x-should-retry"]) == (error.status, header)


def test_a_retry_needs_time_to_run_as_well(
    client: falcon.testing.TestClient, policies: Policies, engine: FakeEngine
) -> None:
    """The queue has said how long an attempt takes; that must fit between the wait and the caller's deadline."""
    error = errors.QueueFull(retry_after=1)  # sent as 2 s at most
    error.execution_seconds = 10.0
    engine.script = lambda call: call.decide(error)
    for seconds, header in ((10.5, "false"), (13.0, "true")):
        policies.limit = lambda submission, seconds=seconds: submission.tighten_caller_timeout(seconds)
        assert square(client).headers["x-should-retry"] == header


def test_a_timeout_of_the_endpoint_begins_anew_with_a_retry(
    client: falcon.testing.TestClient, policies: Policies, engine: FakeEngine
) -> None:
    """So it does not rule out a retry, however short it is."""
    policies.limit = lambda _submission: Timeouts(total=0.5)
    engine.script = lambda call: call.decide(errors.QueueTimeout())
    assert square(client).headers["x-should-retry"] == "true"


@pytest.mark.parametrize("seconds", ["soon", None])
def test_a_caller_timeout_that_is_no_number_names_the_plugin(
    client: falcon.testing.TestClient, policies: Policies, engine: FakeEngine, seconds: Any
) -> None:
    """It is refused where it is set, so that the request fails with ``hook-error``."""
    policies.limit = lambda submission: submission.tighten_caller_timeout(seconds)
    assert square(client).json["type"] == "urn:penstock:hook-error"


def test_headers_of_a_policy_are_on_the_result(client: falcon.testing.TestClient, policies: Policies) -> None:
    """On the good answer as well."""
    policies.admit = lambda submission: submission.response_headers.append(("ratelimit", '"a";r=1'))
    assert square(client).headers["ratelimit"] == '"a";r=1'


def test_a_later_header_of_a_policy_replaces_an_earlier_one(
    client: falcon.testing.TestClient, policies: Policies
) -> None:
    """It may be another policy's, or one that every response has. None is sent twice."""
    added = [("x-served-by", "a"), ("X-Served-By", "b")]
    policies.admit = lambda submission: submission.response_headers.extend(added)
    assert square(client).headers["x-served-by"] == "b"
    added.append(("content-type", "application/problem+json"))
    assert square(client).headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/square", "/count"], ids=["unary", "stream"])
def test_what_was_granted_is_given_back_without_a_job(
    client: falcon.testing.TestClient, policies: Policies, path: str
) -> None:
    """A body that does not fit is found after the admission: the policy that admitted it is notified, once."""
    policies.admit = lambda _submission: policies.released.append
    assert client.simulate_post(path, body=b"{").status_code == 400
    assert [(record.code, record.attempts) for record in policies.released] == [("invalid-request", 0)]


def test_a_decision_that_raises_fails_its_job_alone(client: falcon.testing.TestClient, policies: Policies) -> None:
    """``hook-error``, whose words only the log has; the next request is served."""
    policies.admit = lambda _submission: 1 / 0  # type: ignore[assignment,return-value]
    result = square(client)
    assert (result.status_code, result.json["error"]["code"]) == (500, "hook-error")
    assert "division" not in result.text
    policies.admit = lambda _submission: None
    assert square(client).status_code == 200


def test_a_policy_that_waits_is_asked_in_a_thread(kind: Any) -> None:
    """It holds up neither the event loop nor the engine; the others are asked where they always are."""
    threads: dict[str, str] = {}

    class Waiting:
        @hookimpl
        def penstock_authenticator(self) -> Callable[[Submission], None]:
            @blocking
            def authenticate(_submission: Submission) -> None:
                threads["waits"] = threading.current_thread().name

            return authenticate

    policies = Policies()
    engine = kind[1](registry=Registry([policies, Waiting()]))
    client = falcon.testing.TestClient(kind[0](make_app(), engine=engine))
    assert square(client).status_code == 200
    is_main = threads["waits"] == threading.main_thread().name
    assert is_main == (engine.__class__ is FakeThreadedEngine)  # a thread of a WSGI server may wait itself
    assert len(policies.submissions) == 1


def test_the_tighter_limit_counts() -> None:
    """In each limit the shorter of the endpoint's and the policy's applies; a policy never widens."""
    own = Timeouts(queue=30, execution=None, total=10, first_chunk=None, idle=60, grace=2)
    wish = Timeouts(queue=None, execution=5, total=20, first_chunk=None, idle=1, grace=3)
    assert tightest(own, wish) == Timeouts(queue=30, execution=5, total=10, first_chunk=None, idle=1, grace=2)


def test_a_policy_tightens_the_job(policies: Policies) -> None:
    """The timeouts that it returns apply to the submission."""
    endpoint = make_app().endpoints[0]
    policies.limit = lambda _submission: Timeouts(total=0.5)
    intake = endpoint_pipeline(Registry([policies]), endpoint)
    assert intake is not None
    submission = Submission(endpoint)
    intake.pass_through(submission)
    assert submission.timeouts.total == 0.5


def test_an_exchange_is_a_whole_submission() -> None:
    """It is made without its base class's constructor, and yet has all of its fields."""
    endpoint = make_app().endpoints[0]
    given: dict[str, Any] = {"request_id": "r1", "header": {}.get, "query": "a=1", "address": "1.2.3.4"}
    exchange = Exchange(endpoint, **given, method="POST", path="/square")
    plain = Submission(endpoint, **given)
    assert {name: getattr(exchange, name) for name in Submission.__slots__} == {
        name: getattr(plain, name) for name in Submission.__slots__
    }


@pytest.mark.parametrize("build", [KINDS[name][0] for name in IN_PROCESS], ids=IN_PROCESS)
def test_an_engine_that_cannot_be_made_is_an_error_like_any(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource answers it itself, and observers are notified, once."""
    told: list[RequestAnswered] = []

    class Watcher:
        @hookimpl
        def penstock_observer(self) -> dict[Any, Callable[[Any], None]]:
            return {RequestAnswered: told.append}

    app = make_app()
    app.plugins = (Watcher,)
    application = build(app, target="nowhere:app")

    def start() -> None:
        raise OSError("no more processes")

    async def start_nothing(*_: Any) -> None: ...

    # As under a server without a lifespan: the first request starts the engine.
    monkeypatch.setattr(Lifespan, "process_startup", start_nothing)
    monkeypatch.setattr(application.penstock, "start", start)
    result = square(falcon.testing.TestClient(application))
    assert (result.status_code, result.json["error"]["code"]) == (500, "internal-error")
    assert [(record.status, record.endpoint) for record in told] == [(500, "square")]


def test_without_policies_nothing_is_asked() -> None:
    """The core alone has none."""
    assert endpoint_pipeline(Registry(), make_app().endpoints[0]) is None


def test_a_grant_that_comes_too_late_is_given_back_at_once() -> None:
    """A policy that waits may grant when the client has gone already."""
    submission = Submission(make_app().endpoints[0])
    gone = JobAnswered(endpoint="square", request_id="", code="cancelled")
    submission.close(gone)
    released: list[JobAnswered] = []
    submission.add_release(released.append)
    submission.close(gone)
    assert released == [gone]


# ---- observers


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/square", b'{"input": 2}', ("square", 200, "ok", 1)),
        ("POST", "/square", b"{", ("square", 400, "invalid-request", 0)),
        ("GET", "/square", b"", ("", 405, "method-not-allowed", 0)),
        ("POST", "/nothing", b"", ("", 404, "not-found", 0)),
        ("GET", "/livez", b"", ("livez", 200, "ok", 0)),
        ("GET", "/refuse", b"", ("refuse", 403, "forbidden", 0)),
    ],
    ids=["ok", "bad", "wrong-method", "nowhere", "route", "route-refuses"],
)
def test_each_exchange_is_told_once(
    client: falcon.testing.TestClient,
    policies: Policies,
    *,
    method: str,
    path: str,
    body: bytes,
    expected: tuple[str, int, str, int],
) -> None:
    """There is one record for each request, with its endpoint and its outcome."""
    client.simulate_request(method, path, body=body, headers={"X-Request-Id": "r7"})
    (told,) = policies.answered
    assert (told.endpoint, told.status, told.code, told.attempts) == expected
    assert (told.request_id, told.method, told.path.removeprefix("/toy")) == ("r7", method, path)
    assert told.seconds >= 0.0


def test_a_client_that_has_gone_is_told_as_499(
    client: falcon.testing.TestClient, policies: Policies, engine: FakeEngine
) -> None:
    """The status is the one that proxies use in their logs."""
    engine.script = lambda call: call.decide(errors.Cancelled("gone"))
    square(client)
    assert [(told.status, told.code) for told in policies.answered] == [(499, "cancelled")]


def test_a_policy_can_read_the_query_string(client: falcon.testing.TestClient, policies: Policies) -> None:
    """Some clients send their key in it."""
    seen: list[str] = []
    policies.authenticate = lambda submission: seen.append(submission.query)
    client.simulate_post("/square", json={"input": 1}, query_string="key=a%20b")
    assert seen == ["key=a%20b"]


# ---- requests that the server abandons: CancelledError under ASGI, under WSGI the SystemExit of a worker timeout


@pytest.fixture
def abandonment(kind: tuple[Callable[..., Any], type[FakeEngine]]) -> BaseException:
    return SystemExit(1) if kind[1] is FakeThreadedEngine else asyncio.CancelledError()


@pytest.fixture
def abandon_waits(abandonment: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server abandon each request that waits for its job."""

    async def wait(self: FakeCall | DirectConnection) -> None:
        raise abandonment

    def block(self: WsgiWatchedCall, timeout: float | None = None) -> None:
        raise abandonment

    monkeypatch.setattr(FakeCall, "wait", wait)
    monkeypatch.setattr(DirectConnection, "wait", wait)
    monkeypatch.setattr(WsgiWatchedCall, "block", block)


@in_process
@pytest.mark.usefixtures("abandon_waits")
@pytest.mark.parametrize("path", ["/square", "/count"], ids=["unary", "stream"])
def test_a_request_that_is_abandoned_while_its_job_runs(
    client: falcon.testing.TestClient,
    policies: Policies,
    engine: FakeEngine,
    *,
    abandonment: BaseException,
    path: str,
) -> None:
    """The job is cancelled, and the request is recorded as a 499, once; the engine releases the policies."""
    engine.script = keep
    with pytest.raises(type(abandonment)):
        client.simulate_post(path, json={"input": 1} if path == "/square" else {"n": 1})
    assert [(record.status, record.code) for record in policies.answered] == [(499, "cancelled")]
    assert policies.answered[0].attempts == 1
    # Without a task that could be cancelled, only the end of the connection abandons a request.
    is_direct = type(client.app) is DirectServer and path == "/square"
    why = "the client went away" if is_direct else "the request was cancelled"
    assert (engine.calls[0].cancelled_because, engine.refused) == (why, [])


@in_process
@pytest.mark.parametrize("path", ["/square", "/count"], ids=["unary", "stream"])
def test_a_request_that_is_abandoned_before_it_is_a_job(
    client: falcon.testing.TestClient,
    policies: Policies,
    engine: FakeEngine,
    *,
    abandonment: BaseException,
    path: str,
) -> None:
    """The policies are released, once, and the request is recorded as a 499, once."""

    def abandon(_call: FakeCall) -> None:
        raise abandonment

    policies.admit = lambda _submission: policies.released.append
    engine.script = abandon
    with pytest.raises(type(abandonment)):
        client.simulate_post(path, json={"input": 1} if path == "/square" else {"n": 1})
    assert [(record.status, record.code) for record in policies.answered] == [(499, "cancelled")]
    assert [record.code for record in policies.released] == engine.refused == ["cancelled"]


def test_a_route_that_is_abandoned(client: falcon.testing.TestClient, policies: Policies, engine: FakeEngine) -> None:
    """It is recorded as a 499 too; it never was to be a job, so there is none to refuse."""

    def authenticate(_submission: Submission) -> None:
        raise asyncio.CancelledError

    policies.authenticate = authenticate
    with pytest.raises(asyncio.CancelledError):
        client.simulate_get("/echo")
    assert [(record.endpoint, record.status) for record in policies.answered] == [("echo", 499)]
    assert engine.refused == []


# ---- the records of streams


@pytest.mark.parametrize(
    ("last", "expected"),
    [(None, (200, "ok")), (errors.ExecutionTimeout("slow"), (200, "execution-timeout"))],
    ids=["whole", "cut"],
)
def test_a_stream_is_told_at_its_end(
    client: falcon.testing.TestClient,
    policies: Policies,
    engine: FakeEngine,
    last: errors.PenstockError | None,
    expected: tuple[int, str],
) -> None:
    """With the status that it began with, and the code that it ended with."""

    def script(call: FakeCall) -> None:
        call.begin_stream().yield_chunk(b"1")
        call.decide(last or penstock_response())

    engine.script = script
    # The adapters cut a stream short in different ways.
    ends = contextlib.nullcontext() if last is None else pytest.raises((OSError, asyncio.CancelledError))
    with ends:
        client.simulate_post("/count", json={"n": 1})
    assert [(told.status, told.code) for told in policies.answered] == [expected]


def penstock_response() -> Any:
    from penstock.response import Encoded

    return Encoded(b"")


# ---- routes


def test_a_route_of_a_plug_in(client: falcon.testing.TestClient, policies: Policies) -> None:
    """It sees the request, and is answered as it says; ``HEAD`` is ``GET`` without the body."""
    policies.authenticate = lambda _submission: Principal("root")
    result = client.simulate_get("/echo", query_string="a=b", headers={"User-Agent": "curl"})
    assert (result.status_code, result.headers["x-echo"], result.headers["content-type"]) == (200, "1", "text/plain")
    assert result.text == repr({"path": "/echo", "query": "a=b", "who": "root", "agent": "curl"})
    head = client.simulate_head("/echo")
    assert (head.status_code, head.text) == (200, "")


def test_a_route_for_post(client: falcon.testing.TestClient) -> None:
    """It has the engine to do something with; other methods are refused with what it takes."""
    result = client.simulate_post("/do")
    assert (result.status_code, result.json) == (202, {"done": []})
    wrong = client.simulate_get("/do")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_an_open_route_asks_nobody(client: falcon.testing.TestClient, policies: Policies) -> None:
    """Health checks, and routes with keys of their own."""

    def authenticate(_submission: Submission) -> None:
        raise errors.Unauthorized("who are you")

    policies.authenticate = authenticate
    codes = {path: client.simulate_get(path).status_code for path in ("/livez", "/readyz", "/-/status", "/echo")}
    assert codes == {"/livez": 200, "/readyz": 200, "/-/status": 401, "/echo": 401}
    assert client.simulate_post("/do").status_code == 202


def test_a_route_that_refuses_or_breaks(client: falcon.testing.TestClient) -> None:
    """It refuses with an error of the tree; any other exception appears only in the log."""
    assert client.simulate_get("/refuse").json["error"]["code"] == "forbidden"
    broken = client.simulate_get("/break")
    assert broken.status_code == 500
    assert "secret" not in broken.text


def test_a_route_that_is_busy_says_when_to_come_again(client: falcon.testing.TestClient) -> None:
    """As every 503 does."""
    result = client.simulate_get("/busy")
    assert (result.status_code, result.headers["x-should-retry"]) == (503, "true")
    assert int(result.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("method", "path"), [("POST", "/square"), ("GET", "/livez")], ids=["endpoint", "route"])
def test_two_things_cannot_have_one_method_of_one_path(kind: Any, method: Any, path: str) -> None:
    """The start is refused, with both names."""

    class Squatter:
        @hookimpl
        def penstock_routes(self) -> list[Route]:
            return [Route(path=path, name="squatter", handler=echo, method=method)]

    with pytest.raises(errors.DeclarationError, match=rf"'squatter': {method} {path} is that of (endpoint|route) '"):
        kind[0](make_app(), engine=kind[1](registry=Registry([Squatter()])))
