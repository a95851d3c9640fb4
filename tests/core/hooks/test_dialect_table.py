"""The table of dialects: which are served, with which endpoints, and what is refused at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from penstock.app import App, DialectOffer, Endpoint
from penstock.errors import DeclarationError, PluginError
from penstock.hooks import Dialect, DialectRequest, Operation, Payload, RouteResponse, hookimpl, offers_of
from penstock.hooks.dialect_table import served_dialects
from penstock.hooks.registry import Registry
from penstock.response import Encoded
from penstock.testing import PluginHarness

OPERATION = Operation(path="/v1/it", read=lambda _request: Payload(endpoint="first"))
PLAIN = Dialect(
    name="plain",
    operations=(OPERATION,),
    result=lambda answer, _payload: RouteResponse(body=answer.body),
    error=lambda error: RouteResponse(body=error.code.encode(), status=error.status),
)


def make_app(*dialects: Any) -> App:
    app = App("tests")

    @app.endpoint("/first", dialects=dialects)
    def first() -> int:
        return 1

    @app.endpoint("/second")
    def second() -> int:
        return 2

    return app


def names_of(app: App, *offered: Dialect) -> dict[str, tuple[str, ...]]:
    return {dialect.name: dialect.endpoints for dialect in served_dialects(offered, app.endpoints)}


def test_a_dialect_serves_what_it_names_and_what_names_it() -> None:
    """Each endpoint once, in that order."""
    assert names_of(make_app("plain"), replace(PLAIN, endpoints=("second",))) == {"plain": ("second", "first")}
    assert names_of(make_app("plain"), replace(PLAIN, endpoints=("first",))) == {"plain": ("first",)}


def test_an_endpoint_may_bring_its_own() -> None:
    """No plug-in is needed for that."""
    assert names_of(make_app(PLAIN)) == {"plain": ("first",)}


@pytest.mark.parametrize(
    ("app", "offered", "message"),
    [
        (lambda: make_app("plaim"), [PLAIN], "endpoint 'first': there is no dialect 'plaim'; did you mean plain?"),
        (make_app, [replace(PLAIN, endpoints=("frist",))], "there is no endpoint 'frist'; did you mean first?"),
        (make_app, [PLAIN], "dialect 'plain' serves no endpoint"),
        (make_app, [replace(PLAIN, endpoints=("first",)), replace(PLAIN)], "there are two dialects 'plain'"),
    ],
    ids=["dialect", "endpoint", "none", "twice"],
)
def test_names_that_do_not_fit_are_refused(app: Callable[[], App], offered: list[Dialect], message: str) -> None:
    """At the start, with the fix."""
    with pytest.raises(DeclarationError, match=message.replace("?", r"\?")):
        served_dialects(offered, app().endpoints)


@pytest.mark.parametrize("dialects", ["plain", [1], None])
def test_a_declaration_names_dialects_in_a_list(dialects: Any) -> None:
    """Anything else is refused at import."""
    app = App("tests")
    with pytest.raises(DeclarationError, match="is not a list of dialects"):

        @app.endpoint("/first", dialects=dialects)
        def first() -> int:
            return 1


def test_functions_that_cannot_be_called_are_refused() -> None:
    """At the start, and not with the first request."""

    class Offer:
        @hookimpl
        def penstock_dialects(self) -> list[Dialect]:
            return [replace(PLAIN, endpoints=("first",), result=lambda answer: answer)]  # type: ignore[arg-type, misc]

    app = make_app()
    with pytest.raises(PluginError, match=r"\(plain, result\).*cannot be called with 2 arguments"):
        Registry([Offer()], app=app).dialects(app)


# ---- the harness


def test_a_harness_answers_in_a_dialect() -> None:
    """Results, chunks, and errors of policies and of the dialect itself."""
    operation = replace(OPERATION, path="/v1/{what}/{rest:path}")
    dialect = replace(PLAIN, operations=(operation,))
    harness = PluginHarness(make_app(dialect))
    assert harness.operation("POST", "/v1/a/b/c", answer=Encoded(b"1")).body == b"1"
    assert harness.operation("POST", "/first", answer=Encoded(b"1")).body == b"1"
    assert harness.operation("POST", "/first", answer=[b"1", b"2"], headers={"Accept": "text/event-stream"}).body == (
        b"data: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"
    )
    assert harness.operation("POST", "/first", b"{").status == 400
    harness.shutdown()
    refused = harness.operation("POST", "/v1/a/b/c")
    assert (refused.status, refused.body) == (503, b"draining")


def test_a_harness_answers_several_inputs_together() -> None:
    """Each is a job; the answers are one for all of them, or one for each."""
    operation = replace(OPERATION, read=lambda _request: Payload(endpoint="first", parts=[b"", b""]))
    joined = replace(
        PLAIN, operations=(operation,), together=lambda answers, _: RouteResponse(body=repr(answers).encode())
    )
    harness = PluginHarness(make_app(joined))
    assert harness.operation("POST", "/v1/it", answer=Encoded(b"1")).body == b"[[b'1'], [b'1']]"
    assert harness.operation("POST", "/v1/it", answer=([b"1", b"2"], Encoded(b"3"))).body == b"[[b'1', b'2'], [b'3']]"


# ---- offers


class Named(DialectOffer):
    """An endpoint under a name."""

    gatherer = "named"

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, endpoint: Endpoint) -> None:
        if endpoint.codec.whole_type is not None:
            raise DeclarationError(f"endpoint {endpoint.name!r}: it is whole; take fields")


class Gatherer:
    """A plug-in that serves all offers under one path."""

    name = "named"

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        offers = {offer.name: endpoint.name for endpoint, offer in offers_of(app, Named)}
        if len(offers) < len(offers_of(app, Named)):
            raise DeclarationError("endpoint 'second': it has the name of another; change it")
        read = Operation(path="/v1/it", read=lambda request: Payload(endpoint=offers[request.body.decode()]))
        return [replace(PLAIN, operations=(read,), endpoints=tuple(offers.values()))]


def make_offering_app(first: Any, second: Any) -> App:
    app = App("tests")
    app.endpoint("/first", dialects=[first])(lambda: 1)
    app.endpoint("/second", dialects=[second])(lambda: 2)
    return app


def test_a_plugin_gathers_the_offers_of_all_endpoints() -> None:
    """Under one path, where the body says which is meant."""
    app = make_offering_app(Named("a"), Named("b"))
    [dialect] = [each for each in Registry([Gatherer()], app=app).dialects(app) if each.name == "plain"]
    assert dialect.endpoints == ("first", "second")
    read = dialect.operations[0].read
    asked = DialectRequest(
        request_id="", method="POST", path="/v1/it", path_values={}, header=lambda _: None, body=b"b"
    )
    assert read(asked).endpoint == "second"


def test_an_offer_without_its_plugin_is_refused() -> None:
    """At the start: no plug-in would serve it."""
    app = make_offering_app(Named("a"), Named("b"))
    with pytest.raises(DeclarationError, match="endpoint 'first': Named belongs to the plug-in 'named', which is not"):
        Registry(app=app).dialects(app)


def test_an_offer_checks_its_endpoint_at_import() -> None:
    """Its message has the endpoint and the fix."""
    app = App("tests")
    with pytest.raises(DeclarationError, match="endpoint 'first': it is whole"):

        @app.endpoint("/first", dialects=[Named("a")])
        def first(body: bytes) -> int:
            return 1


def test_a_mistake_in_the_app_is_told_as_such() -> None:
    """A plug-in that finds it is not blamed for it."""
    app = make_offering_app(Named("a"), Named("a"))
    with pytest.raises(DeclarationError, match=r"^endpoint 'second': it has the name of another; change it$"):
        Registry([Gatherer()], app=app).dialects(app)
