"""gRPC services of plug-ins: checked at start-up, and guarded from then on."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import App
from penstock.errors import HookError, MalformedRequest, PluginError
from penstock.hooks import Payload, Route, RouteResponse, RpcOperation, RpcQuestion, RpcRequest, RpcService, hookimpl
from penstock.hooks.registry import Registry, rpc_services_of
from penstock.hooks.rpc_services import rpc_door
from penstock.response import Encoded

REQUEST = RpcRequest(request_id="r", path="/a.B/C", header=lambda _name: None, message=b"m")
PAYLOAD = Payload(endpoint="square")
ROUTE = Route(path="/r", name="r", handler=lambda _request, _engine: RouteResponse())


def operation(**more: Any) -> RpcOperation:
    fields: dict[str, Any] = {"name": "C", "read": lambda _request: PAYLOAD, "result": lambda _result, _payload: b"x"}
    return RpcOperation(**{**fields, **more})


def services(*methods: Any, returned: Any = None) -> list[RpcService]:
    class Toy:
        @hookimpl
        def penstock_grpc_services(self) -> Any:
            return [RpcService(name="a.B", methods=methods)] if returned is None else returned

    app = App("tests")
    return rpc_services_of(Registry([Toy], app=app), app)


def test_services_are_returned_in_the_order_of_precedence() -> None:
    """The plug-in that is asked first comes last, as for dialects; one that returns None adds nothing."""

    class First:
        @hookimpl
        def penstock_grpc_services(self) -> Any:
            return (RpcService(name="a.First", methods=()),)

    class Silent:
        @hookimpl
        def penstock_grpc_services(self) -> None:
            return None

    class Last:
        @hookimpl
        def penstock_grpc_services(self) -> Any:
            return [RpcService(name="a.Last", methods=())]

    app = App("tests")
    registry = Registry([First, Silent, Last], app=app)
    assert [service.name for service in rpc_services_of(registry, app)] == ["a.First", "a.Last"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (1, "something that cannot be iterated over"),
        ([1], "a int in the place of an RpcService"),
        ([RpcService(name="a.B", methods=(operation(read=1),))], "a.B, read of C"),
        ([RpcService(name="a.B", methods=(operation(read=lambda: PAYLOAD),))], "needed|needs|1 argument"),
        ([RpcService(name="a.B", methods=(operation(result=lambda _one: b""),))], "a.B, result of C"),
        ([RpcService(name="a.B", methods=(operation(chunk=lambda _one: b""),))], "a.B, chunk of C"),
        ([RpcService(name="a.B", methods=(operation(collected=lambda _one: b""),))], "a.B, collected of C"),
        ([RpcService(name="a.B", methods=(operation(error=lambda _one: b""),))], "a.B, error of C"),
        (
            [RpcService(name="a.B", methods=(RpcQuestion(name="Q", route=ROUTE, read=dict, reply=1),))],  # type: ignore[arg-type]
            "a.B, reply of Q",
        ),
    ],
)
def test_what_could_never_work_stops_the_start(returned: Any, message: str) -> None:
    """The error names the plug-in, the service and the function."""
    with pytest.raises(PluginError, match=message) as caught:
        services(returned=returned)
    assert "Toy" in str(caught.value)


def test_a_decision_that_is_an_error_is_passed_on() -> None:
    """A ``PenstockError`` of a service is the answer to the call."""

    def read(_request: RpcRequest) -> Payload:
        raise MalformedRequest("not that")

    [service] = services(operation(read=read))
    with pytest.raises(MalformedRequest, match="not that"):
        service.methods[0].read(REQUEST)


@pytest.mark.parametrize(
    ("fields", "name", "arguments"),
    [
        ({"read": lambda _request: 1 / 0}, "read", (REQUEST,)),
        ({"read": lambda _request: b"x"}, "read", (REQUEST,)),
        ({"result": lambda _result, _payload: "text"}, "result", (Encoded(b""), PAYLOAD)),
        ({"chunk": lambda _chunk, _head, _payload: None}, "chunk", (b"", Encoded(b""), PAYLOAD)),
        ({"collected": lambda _chunks, _head, _payload: 1}, "collected", ([], Encoded(b""), PAYLOAD)),
        ({"error": lambda _error, _payload: 1}, "error", (None, None)),
    ],
)
def test_a_mistake_fails_one_call(fields: dict[str, Any], name: str, arguments: tuple[Any, ...]) -> None:
    """An exception, or a value that it may not return, is a failure of its plug-in."""
    [service] = services(operation(**fields))
    with pytest.raises(HookError):
        getattr(service.methods[0], name)(*arguments)


def test_a_question_is_guarded_too() -> None:
    """Values and messages are what they have to be."""
    question = RpcQuestion(name="Q", route=ROUTE, read=lambda _request: 1, reply=lambda _response: "text")  # type: ignore[arg-type,return-value]
    [service] = services(question)
    [guarded] = service.methods
    assert isinstance(guarded, RpcQuestion)
    assert guarded.route is ROUTE
    with pytest.raises(HookError):
        guarded.read(REQUEST)
    with pytest.raises(HookError):
        guarded.reply(RouteResponse())


def test_the_door_of_a_method_is_for_callers() -> None:
    """The authenticator lets in every caller that may use endpoints."""
    door = rpc_door(RpcService(name="a.B", methods=()), operation())
    assert (door.path, door.name, door.is_for_callers, door.is_open) == ("/a.B/C", "/a.B/C", True, False)
