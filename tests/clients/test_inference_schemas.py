"""The answers of a server to a client of the Open Inference Protocol, by the schemas of its specification."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from tests.clients.judges import FOLDER, Judge, faults_of
from tests.clients.recording_proxy import Exchange, RecordingProxy
from tests.serving import Served

pytestmark = pytest.mark.e2e
SPECIFICATION = json.loads((FOLDER / "open_inference_rest.json").read_text(encoding="utf-8"))
MOST_CHECKED = 1_000
CODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
MODEL = r"/v2/models/.+?(/versions/[^/]+)?"
SCHEMAS = {
    r"/v2/?": "metadata_server_response",
    rf"{MODEL}/infer": "inference_response",
    rf"{MODEL}/(ready|config|stats)": None,  # not in the specification, or without a body
    r"/v2/(health/(live|ready)|models/stats|models|repository/.*)": None,
    MODEL: "metadata_model_response",
}


def schema_of(exchange: Exchange) -> str | None:
    """Return the name of the schema for an answer."""
    path = exchange.path.partition("?")[0]
    names = [name for pattern, name in SCHEMAS.items() if re.fullmatch(pattern, path)]
    return names[0] if exchange.status == 200 else "metadata_server_error_response"


def document_of(exchange: Exchange) -> Any:
    """Return the JSON of an answer, with the beginnings of its data; those that are binary are an empty list."""
    body = CODINGS[exchange.headers.get("content-encoding", "identity")](exchange.body)
    length = exchange.headers.get("inference-header-content-length")
    document = json.loads(body[: int(length)] if length is not None else body)
    if "model_name" in document:
        rest = 0 if length is None else len(body) - int(length)
        for output in document["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            assert (size is None) == ("data" in output), output
            rest -= size or 0
            output["data"] = output.get("data", [])[:MOST_CHECKED]
        assert rest == 0
    return document


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    """Let the program of Triton's client talk to the server, and return all answers."""
    with Served(str(FOLDER / "inferring_app.py"), "--max-body", "64MiB") as served, RecordingProxy(served) as proxy:
        faults_of(Judge("tritonclient", "tests"), proxy.base_url)
        return proxy.exchanges


def test_every_answer_fits_its_schema(exchanges: list[Exchange]) -> None:
    """In a whole run, errors included; and the sizes of binary data add up."""
    found = Counter[str | None]()
    for exchange in exchanges:
        name, document = schema_of(exchange), document_of(exchange)
        found[name] += 1
        if name is not None:
            schema = {**SPECIFICATION, "$ref": f"#/components/schemas/{name}"}
            jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert set(found) >= {*SCHEMAS.values(), "metadata_server_error_response"}
    assert found["inference_response"] > 100


def test_every_answer_says_what_it_is(exchanges: list[Exchange]) -> None:
    """Errors and answers without binary data are ``application/json``, and nothing else, which clients compare."""
    for exchange in exchanges:
        is_binary = "inference-header-content-length" in exchange.headers
        wanted = "application/octet-stream" if is_binary else "application/json"
        assert (exchange.path, exchange.headers["content-type"]) == (exchange.path, wanted)


def test_every_model_is_described_as_it_answers(exchanges: list[Exchange]) -> None:
    """Names, datatypes and shapes of outputs are those of the metadata."""
    described: dict[str, dict[str, tuple[str, list[int]]]] = {}
    for exchange in exchanges:
        if schema_of(exchange) == "metadata_model_response":
            model = document_of(exchange)
            described[model["name"]] = {each["name"]: (each["datatype"], each["shape"]) for each in model["outputs"]}
    checked = 0
    for exchange in exchanges:
        if schema_of(exchange) == "inference_response":
            answer = document_of(exchange)
            for output in answer["outputs"]:
                datatype, shape = described[answer["model_name"]][output["name"]]
                assert output["datatype"] == datatype
                assert len(output["shape"]) == len(shape)
                pairs = zip(output["shape"], shape, strict=True)
                assert all(wanted in (-1, size) for size, wanted in pairs), (output, shape)
                checked += 1
    assert checked > 100
