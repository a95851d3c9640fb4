"""A plug-in as its author writes it. It is never run: mypy --strict must accept it and infer the asserted types."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import assert_type

import click

from penstock import App
from penstock.errors import RateLimited, Unauthorized, WorkerLost
from penstock.hooks import (
    Endpoint,
    EndpointDescription,
    FifoQueue,
    HeaderDescription,
    Job,
    JobAnswered,
    PenstockError,
    PluginSettings,
    Principal,
    Priority,
    Queue,
    Record,
    Release,
    Route,
    RouteRequest,
    RouteResponse,
    Secret,
    ShutdownRequest,
    Submission,
    Timeouts,
    blocking,
    hookimpl,
)
from penstock.testing import Behaviour, PluginHarness


class TypedSettings(PluginSettings, frozen=True):
    limit: int = 3
    key: Secret | None = None


class NewestFirst(FifoQueue):
    def head(self, _now: float, /) -> Job:
        return next(reversed(self.jobs.values()))


class Typed:
    Settings = TypedSettings

    def __init__(self, settings: TypedSettings) -> None:
        assert_type(settings.enabled, bool)
        assert_type(settings.key, str | None)
        self.settings = settings

    def check(self, app: App) -> None:
        assert_type(app.endpoints, list[Endpoint])

    @hookimpl
    def penstock_authenticator(self, endpoint: Endpoint | Route) -> Callable[[Submission], Principal | None]:
        @blocking
        def authenticate(submission: Submission) -> Principal | None:
            assert_type(submission.header("x-api-key"), str | None)
            if submission.header("x-api-key") != self.settings.key:
                raise Unauthorized("no")
            return Principal("ada", frozenset({endpoint.name}))

        return authenticate

    @hookimpl
    def penstock_timeout_policy(self) -> Callable[[Submission], Timeouts | None]:
        return lambda submission: Timeouts(queue=1)

    @hookimpl
    def penstock_admission_policy(self, endpoint: Endpoint) -> Callable[[Submission], Release | None]:
        def admit(submission: Submission) -> Release:
            assert_type(submission.priority, Priority)
            submission.priority = "batch"
            if submission.share == "ada":
                raise RateLimited(retry_after=1.0)
            return release

        def release(answered: JobAnswered) -> None:
            assert_type(answered.execution_seconds, float | None)

        return admit

    @hookimpl
    def penstock_queue_discipline(self) -> Callable[[], Queue]:
        return NewestFirst

    @hookimpl
    def penstock_retry_policy(self) -> Callable[[Job, PenstockError, float], float | None]:
        return lambda job, error, now: 0.5 if isinstance(error, WorkerLost) and job.attempts < 3 else None

    @hookimpl
    def penstock_shutdown_policy(self, app: App) -> Callable[[ShutdownRequest], float]:
        return lambda request: request.drain / 2

    @hookimpl
    def penstock_observer(self) -> dict[type[Record], Callable[[JobAnswered], None]]:
        return {JobAnswered: lambda answered: None}

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        def hello(request: RouteRequest, engine: object) -> RouteResponse:
            assert_type(request.principal, Principal | None)
            return RouteResponse.json({"hello": app.import_name})

        async def pieces() -> AsyncIterator[bytes]:
            yield b"word"

        async def words(request: RouteRequest, engine: object) -> RouteResponse:
            return RouteResponse(body=request.body, stream=pieces())

        return [
            Route(path="/hello", name="hello", handler=hello),
            Route(path="/words/{name}", name="words", handler=words, method="PUT", reads_body=True),
        ]

    @hookimpl
    def penstock_description(self, endpoint: Endpoint) -> EndpointDescription | None:
        key = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
        return EndpointDescription(
            request_headers={"X-Api-Key": HeaderDescription("The key.", {"type": "string", "minLength": 20})},
            credentials={"key": key},
            errors=(RateLimited, Unauthorized),
        )

    @hookimpl
    def penstock_cli_commands(self) -> list[click.Command]:
        return [click.Command("hello")]


app = App(__name__, plugins=[Typed], settings={"Typed": {"limit": 4}})
harness = PluginHarness(app, settings={"Typed": {"key": "k"}})
request = harness.request(headers={"X-Api-Key": "k"}, behaviour=Behaviour.SLOW)
assert_type(request.code, str | None)
assert_type(request.error, PenstockError | None)
assert_type(harness.records_of(JobAnswered), list[JobAnswered])
