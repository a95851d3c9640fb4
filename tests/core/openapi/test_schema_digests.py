"""The digests by which a client and a server see that they have the same schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from penstock import App, Timeouts
from penstock.hooks.registry import Registry
from penstock.openapi import openapi_document, schema_digest
from penstock.openapi.schema_digests import DIGEST


class Inner(msgspec.Struct):
    title: str
    description: str = "x"


class Outer(msgspec.Struct):
    inner: Inner


class Renamed(msgspec.Struct, rename={"description": "about"}):
    title: str
    description: str = "x"


class OuterOfRenamed(msgspec.Struct):
    inner: Renamed


def original(text: str, top: int = 1) -> Outer:
    """Say something."""
    raise NotImplementedError


def described(text: str, top: int = 1) -> Outer:
    """Say something else."""
    raise NotImplementedError


def another_default(text: str, top: int = 2) -> Outer:
    raise NotImplementedError


def another_type(text: str, top: float = 1) -> Outer:
    raise NotImplementedError


def another_field(text: str, top: int = 1) -> OuterOfRenamed:
    raise NotImplementedError


def streaming(text: str, top: int = 1) -> Iterator[Outer]:
    raise NotImplementedError


def document_of(handler: Callable[..., Any], path: str = "/say", **settings: Any) -> Any:
    app = App("demo", title=handler.__name__)
    app.endpoint(path, name="say", **settings)(handler)

    @app.endpoint("/other")
    def other(n: int) -> int:
        raise NotImplementedError

    assert schema_digest(app, Registry()) == openapi_document(app, Registry(), server="/x")[DIGEST]
    return openapi_document(app, Registry())


def digests(handler: Callable[..., Any], path: str = "/say", **settings: Any) -> list[str]:
    """Return the digests of the document, of the endpoint and of the other endpoint."""
    document = document_of(handler, path, **settings)
    return [document[DIGEST], *(document["paths"][each]["post"][DIGEST] for each in (path, "/other"))]


@pytest.mark.parametrize("handler", [another_default, another_type, another_field, streaming])
def test_a_change_that_a_client_sees_changes_the_digest(handler: Callable[..., Any]) -> None:
    """The document and the endpoint have new ones, the other endpoint has not. A class deep in the result counts."""
    before, after = digests(original), digests(handler)
    assert [was == now for was, now in zip(before, after, strict=True)] == [False, False, True]


def test_another_path_changes_the_digest() -> None:
    """The client would call the wrong one."""
    before, after = digests(original), digests(original, "/tell")
    assert [was == now for was, now in zip(before, after, strict=True)] == [False, False, True]


def test_texts_and_limits_do_not_count() -> None:
    """A new docstring needs no new client."""
    assert digests(original) == digests(described) == digests(original, timeouts=Timeouts(total=5))


def test_an_operation_has_the_limits_of_its_endpoint() -> None:
    """Those that bound a call, in seconds; a limit that is off is not there."""
    document = document_of(original, timeouts=Timeouts(queue=None, execution=7, total=9.5))
    assert document["paths"]["/say"]["post"]["x-penstock-timeouts"] == {"execution": 7, "total": 9.5}
