"""The OpenAPI document against a real server, and against the tools that read such documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from tests.core.openapi import zoo_app
from tests.serving import ROOT, Served

pytestmark = pytest.mark.e2e

ZOO = "tests/core/openapi/zoo_app.py"
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
MANY = 40
QUICK = {"square", "visitor", "raw", "count", "look", "photo"}
# A type of TypeScript for each operation and component: the whole document is compiled.
TYPESCRIPT = ["openapi-typescript@7.13.0", "typescript@5.9.3"]


def whole_document(**more: Any) -> Any:
    """Return the document of the zoo with all installed plug-ins."""
    return json.loads(json.dumps(openapi_document(zoo_app.app, Registry.load(zoo_app.app), **more)))


def document() -> Any:
    """Return it without the response for errors that are a handler's own, which the zoo does not raise."""
    found = whole_document()
    for operations in found["paths"].values():
        for operation in operations.values():
            if "$ref" in operation["responses"]["default"]:
                del operation["responses"]["default"]
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ZOO) as server:
        yield server


def require_conformity(served: Served, mode: GenerationMode, examples: int) -> set[int]:
    """Send generated requests to each endpoint, check each answer against the document, and return the statuses."""
    statuses = set()
    schema = schemathesis.openapi.from_dict(document())
    schema.config.update(base_url=served.base_url)
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    for found in schema.get_all_operations():
        operation = found.ok()
        if examples < MANY and operation.definition.raw["operationId"] not in QUICK:
            continue

        @settings
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            try:
                response = case.call()
            except requests.exceptions.ChunkedEncodingError:  # a stream is cut at its deadline, which may be close
                assert case.operation.definition.raw["x-stream"]
                return
            statuses.add(response.status_code)
            if response.status_code == 414:  # so long a line is refused by the server's parser
                assert response.headers["content-type"] == "application/problem+json"
                return
            case.validate_response(response, checks=CHECKS)
            assert response.status_code != 500, response.text
            if "form" in str(case.media_type):  # schemathesis does not write lists and objects as OpenAPI says
                return
            if mode is GenerationMode.POSITIVE:
                assert response.status_code not in (400, 413, 415, 422), (case, response.text)
            elif response.status_code != 408 and not case.query:
                # It expects neither a deadline of a nanosecond, nor that an empty text in a query is left out.
                case.validate_response(response, checks=[checks.negative_data_rejection])

        check()
    return statuses


@pytest.mark.parametrize("examples", [3, pytest.param(MANY, marks=[pytest.mark.thorough, pytest.mark.timeout(300)])])
def test_requests_that_fit_the_document_are_accepted(served: Served, examples: int) -> None:
    """Schemathesis finds no answer outside the document, and none that refuses a valid request as invalid."""
    statuses = require_conformity(served, GenerationMode.POSITIVE, examples)
    assert 200 in statuses


@pytest.mark.parametrize("examples", [3, pytest.param(MANY, marks=[pytest.mark.thorough, pytest.mark.timeout(300)])])
def test_requests_that_do_not_fit_are_refused_as_the_document_says(served: Served, examples: int) -> None:
    """Schemathesis finds no answer outside the document, and no invalid request that is accepted."""
    statuses = require_conformity(served, GenerationMode.NEGATIVE, examples)
    assert statuses & {400, 422}


def test_a_server_describes_itself(served: Served) -> None:
    """It serves what the command writes, except for its address, which is that of the document."""
    answer = served.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == whole_document(server=".")


@pytest.mark.parametrize(
    ("accept", "media_type"), [("*/*", "application/x-ndjson"), ("text/event-stream", "text/event-stream")]
)
def test_each_chunk_of_a_stream_fits_the_schema_of_one(served: Served, accept: str, media_type: str) -> None:
    """In both framings. A tool that knows no streams takes the schema for that of the whole body."""
    described = document()
    content = described["paths"]["/count"]["post"]["responses"]["200"]["content"]
    answer = served.post_json("/count", {"n": 3}, headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media_type
    texts = re.findall(rb"^(?:data: )?(\{.+\})$", answer.body, re.MULTILINE)
    check = jsonschema.Draft202012Validator({**content[media_type]["schema"], "components": described["components"]})
    for text in texts:
        check.validate(json.loads(text))
    assert len(texts) == 3


def test_the_command_writes_the_document(tmp_path: Path) -> None:
    """It imports the app, starts nothing, and writes what a server serves, with the address that it is passed."""
    path = tmp_path / "api.json"
    command = [
        sys.executable,
        "-m",
        "penstock_cli",
        "openapi",
        ZOO,
        "--server",
        "https://zoo.example",
        "--output",
        path,
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["servers"] == [{"url": "https://zoo.example"}]
    assert set(written["paths"]) == {endpoint.path for endpoint in zoo_app.app.endpoints}


# ---- TypeScript


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the tools are installed; skip if they cannot be."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("typescript")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *TYPESCRIPT]
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("the registry of npm does not answer")
    if ran.returncode:
        pytest.skip(f"npm cannot install the tools: {ran.stderr[-300:]}")
    return folder


@pytest.mark.thorough
def test_typescript_compiles_the_document(node_modules: Path) -> None:
    """openapi-typescript turns it into types, and a client that uses them passes the compiler's strictest checks."""
    (node_modules / "api.json").write_text(json.dumps(document()), encoding="utf-8")
    (node_modules / "client.ts").write_text(
        """
        import type { components, operations } from "./api";
        type Result = operations["square"]["responses"][200]["content"]["application/json"];
        const squared: Result = 9;
        const body: operations["square"]["requestBody"]["content"]["application/json"] = { input: 3 };
        const animal: components["schemas"]["Animal"] = { name: "gnu" };
        type Chunk = operations["count"]["responses"][200]["content"]["application/x-ndjson"];
        const chunk: Chunk = animal;
        const code: components["schemas"]["Problem"]["error"]["code"] = "queue-full";
        export { squared, body, chunk, code };
        """,
        encoding="utf-8",
    )
    binaries = node_modules / "node_modules" / ".bin"
    options = ["--default-non-nullable=false", "--output", "api.ts"]
    run(node_modules, binaries / "openapi-typescript", "api.json", *options)
    assert re.search(r"^    square: \{", (node_modules / "api.ts").read_text(encoding="utf-8"), re.MULTILINE)
    run(node_modules, binaries / "tsc", "--strict", "--noEmit", "--skipLibCheck", "client.ts")


def run(folder: Path, *command: str | Path) -> None:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
