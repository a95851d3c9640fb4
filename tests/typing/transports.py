"""Transports and tracers as users pass them to a client. It is never run: mypy --strict must accept or refuse it."""

from __future__ import annotations

import httpx2

from penstock_client import AsyncClient, Client
from penstock_client.opentelemetry import OpenTelemetryTracer


def proxied() -> Client:
    return Client("http://test", http_client=lambda: httpx2.Client(proxy="http://127.0.0.1:3128"))


def given() -> Client:
    with httpx2.Client() as http:
        return Client("http://test", http_client=http, tracer=OpenTelemetryTracer())


def async_proxied() -> AsyncClient:
    return AsyncClient("http://test", http_client=lambda: httpx2.AsyncClient(proxy="http://127.0.0.1:3128"))


def mixed_up() -> None:
    Client("http://test", http_client=httpx2.AsyncClient())  # type: ignore[arg-type]  # its loop is missing
    AsyncClient("http://test", http_client=httpx2.Client())  # type: ignore[arg-type]  # it would block the loop
