"""The methods of all services, as the gRPC library looks them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import grpc

from penstock.errors import DeclarationError, MethodNotAllowed
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse, RpcQuestion, RpcService
from penstock_grpc.question_resource import QuestionResource
from penstock_grpc.rpc_exchange import RpcExchange
from penstock_grpc.rpc_resource import RpcOperationResource, RpcResource
from penstock_grpc.rpc_targets import RpcEndpoint
from penstock_grpc.serving_host import ServingHost


class UnknownResource(RpcResource):
    """Calls of methods that do not exist."""

    def __init__(self, host: ServingHost) -> None:
        super().__init__(host, Route(path="/", name="", handler=_never_called, is_open=True), "")

    def of(self, path: str) -> UnknownResource:
        """Return the resource for one call."""
        found = UnknownResource(self._host)
        found.path = path
        return found

    async def serve(self, context: Any, peer: str) -> None:
        """Refuse the call; its message is not read."""
        exchange = RpcExchange.of(self._door, context, self.path, peer, self._host)
        await self._fail(exchange, [], MethodNotAllowed(f"There is no method {self.path[:100]!r}"), context)

    async def _answer(self, exchange: RpcExchange, message: bytes, context: Any, held: list[Any]) -> bool:
        raise AssertionError("no message is read")


class MethodRouter(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    """All methods.

    Parameters
    ----------
    host:
        The service with the engine.
    services:
        The services.
    peer_of:
        Returns the address of the client whose connection the library knows by a name; None if there is none.

    Attributes
    ----------
    running:
        The number of calls that are being served.

    Raises
    ------
    DeclarationError
        If two services have the same method, or the route of a question is not served.
    """

    def __init__(self, host: ServingHost, services: Sequence[RpcService], peer_of: Callable[[str], str | None]) -> None:
        self.running = 0
        self._peer_of = peer_of
        self._unknown = UnknownResource(host)
        routes = {route.key: route for route in host.registry.routes(host.app)}
        endpoints = {endpoint.name: RpcEndpoint(host, endpoint) for endpoint in host.app.endpoints}
        self._handlers: dict[str, Any] = {}
        for service in services:
            for method in service.methods:
                if isinstance(method, RpcQuestion):
                    route = routes.get(method.route.key)
                    if route is None:
                        raise DeclarationError(
                            f"{method.name} of {service.name} asks {method.route.path}, which no plug-in returns in "
                            "its penstock_routes; return it there too"
                        )
                    self._add(QuestionResource(host, service, replace(method, route=route)))
                else:
                    self._add(RpcOperationResource(host, service, method, endpoints))

    def _add(self, resource: RpcResource) -> None:
        if resource.path in self._handlers:
            raise DeclarationError(f"two gRPC services have the method {resource.path}; rename one of them")
        self._handlers[resource.path] = self._handler(resource)

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a call."""
        path = handler_call_details.method
        return self._handlers.get(path) or self._handler(self._unknown.of(path))

    def _handler(self, resource: RpcResource) -> Any:
        async def serve(_messages: object, context: Any) -> None:
            peer = self._peer_of(context.peer())
            if peer is None:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this socket is the server's own")
            self.running += 1
            try:
                await resource.serve(context, peer or "")
            finally:
                self.running -= 1

        # As a stream in both directions, so that policies are asked before the message is read.
        return grpc.stream_stream_rpc_method_handler(serve)


def _never_called(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    raise AssertionError("the route stands for a method that does not exist")
