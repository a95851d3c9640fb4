"""The OpenAPI document of an app: valid, complete, and the same in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema
import msgspec
import openapi_spec_validator
import pytest

from penstock import App, errors
from penstock.errors import PenstockError
from penstock.hooks import (
    Dialect,
    Endpoint,
    EndpointDescription,
    HeaderDescription,
    Operation,
    Payload,
    RouteResponse,
    hookimpl,
)
from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document
from penstock.testing import PluginHarness
from tests.core.openapi import zoo_app
from tests.serving import ROOT

ZOO = "tests.core.openapi.zoo_app"


def document_of(app: App, *plugins: Any) -> Any:
    """Return the document of an app as a client reads it."""
    return json.loads(json.dumps(openapi_document(app, Registry(plugins, app=app))))


@pytest.fixture(scope="module")
def zoo() -> Any:
    return document_of(zoo_app.app)


def post(document: Any, path: str) -> Any:
    return document["paths"][path]["post"]


def body_schema(document: Any, path: str) -> Any:
    return next(iter(post(document, path)["requestBody"]["content"].values()))["schema"]


def operations_of(document: Any) -> list[Any]:
    return [operation for operations in document["paths"].values() for operation in operations.values()]


def result_content(document: Any, path: str) -> Any:
    return post(document, path)["responses"]["200"]["content"]


def validator(document: Any, schema: Any) -> Any:
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


# ---- the whole


def test_the_document_of_every_kind_of_endpoint_is_valid(zoo: Any) -> None:
    """openapi-spec-validator finds nothing to complain about."""
    openapi_spec_validator.validate(zoo)


def test_the_document_is_made_when_it_is_asked_for() -> None:
    """Until then, a server has loaded nothing that makes it."""
    code = (
        f"import sys, penstock_falcon; from {ZOO} import app; application = penstock_falcon.asgi(app, docs=True); "
        "print([name for name in sys.modules if name.startswith('penstock.openapi.') and 'route' not in name])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_an_app_without_endpoints_has_a_document() -> None:
    """It is valid, with no paths."""
    document = document_of(App("empty"))
    openapi_spec_validator.validate(document)
    assert document["paths"] == {}
    assert document["info"] == {"title": "empty", "version": "0"}


def test_the_app_names_and_describes_itself(zoo: Any) -> None:
    """The title and the version are the app's, and the description is its module's docstring."""
    assert zoo["info"]["title"] == "The zoo"
    assert zoo["info"]["version"] == "1.2"
    assert zoo["info"]["description"].startswith("An endpoint of every kind")


def test_the_document_is_the_same_in_every_process(zoo: Any) -> None:
    """Byte for byte, whatever the hash seed; a default that is a set has an order."""
    code = (
        f"import json; from {ZOO} import app; from penstock.hooks.registry import Registry; "
        "from penstock.openapi import openapi_document; "
        "print(json.dumps(openapi_document(app, Registry(app=app))))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert json.loads(found[0]) == zoo


# ---- operations


def test_an_operation_is_named_after_its_endpoint(zoo: Any) -> None:
    """Its id is the endpoint's name, in characters that every tool accepts, and no other operation has it."""
    ids = [operation["operationId"] for operation in operations_of(zoo)]
    assert ids[:4] == ["square", "fields", "herd", "pack_box"]
    assert len(set(ids)) == len(ids) == len(zoo_app.app.endpoints)


def test_endpoints_with_similar_names_have_different_ids() -> None:
    """A name that needs no change is kept; others that would be equal to it are numbered."""
    app = App("similar")
    for path, name in (("/a", "x/y"), ("/b", "x+y"), ("/c", "x_y")):
        app.endpoint(path, name=name)(zoo_app.square)
    document = document_of(app)
    assert [post(document, path)["operationId"] for path in ("/a", "/b", "/c")] == ["x_y_2", "x_y_3", "x_y"]


def test_the_docstring_is_the_description(zoo: Any) -> None:
    """The first line is the summary and the rest the description; a handler without one has neither."""
    square = post(zoo, "/square")
    assert (square["summary"], square["description"]) == ("Square a number.", "It is multiplied by itself.")
    assert post(zoo, "/model")["summary"] == "A class with a docstring."
    assert post(zoo, "/plain-model")["summary"] == "The docstring of a method."
    assert "summary" not in post(zoo, "/fields")


def test_an_operation_is_tagged_with_the_first_part_of_its_path(zoo: Any) -> None:
    """Each tag is listed once; where the first part is a variable, the tag is the endpoint's name."""
    assert post(zoo, "/cages/{cage}/animals/{name}")["tags"] == ["cages"]
    assert post(zoo, "/{zoo}/open/now")["tags"] == ["open-zoo"]
    listed = [tag["name"] for tag in zoo["tags"]]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {tag for operation in operations_of(zoo) for tag in operation["tags"]}


def test_a_body_has_the_schema_of_its_fields(zoo: Any) -> None:
    """Fields without a default are required, and others are refused."""
    schema = body_schema(zoo, "/fields")
    assert schema["required"] == ["animals"]
    assert schema["additionalProperties"] is False
    assert "title" not in schema  # it would be the name of the function, or `predict`
    assert body_schema(zoo, "/box")["title"] == "Box"
    assert schema["properties"]["animals"] == {"type": "array", "items": {"$ref": "#/components/schemas/Animal"}}


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/square", {"input": 3}, {"input": "x"}),
        ("/fields", {"animals": [{"name": "a"}], "how": "slow"}, {"animals": [{"name": "a"}], "how": "fast"}),
        ("/herd", {"leader": {"name": "a"}, "inner": {"leader": {"name": "b"}}}, {"leader": {"name": 3}}),
        ("/box", {"width": 1}, {"width": 1, "height": 2}),
        ("/options", {"depth": 1}, {"title": "x"}),
        ("/visitor", {"name": "a", "age": 3, "guests": [{"name": "b", "age": 4}]}, {"name": "a", "age": 151}),
        ("/positive", {"number": 3}, {"number": 0}),
        ("/anything", {"value": [1, None]}, {"values": 1}),
        ("/nothing", {}, {"input": 1}),
        ("/lengths", "a", ["a"]),
        ("/sums", {"left": 1, "right": 2}, {"left": [1], "right": [2]}),
    ],
)
def test_a_body_fits_its_schema_if_the_endpoint_accepts_it(zoo: Any, path: str, good: Any, bad: Any) -> None:
    """The codec and the schema agree about good and about bad bodies."""
    endpoint = next(endpoint for endpoint in zoo_app.app.endpoints if endpoint.path == path)
    check = validator(zoo, body_schema(zoo, path))
    endpoint.codec.validate(json.dumps(good).encode())
    assert check.is_valid(good)
    with pytest.raises(errors.InvalidRequest):
        endpoint.codec.validate(json.dumps(bad).encode())
    assert not check.is_valid(bad)


def test_two_classes_of_one_name_are_components_of_their_own() -> None:
    """With the names of their modules; a class with a name of its own has no other part."""

    class Item(msgspec.Struct):
        price: float

    class Post(msgspec.Struct):
        text: str

    shop, Post.__name__ = Item, "Item"
    shop.__module__, Post.__module__ = "shop", "blog"
    shop.__qualname__ = Post.__qualname__ = "Item"
    app = App("twins")

    @app.endpoint("/sell")
    def sell(items: list[shop]) -> zoo_app.Animal: ...  # type: ignore[valid-type]

    @app.endpoint("/write")
    def write(items: list[Post]) -> list[Post]: ...

    document = document_of(app)
    openapi_spec_validator.validate(document)
    assert list(document["components"]["schemas"]) == ["Animal", "Colour", "Problem", "blog.Item", "shop.Item"]
    assert result_content(document, "/write")["application/json"]["schema"]["items"] == {
        "$ref": "#/components/schemas/blog.Item"
    }


def test_a_body_is_required_unless_an_empty_one_will_do(zoo: Any) -> None:
    """Where every field has a default, the body may be left out."""
    ids = {each["operationId"] for each in operations_of(zoo) if not each.get("requestBody", {}).get("required")}
    assert ids == {"raw", "maybe-raw", "short-raw", "anything", "nothing", "tone", "csv", "free", "look", "open-zoo"}


def test_raw_bodies_are_binary(zoo: Any) -> None:
    """A handler that takes bytes reads any body, and one that returns bytes sends them as they are."""
    octets = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    assert body_schema(zoo, "/raw") == octets
    sent = {"application/octet-stream": {"schema": octets}}
    assert result_content(zoo, "/raw") == result_content(zoo, "/short-raw") == sent
    assert result_content(zoo, "/maybe-raw") == {"application/json": {"schema": {"type": "null"}}, **sent}


def test_values_from_the_path_and_the_query_are_parameters(zoo: Any) -> None:
    """Each with its own schema; an object in the query is JSON, and a path variable is never empty."""
    operation = zoo["paths"]["/cages/{cage}/animals/{name}"]["get"]
    cage, name, tags, deep, options, weight = operation["parameters"][:6]
    assert cage == {"in": "path", "name": "cage", "required": True, "schema": {"type": "integer"}}
    assert name["schema"] == {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    assert (tags["in"], tags["required"]) == ("query", False)
    assert deep["schema"] == {"type": "boolean", "default": False}
    assert options["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Options"}}}
    assert tags["schema"] == {"type": "array", "items": {"type": "string"}}  # null is left out, as text cannot say it
    assert weight["schema"]["minimum"] == 0
    assert "requestBody" not in operation
    assert "404" in operation["responses"]


def test_the_rest_of_the_parameters_are_the_body(zoo: Any) -> None:
    """One path has an operation for each method, and the body of a POST lacks what comes from the path."""
    assert list(zoo["paths"]["/cages/{cage}/animals/{name}"]) == ["get", "post"]
    assert list(body_schema(zoo, "/cages/{cage}/animals/{name}")["properties"]) == ["meals", "options"]


def test_a_body_of_json_may_come_as_a_form(zoo: Any) -> None:
    """Its fields are the same; in an urlencoded form, an object is JSON."""
    content = post(zoo, "/cages/{cage}/animals/{name}")["requestBody"]["content"]
    assert list(content) == ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
    form = content["application/x-www-form-urlencoded"]
    assert form["encoding"] == {"options": {"contentType": "application/json"}}
    assert form["schema"]["properties"] == {
        "meals": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "options": {"$ref": "#/components/schemas/Options"},
    }
    assert form["schema"]["required"] == ["meals"]


def test_a_struct_as_a_form_has_its_fields(zoo: Any) -> None:
    """Also if it contains itself."""
    content = post(zoo, "/visitor")["requestBody"]["content"]
    fields = content["application/x-www-form-urlencoded"]["schema"]
    assert list(fields["properties"]) == ["name", "age", "guests"]
    assert fields["required"] == ["name", "age"]


def test_files_come_in_multipart_forms_alone(zoo: Any) -> None:
    """A file is a string in a binary format, as tools expect it; so are those of a list."""
    content = post(zoo, "/photo/{cage}")["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    fields = content["multipart/form-data"]["schema"]["properties"]
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    assert fields["picture"] == file
    assert fields["others"]["items"] == file
    assert fields["label"] == {"type": "string", "default": ""}


def test_results_have_their_schema(zoo: Any) -> None:
    """It is that of one result, also with batching; a class has a name of its own among the components."""
    assert result_content(zoo, "/square") == {"application/json": {"schema": {"type": "number"}}}
    assert result_content(zoo, "/lengths") == {"application/json": {"schema": {"type": "integer"}}}
    assert result_content(zoo, "/herd") == {"application/json": {"schema": {"$ref": "#/components/schemas/Herd"}}}
    assert result_content(zoo, "/csv")["text/csv; charset=utf-8"]["schema"]["type"] == "string"


def test_a_handler_that_returns_a_response_may_answer_anything(zoo: Any) -> None:
    """Its media type and status are its own."""
    assert result_content(zoo, "/free") == result_content(zoo, "/{zoo}/open/now") == {"*/*": {}}
    assert post(zoo, "/free")["responses"]["default"]["content"] == {"*/*": {}}


def test_a_stream_has_the_schema_of_one_chunk(zoo: Any) -> None:
    """It is marked with ``x-stream``, and has two framings, unless it has a media type of its own."""
    assert post(zoo, "/count")["x-stream"] is True
    animal = {"schema": {"$ref": "#/components/schemas/Animal"}, "x-stream": True}
    assert result_content(zoo, "/count") == {"application/x-ndjson": animal, "text/event-stream": animal}
    assert list(result_content(zoo, "/tone")) == ["audio/wav"]
    assert "x-stream" not in post(zoo, "/square")


# ---- errors


def sent() -> list[type[PenstockError]]:
    """Return the classes of the tree in ``penstock.errors`` that have a status there, and those of its root."""
    tree = (errors.__doc__ or "").splitlines()
    lines = [line.split() for line in tree if "──" in line or line.strip().startswith("PenstockError")]
    words = [[word for word in line if word.strip("│├└─")] for line in lines]
    return [getattr(errors, name) for name, status, *_ in words if status.isdigit()]


def test_the_problem_document_has_the_codes_of_all_errors(zoo: Any) -> None:
    """Every class that the tree in ``penstock.errors`` lists with a status contributes its code."""
    code = zoo["components"]["schemas"]["Problem"]["properties"]["error"]["properties"]["code"]
    listed = code["anyOf"][0]["enum"]
    assert len(sent()) > 20
    assert sorted(listed) == sorted({kind.code for kind in sent()})


def test_every_operation_shares_the_responses_for_errors(zoo: Any) -> None:
    """Each status that any client may meet is a reference to one component, and all others have the problem too."""
    statuses = {"400", "408", "413", "415", "422", "500", "503", "504"}
    for operation in operations_of(zoo):
        responses = operation["responses"]
        assert responses.keys() - {"200", "404", "default"} == statuses
        assert all("$ref" in responses[status] for status in statuses)
    unavailable = zoo["components"]["responses"]["Unavailable"]
    assert unavailable["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert list(unavailable["headers"]) == ["Retry-After", "x-should-retry", "X-Request-Id", "Server-Timing"]
    assert "`queue-full`" in unavailable["description"]


def test_every_component_is_used(zoo: Any) -> None:
    """There is no dead weight: each component is referred to from somewhere."""
    text = json.dumps(zoo)
    unused = [
        f"{kind}/{name}"
        for kind, components in zoo["components"].items()
        for name in components
        if f'"#/components/{kind}/{name}"' not in text
    ]
    assert unused == []


# ---- plug-ins


class Described:
    """A plug-in that reads a header, adds another one, takes a key, and refuses."""

    def __init__(self, name: str = "described", **facts: Any) -> None:
        self.name = name
        self.description = EndpointDescription(**facts)

    @hookimpl
    def penstock_description(self, endpoint: Endpoint) -> EndpointDescription | None:
        return self.description if endpoint.name != "free" else None


def test_a_plug_in_describes_its_headers() -> None:
    """Those of requests are shared parameters, those of responses belong to the successful ones."""
    tenant = HeaderDescription("The tenant.", {"type": "integer"})
    document = document_of(
        zoo_app.app,
        Described(request_headers={"X-Tenant": tenant}, response_headers={"X-Cost": HeaderDescription("$")}),
    )
    openapi_spec_validator.validate(document)
    assert {"$ref": "#/components/parameters/X-Tenant"} in post(document, "/square")["parameters"]
    assert document["components"]["parameters"]["X-Tenant"] == {
        "in": "header",
        "name": "X-Tenant",
        "description": "The tenant.",
        "schema": {"type": "integer"},
    }
    headers = post(document, "/square")["responses"]["200"]["headers"]
    assert headers["X-Cost"] == {"description": "$", "schema": {"type": "string"}}
    assert post(document, "/free")["parameters"] == [{"$ref": "#/components/parameters/RequestId"}]


def test_headers_of_several_plug_ins_are_told_apart_without_case() -> None:
    """The first plug-in that describes a header counts; the name of its component has only plain characters."""
    one = Described("one", request_headers={"x-tenant!": HeaderDescription("One.")})
    other = Described("other", request_headers={"X-Tenant!": HeaderDescription("Other.")})
    document = document_of(zoo_app.app, one, other)
    openapi_spec_validator.validate(document)
    parameters = document["components"]["parameters"]
    assert list(parameters) == ["RequestId", "X-Tenant_"]
    assert parameters["X-Tenant_"]["description"] == "Other."


def test_a_plug_in_describes_its_refusals() -> None:
    """Each is a response of those endpoints that it describes, with the headers that belong to the status."""
    document = document_of(zoo_app.app, Described(errors=(errors.RateLimited, errors.Unauthorized, errors.QueueFull)))
    openapi_spec_validator.validate(document)
    assert {"401", "429"} <= post(document, "/square")["responses"].keys()
    assert not {"401", "429"} & post(document, "/free")["responses"].keys()
    responses = document["components"]["responses"]
    assert "WWW-Authenticate" in responses["Unauthorized"]["headers"]
    assert "Retry-After" in responses["RateLimited"]["headers"]


def test_a_plug_in_describes_its_own_responses() -> None:
    """Each is a response of the endpoint, with the headers that all have; the first description of a status counts.

    It comes after the endpoint's own, which a client generator takes for the result.
    """
    text = {"type": "string"}
    accepted = {
        "description": "Accepted.",
        "headers": {"Location": {"schema": text}},
        "content": {"text/plain": {"schema": text}},
    }
    first = Described("first", responses={202: accepted})
    other = Described("other", responses={202: {"description": "Other."}, 201: {"description": "Created."}})
    document = document_of(zoo_app.app, other, first)
    openapi_spec_validator.validate(document)
    responses = post(document, "/square")["responses"]
    assert list(responses)[:3] == ["200", "201", "202"]
    assert responses["202"].pop("headers") == {
        "X-Request-Id": {"$ref": "#/components/headers/RequestId"},
        "Server-Timing": {"$ref": "#/components/headers/ServerTiming"},
        "Location": {"schema": text},
    }
    assert responses["202"] == {"description": "Accepted.", "content": {"text/plain": {"schema": text}}}
    assert "202" not in post(document, "/free")["responses"]


def test_a_plug_in_replaces_no_response_of_an_endpoint() -> None:
    """The result and the shared errors stay as they are, whatever a plug-in says about their statuses."""
    own = {status: {"description": "Mine."} for status in (200, 422)}
    plain, described = document_of(zoo_app.app), document_of(zoo_app.app, Described(responses=own))
    assert post(described, "/square")["responses"] == post(plain, "/square")["responses"]


def test_one_plug_in_describes_the_credentials() -> None:
    """The first that names any, with the scopes: a caller needs one of the credentials, with all of the scopes."""
    key = {"type": "apiKey", "in": "header", "name": "X-Key"}
    other = Described("other", credentials={"other": key})
    first = Described(credentials={"key": key, "token": {"type": "http", "scheme": "bearer"}}, scopes=("read",))
    document = document_of(zoo_app.app, other, first)
    openapi_spec_validator.validate(document)
    assert post(document, "/square")["security"] == [{"key": ["read"]}, {"token": ["read"]}]
    assert "security" not in post(document, "/free")
    assert list(document["components"]["securitySchemes"]) == ["key", "token"]


# ---- dialects


def echo(**facts: Any) -> Dialect:
    """Return a dialect with two operations, of which the second has no description."""
    operations = (
        Operation(path="/v1/{model}/files/{name:path}", read=lambda request: Payload(endpoint="square"), **facts),
        Operation(path="/v1/hidden", read=lambda request: Payload(endpoint="square")),
    )
    return Dialect(
        name="echo",
        operations=operations,
        endpoints=("square", "box"),
        result=lambda answer, payload: RouteResponse(body=answer.body),
        error=lambda error: RouteResponse.json({}),
    )


def speaking(dialect: Dialect) -> Any:
    """Return an app with two endpoints that speak a dialect."""
    app = App("speaking")
    app.endpoint("/square", dialects=[dialect])(zoo_app.square)
    app.endpoint("/box", dialects=[dialect])(zoo_app.box)
    return app


def test_an_operation_of_a_dialect_is_shown_as_it_describes_itself() -> None:
    """With what the core knows about it; an operation without a description is not in the document."""
    answer = {"200": {"description": "The answer.", "content": {"application/json": {}}}}
    dialect = echo(description={"summary": "Echo.", "responses": answer}, method="PUT")
    key = {"type": "apiKey", "in": "header", "name": "X-Key"}
    document = document_of(speaking(dialect), Described(credentials={"key": key}, scopes=("read",)))
    openapi_spec_validator.validate(document)
    assert list(document["paths"]) == ["/square", "/box", "/v1/{model}/files/{name}"]
    text = {"type": "string", "minLength": 1}
    assert document["paths"]["/v1/{model}/files/{name}"]["put"] == {
        "operationId": "echo_put_v1_model_files_name",
        "tags": ["echo"],
        "security": [{"key": ["read"]}],
        "responses": answer,
        "summary": "Echo.",
        "parameters": [{"in": "path", "name": name, "required": True, "schema": text} for name in ("model", "name")],
    }
    assert {"name": "echo"} in document["tags"]


def test_a_dialect_may_describe_all_of_its_operation() -> None:
    """Its own id, tag and parameters count."""
    own = {"in": "path", "name": "model", "required": True, "schema": {"type": "integer"}}
    dialect = echo(description={"operationId": "mine", "tags": ["a", "b"], "parameters": [own]})
    document = document_of(speaking(dialect))
    openapi_spec_validator.validate(document)
    found = post(document, "/v1/{model}/files/{name}")
    assert (found["operationId"], found["tags"]) == ("mine", ["a", "b"])
    assert [parameter["name"] for parameter in found["parameters"]] == ["name", "model"]
    assert "security" not in found


def test_a_description_of_another_type_is_refused() -> None:
    """The error names the plug-in and the hook, as for every hook."""

    class Wordy:
        @hookimpl
        def penstock_description(self) -> str:
            return "all about it"

    with pytest.raises(errors.PluginError, match=r"penstock_description of plug-in 'Wordy'.* returned a str"):
        document_of(zoo_app.app, Wordy)


def test_the_harness_serves_the_document() -> None:
    """So that a plug-in's own test can see what it says about itself."""
    harness = PluginHarness(zoo_app.app, [Described(errors=(errors.RateLimited,))])
    document = json.loads(harness.route("/openapi.json").body)
    assert "429" in post(document, "/square")["responses"]
