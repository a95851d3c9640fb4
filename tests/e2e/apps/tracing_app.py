"""Endpoints whose jobs end in different ways, for tests of their traces."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from penstock import App, Batching, Context, Retries, Retryable, Timeouts
from penstock.hooks import Dialect, DialectRequest, Operation, Payload, PublicError, RouteResponse, hookimpl


def read(request: DialectRequest) -> Payload:
    return Payload(endpoint=request.path_values["model"], body=request.body)


def result(answer: Any, _payload: Payload) -> RouteResponse:
    return RouteResponse(body=answer.body)


def error(error: PublicError) -> RouteResponse:
    return RouteResponse.json({"error": error.message}, status=error.status)


predict = Operation(path="/v1/models/{model}", read=read)
toy = Dialect(name="toy", endpoints=("square",), operations=(predict,), result=result, error=error)


class Toy:
    @hookimpl
    def penstock_dialects(self) -> list[Dialect]:
        return [toy]


app = App(__name__, plugins=[Toy])
logger = logging.getLogger("model")


def place() -> str:
    """Return the trace and the span that the handler continues, as OpenTelemetry sees it."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@app.endpoint("/square")
def square(input: float) -> dict[str, Any]:
    logger.warning("squaring %s", input)
    return {"result": input**2, "place": place(), "baggage": dict(baggage.get_all())}


@app.endpoint("/users/{user}/name")
def name(user: str) -> str:
    return user


@app.endpoint("/threads", concurrency=2, pool="threads")
def threads() -> str:
    return place()


@app.endpoint("/task", pool="tasks")
async def task() -> str:
    return place()


@app.endpoint("/ask")
def ask(ctx: Context) -> dict[str, str]:
    return ctx.headers_for_downstream()


@app.endpoint("/step")
def step() -> int:
    with trace.get_tracer("model").start_as_current_span("step"):
        return 1


@app.endpoint("/count")
def count(n: int) -> Iterator[int]:
    for number in range(n):
        time.sleep(0.01)
        yield number


@app.endpoint("/fail")
def fail() -> None:
    raise RuntimeError("it does not work")


@app.endpoint("/slow", timeouts=Timeouts(execution=0.5, queue=0.1), pool="slow")
def slow(seconds: float = 10.0) -> None:
    time.sleep(seconds)


@app.endpoint("/flaky", retries=Retries(max_attempts=3))
def flaky(ctx: Context) -> int:
    if ctx.attempt == 1:
        raise Retryable("not yet")
    return ctx.attempt


@app.endpoint("/crash", pool="crash")
def crash(ctx: Context) -> int:
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@app.endpoint("/together", batching=Batching(max_size=3, max_wait=5.0), pool="batches")
class Together:
    def predict(self, number: list[int]) -> list[str]:
        return [place()] * len(number)


@app.endpoint("/own", pool="own")
class Own:
    """Records spans of its own."""

    def setup(self) -> None:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)

    def predict(self) -> int:
        with trace.get_tracer("model").start_as_current_span("look"):
            return 1
