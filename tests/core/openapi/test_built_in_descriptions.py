"""The parts of the document that built-in plug-ins contribute, with their settings."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import openapi_spec_validator
import pytest

from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from penstock_timeouts.deadline_headers import DEADLINE_HEADERS
from tests.core.openapi import zoo_app


@functools.cache
def document_of(**environ: str) -> Any:
    """Return the document with all installed plug-ins, and these variables in the environment."""
    document = json.loads(json.dumps(openapi_document(zoo_app.app, Registry.load(zoo_app.app, environ))))
    openapi_spec_validator.validate(document)
    return document


def headers_of(document: Any, path: str = "/square") -> list[str]:
    references = [parameter.get("$ref", "") for parameter in document["paths"][path]["post"]["parameters"]]
    return [reference.rpartition("/")[2] for reference in references if reference]


def test_callers_may_send_their_deadline() -> None:
    """In each header that is read; a stream has no place for one that limits the time between two reads."""
    document = document_of()
    deadlines = {header.name for header in DEADLINE_HEADERS.values()}
    assert deadlines <= {*headers_of(document)}
    assert deadlines - {*headers_of(document, "/count")} == {"x-stainless-read-timeout"}
    only = headers_of(document_of(PENSTOCK_TIMEOUTS_HEADERS="grpc-timeout"))
    assert deadlines & {*only} == {"grpc-timeout"}


@pytest.mark.parametrize("name", ["X-Request-Timeout", "grpc-timeout", "x-envoy-expected-rq-timeout-ms"])
@pytest.mark.parametrize("value", ["2.5", "250m", "250", "-1", "1e3", "", "12345678901234"])
def test_the_pattern_of_a_deadline_is_what_is_read(name: str, value: str) -> None:
    """A value fits the schema exactly if the plug-in can read it."""
    schema = document_of()["components"]["parameters"][name]["schema"]
    is_readable = DEADLINE_HEADERS[name.lower()].parse(value) is not None
    assert bool(re.search(schema["pattern"], value)) is is_readable


def test_priorities_are_listed() -> None:
    """The header names them all."""
    schema = document_of()["components"]["parameters"]["X-Request-Priority"]["schema"]
    assert schema["enum"] == ["interactive", "normal", "batch"]


def test_limits_are_described_if_there_are_any() -> None:
    """With the headers of the responses, and the refusal."""
    responses = document_of()["paths"]["/square"]["post"]["responses"]
    assert "429" not in responses
    responses = document_of(PENSTOCK_RATELIMIT_REQUESTS='["5/second"]')["paths"]["/square"]["post"]["responses"]
    assert "429" in responses
    assert {"RateLimit", "RateLimit-Policy"} <= responses["200"]["headers"].keys()


def test_traces_are_described_if_they_are_read() -> None:
    """With the two headers of W3C Trace Context."""
    assert "traceparent" not in headers_of(document_of(PENSTOCK_OTEL_ENABLED="false"))
    assert {"traceparent", "tracestate"} <= {*headers_of(document_of(PENSTOCK_OTEL_ENABLED="true"))}


def test_load_reports_are_described_if_they_are_on() -> None:
    """With the header that asks for one, and those that carry it."""
    assert "endpoint-load-metrics-format" not in headers_of(document_of())
    document = document_of(PENSTOCK_METRICS_ORCA="asked")
    assert "endpoint-load-metrics-format" in headers_of(document)
    assert "endpoint-load-metrics" in document["paths"]["/square"]["post"]["responses"]["200"]["headers"]
