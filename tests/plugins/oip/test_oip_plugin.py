"""The plug-in ``oip``: its models, what it says about them, its other routes, and errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from openapi_spec_validator import validate

from penstock import App, Batching, DeclarationError, Response
from penstock.errors import NotFound, PluginError
from penstock.hooks import Endpoint, PublicError, Route
from penstock.testing import PluginHarness
from penstock_oip import Infer, OipPlugin, Tensor
from penstock_oip.oip_errors import error_response
from penstock_oip.served_models import ServedModels
from tests.plugins.oip.oip_models import Names, Pair, Rows, Scaled, models_app

DESCRIBED = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}


def versions_app() -> App:
    """Return an app with three versions of one model."""
    app = App("versions")
    for version in ("9", "10", "beta"):

        def handler(x: Rows) -> Rows:
            return x

        app.endpoint(f"/m{version}", name=f"m{version}", dialects=[Infer(name="m", version=version)])(handler)
    return app


@pytest.fixture(scope="module")
def harness() -> PluginHarness:
    return PluginHarness(models_app(), [OipPlugin])


def asked(harness: PluginHarness, path: str, method: str = "GET") -> tuple[int, Any]:
    answer = harness.route(path, method)
    return answer.status, msgspec.json.decode(answer.body)


# ---- the server


def test_the_server_says_what_it_is(harness: PluginHarness) -> None:
    """With and without a slash at the end; all three fields are required."""
    for path in ("/v2", "/v2/"):
        status, content = asked(harness, path)
        assert (status, content["name"]) == (200, "penstock")
        assert content.keys() == {"name", "version", "extensions"}
        assert "binary_tensor_data" in content["extensions"]


def test_health() -> None:
    """Always JSON, because clients read it at a 503, too."""
    served = PluginHarness(models_app(), [OipPlugin])
    assert asked(served, "/v2/health/live") == (200, {"live": True})
    assert asked(served, "/v2/health/ready") == (200, {"ready": True})
    served.shutdown(5)
    status, content = asked(served, "/v2/health/ready")
    assert (status, content["ready"]) == (503, False)
    assert asked(served, "/v2/health/live") == (200, {"live": True})


def test_health_needs_no_key() -> None:
    """Load balancers have none; whatever names models is for callers."""
    for route in OipPlugin(OipPlugin.Settings()).penstock_routes(models_app()):
        assert (route.is_open, route.is_for_callers) == ("/health/" in route.path, "/health/" not in route.path)


def test_paths_that_are_not_supported(harness: PluginHarness) -> None:
    """A 404 in the protocol's own shape: other servers have shared memory and traces there."""
    for method, path in (("GET", "/v2/systemsharedmemory/status"), ("POST", "/v2/trace/setting")):
        status, content = asked(harness, path, method)
        assert status == 404
        assert path in content["error"]


# ---- models


def test_models_are_listed(harness: PluginHarness) -> None:
    """By name, and in the index with version and state."""
    status, content = asked(harness, "/v2/models")
    assert status == 200
    assert content["models"][:3] == ["double", "org/a pair", "upper"]
    status, index = asked(harness, "/v2/repository/index", "POST")
    assert status == 200
    assert index[1] == {"name": "org/a pair", "version": "3", "state": "READY", "reason": ""}


def test_metadata(harness: PluginHarness) -> None:
    """The tensors as they are declared; -1 is any size. With and without the version."""
    for path in ("double", "double/versions/1"):
        assert asked(harness, f"/v2/models/{path}") == (
            200,
            {
                "name": "double",
                "versions": ["1"],
                "platform": "penstock",
                "inputs": [DESCRIBED],
                "outputs": [{**DESCRIBED, "name": "twice"}],
            },
        )
    assert asked(harness, "/v2/models/org/a pair")[1]["inputs"][1]["datatype"] == "BYTES"


def test_the_readiness_of_a_model() -> None:
    """With its name; at 503 too."""
    served = PluginHarness(models_app(), [OipPlugin])
    assert asked(served, "/v2/models/org/a pair/versions/3/ready") == (200, {"name": "org/a pair", "ready": True})
    served.shutdown(5)
    assert asked(served, "/v2/models/double/ready") == (503, {"name": "double", "ready": False})


def test_the_configuration_is_that_of_one_item(harness: PluginHarness) -> None:
    """For clients that read the shape of Triton's: with batches, without the first dimension."""
    plain = asked(harness, "/v2/models/org/a pair/config")[1]
    assert plain["max_batch_size"] == 0
    assert plain["input"] == [
        {"name": "rows", "data_type": "TYPE_FP32", "dims": [-1, 2]},
        {"name": "names", "data_type": "TYPE_STRING", "dims": [-1], "optional": True},
    ]
    joined = asked(harness, "/v2/models/joined/config")[1]
    assert (joined["max_batch_size"], joined["input"][0]["dims"]) == (4, [-1])
    assert joined["dynamic_batching"] == {"max_queue_delay_microseconds": 100_000}


def test_statistics_are_the_engines() -> None:
    """They are there for one model, and for all together."""
    served = PluginHarness(models_app(), [OipPlugin])
    before = asked(served, "/v2/models/double/stats")[1]["model_stats"]
    served.request("double")
    served.advance(1.0)
    [after] = asked(served, "/v2/models/double/versions/1/stats")[1]["model_stats"]
    assert (before[0]["inference_count"], after["inference_count"]) == (0, 1)
    assert after["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["success"]["ns"] > 0
    assert len(asked(served, "/v2/models/stats")[1]["model_stats"]) == len(models_app().endpoints)


@pytest.mark.parametrize(
    "path", ["nothing", "double/versions/2", "nothing/ready", "double/x", "double/versions/2/stats"]
)
def test_what_does_not_exist_is_a_404(harness: PluginHarness, path: str) -> None:
    """With a sentence that names the models, or the versions, that there are."""
    status, content = asked(harness, f"/v2/models/{path}")
    assert status == 404
    assert "double" in content["error"]


def test_models_are_not_loaded_by_clients(harness: PluginHarness) -> None:
    """They are static: 501, with the way to change them."""
    for action in ("load", "unload"):
        status, content = asked(harness, f"/v2/repository/models/org/a pair/{action}", "POST")
        assert status == 501
        assert "reload" in content["error"]


def test_the_highest_version_is_the_default() -> None:
    """By number, and numbers above words."""
    app = versions_app()
    models = ServedModels([(endpoint, endpoint.dialects[0]) for endpoint in app.endpoints])
    assert models.versions("m") == ["beta", "9", "10"]
    assert models.named("m").version == "10"
    assert models.named("m/versions/beta").version == "beta"
    content = asked(PluginHarness(app, [OipPlugin]), "/v2/models/m/versions/9")[1]
    assert content["versions"] == ["beta", "9", "10"]


def test_a_name_that_looks_like_a_path() -> None:
    """The longest name wins."""
    app = App("odd")
    for place, name in enumerate(("a", "a/ready", "a/versions/7")):

        def handler(x: Rows) -> Rows:
            return x

        app.endpoint(f"/{place}", name=f"e{place}", dialects=[Infer(name=name)])(handler)
    harness = PluginHarness(app, [OipPlugin])
    assert asked(harness, "/v2/models/a/ready")[1]["versions"] == ["1"]
    assert asked(harness, "/v2/models/a/ready/ready")[1] == {"name": "a/ready", "ready": True}
    assert asked(harness, "/v2/models/a/versions/7")[1]["name"] == "a/versions/7"


# ---- errors


@pytest.mark.parametrize(("status", "sent"), [(422, 400), (400, 400), (404, 404), (429, 429), (503, 503), (504, 504)])
def test_errors_are_an_object_with_a_text(status: int, sent: int) -> None:
    """An object in its place makes clients fail while they report it; the protocol does not have 422."""
    public = PublicError(status=status, code="c", title="t", message="why", type="x", request_id="r1")
    answer = error_response(public)
    assert (answer.status, msgspec.json.decode(answer.body)) == (sent, {"error": "why"})


def test_all_routes_write_errors_like_that() -> None:
    """A caller without a key gets one from a route, too."""
    for route in OipPlugin(OipPlugin.Settings()).penstock_routes(models_app()):
        assert isinstance(route, Route)
        assert route.error is error_response


# ---- the plug-in


def test_the_prefix_is_in_front_of_all_paths() -> None:
    """Clients take it as a part of their address."""
    app = models_app()
    harness = PluginHarness(app, [OipPlugin], settings={"oip": {"prefix": "/triton"}})
    assert asked(harness, "/triton/v2/models/double/ready")[0] == 200
    with pytest.raises(NotFound):
        harness.route("/v2")
    with pytest.raises(PluginError, match="/triton"):
        PluginHarness(app, [OipPlugin], settings={"oip": {"prefix": "triton"}})


def test_the_paths_are_in_the_openapi_document(harness: PluginHarness) -> None:
    """With the inputs of each model."""
    document = msgspec.json.decode(harness.route("/openapi.json").body)
    assert "/v2/models/double/infer" in document["paths"]
    validate(document)


def test_without_models_there_is_nothing() -> None:
    """The plug-in adds no path to an app that does not use it."""
    app = App("empty")

    @app.endpoint("/square")
    def square(input: int) -> int:
        return input**2

    with pytest.raises(NotFound):
        PluginHarness(app, [OipPlugin]).route("/v2")


def test_the_plug_in_imports_little() -> None:
    """It is found at every start, also where no model has a tensor: no numpy, and nothing that requests need."""
    code = "import sys, penstock_oip; sys.exit('numpy' in sys.modules or 'penstock_oip.infer_dialect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# ---- declarations


def plain(x: int) -> Rows: ...


def stream(x: Rows) -> Iterator[Rows]:
    yield x


def odd_input(x: Rows, names: list[str]) -> Rows: ...


def no_tensor(x: Rows) -> dict[str, int]: ...


def unannotated(x: Rows): ...  # type: ignore[no-untyped-def]


def response(x: Rows) -> Response: ...


def odd_result(pair: Pair) -> Pair: ...


def user(user_id: int, x: Rows) -> Rows: ...


@pytest.mark.parametrize(
    ("path", "handler", "words"),
    [
        ("/it", plain, "needs tensors as inputs"),
        ("/it", stream, "cannot stream"),
        ("/it", odd_input, "`names` is not a tensor"),
        ("/it", no_tensor, "needs tensors as results"),
        ("/it", unannotated, "needs tensors as results"),
        ("/it", response, "needs tensors as results"),
        ("/it", odd_result, "the field `scale` of the result is not a tensor"),
        ("/users/{user_id}", user, "remove the variables from the path"),
    ],
)
def test_a_handler_that_is_no_model(path: str, handler: Any, words: str) -> None:
    """It is refused at import, with the endpoint, the cause and the fix."""
    with pytest.raises(DeclarationError, match=f"endpoint 'it': Infer.*{words}"):
        App("it").endpoint(path, name="it", dialects=[Infer(name="m")])(handler)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "not a model's name"),
        ({"name": "/a"}, "not a model's name"),
        ({"name": "a\n"}, "not a model's name"),
        ({"version": ""}, "not a version"),
        ({"version": "1/2"}, "not a version"),
        ({"outputs": "rows"}, r"write outputs=\['rows'\]"),
        ({"outputs": ["rows"]}, "the handler returns 2: rows, names; name each of them once"),
        ({"outputs": ["rows", "rows"]}, "the handler returns 2"),
    ],
)
def test_an_offer_that_cannot_be(options: dict[str, Any], words: str) -> None:
    """It is refused at import, with the fix."""

    def handler(x: Names) -> Scaled: ...

    with pytest.raises(DeclarationError, match=words):
        App("it").endpoint("/it", dialects=[Infer(**options)])(handler)


def test_two_models_of_one_name_and_version() -> None:
    """They are refused at the start, and named both."""
    app = App("twice")

    def first(x: Rows) -> Rows: ...

    def second(x: Rows) -> Rows: ...

    app.endpoint("/first", dialects=[Infer(name="m")])(first)
    app.endpoint("/second", dialects=[Infer(name="m")])(second)
    with pytest.raises(
        DeclarationError, match="'second': the model 'm' has the version '1' already, by endpoint 'first'"
    ):
        OipPlugin(OipPlugin.Settings()).penstock_dialects(app)


def test_a_batch_of_lists_is_a_model() -> None:
    """Its requests are not joined, so its shapes are those of one request."""
    app = App("lists")

    @app.endpoint("/it", batching=Batching(max_size=4, max_wait=0.1), dialects=[Infer()])
    def it(x: list[Annotated[np.ndarray, Tensor("FP32", [2])]]) -> list[Rows]: ...

    [endpoint] = app.endpoints
    assert isinstance(endpoint, Endpoint)
    [model] = ServedModels([(endpoint, endpoint.dialects[0])]).all
    assert (model.most_items, dict(model.inputs)) == (0, {"x": Tensor("FP32", [2])})
