"""The OpenAPI document of an app with background jobs."""

from __future__ import annotations

import json
from typing import Any

import openapi_spec_validator
import pytest

from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document, schema_digest
from penstock_cli.client_operations import operations_in
from tests.plugins.jobs.job_route_scene import demo_app


@pytest.fixture(scope="module")
def document() -> Any:
    found = document_with(PENSTOCK_JOBS_STORE="memory:")
    openapi_spec_validator.validate(found)
    return found


def document_with(**environ: str) -> Any:
    app = demo_app()
    return json.loads(json.dumps(openapi_document(app, Registry.load(app, environ))))


def test_the_document_has_the_routes_for_callers(document: Any) -> None:
    """Each with its parameters and answers, under one tag; not those for operators."""
    found = {(method, path) for path, operations in document["paths"].items() for method in operations}
    one = "/v1/jobs/{id}"
    rests = [("get", "result"), ("get", "events"), ("post", "cancel"), ("post", "retry")]
    assert {("post", "/v1/jobs"), ("get", "/v1/jobs")} < found
    assert {(method, one) for method in ("put", "get", "delete")} < found
    assert {(method, f"{one}/{rest}") for method, rest in rests} < found
    assert not any("/-/" in path or "deliveries" in path for _, path in found)
    put = document["paths"][one]["put"]
    assert (put["operationId"], put["tags"]) == ("jobs-put", ["jobs"])
    assert {each["name"] for each in put["parameters"]} == {"id", "Start-Deadline", "X-Request-Timeout"}
    assert put["responses"].keys() == {"200", "201", "default"}


def test_endpoints_with_jobs_have_the_headers(document: Any) -> None:
    """``Prefer`` and its companions, and the headers of the answer; other endpoints do not."""
    square, cube = (document["paths"][path]["post"] for path in ("/square", "/cube"))
    assert {"$ref": "#/components/parameters/Prefer"} in square["parameters"]
    assert "Preference-Applied" in square["responses"]["200"]["headers"]
    assert {"$ref": "#/components/parameters/Prefer"} not in cube["parameters"]


def test_endpoints_with_jobs_may_answer_with_a_job(document: Any) -> None:
    """The 202 has the document of the job, and the headers that say where it is; other endpoints have no 202."""
    square, cube = (document["paths"][path]["post"]["responses"] for path in ("/square", "/cube"))
    job = document["paths"]["/v1/jobs/{id}"]["get"]["responses"]["200"]["content"]
    assert square["202"]["content"] == job
    assert {"Location", "Preference-Applied", "Retry-After"} < square["202"]["headers"].keys()
    assert "202" not in cube


def test_a_typed_client_returns_results_and_no_jobs(document: Any) -> None:
    """The answer 202 changes nothing in the modules of clients: their calls never ask for a job."""
    without = {method.name: method for method in operations_in(document_with())}
    assert {method.name: method for method in operations_in(document)} == without


def test_without_a_store_the_document_has_nothing_of_it() -> None:
    """And typed clients are the same with and without one."""
    app = demo_app()
    assert not any("/v1/jobs" in path for path in document_with()["paths"])
    with_jobs = Registry.load(app, {"PENSTOCK_JOBS_STORE": "memory:"})
    assert schema_digest(app, Registry.load(app, {})) == schema_digest(app, with_jobs)


def test_a_typed_client_has_methods_for_endpoints_alone(document: Any) -> None:
    """The client library itself knows the routes of jobs."""
    assert {each.name for each in operations_in(document)} == {"square", "size", "secret", "cube"}


def test_credentials_are_those_of_callers() -> None:
    """Whatever scopes the endpoints need."""
    key = "alice=" + "k" * 40
    found = document_with(PENSTOCK_JOBS_STORE="memory:", PENSTOCK_AUTH_KEYS=key.replace("=", ":observer="))
    assert found["paths"]["/v1/jobs"]["get"]["security"]
    assert all(not scopes for each in found["paths"]["/v1/jobs"]["get"]["security"] for scopes in each.values())
