"""A service as part of a Falcon application: its paths, the methods they take, and the errors around them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import falcon

from penstock.errors import DeclarationError, MethodNotAllowed, NotFound
from penstock.hooks import RequestAnswered
from penstock.hosting import problem_document, request_id
from penstock_falcon.dialect_operations import DialectEndpoint, OperationResource
from penstock_falcon.exchange import EndpointResource, Resource
from penstock_falcon.problems import ErrorWriter, framework_problem, internal_problem, problem
from penstock_falcon.responses import HttpResponse, common_headers
from penstock_falcon.route_resource import RouteResource
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport

# Every method that Falcon knows; to Falcon, a WebSocket is one as well.
HTTP_METHODS = [method for method in falcon.COMBINED_METHODS if method != "WEBSOCKET"]
# Falcon reports an HTTP status in the close code of a WebSocket as 3000 plus the status.
WEBSOCKET_STATUS_BASE = 3000


class PathResource:
    """A path as a Falcon resource: a responder for every method.

    The methods that the path does not take need one too. A mounted service answers its own errors, so it cannot leave
    them to the application's error handlers.
    """

    def __init__(self, responders: Mapping[str, Callable[..., Any]]) -> None:
        for method, responder in responders.items():
            setattr(self, f"on_{method.lower()}", responder)


class Mount:
    """The place of a service in a Falcon application: its paths, and the errors around them.

    Parameters
    ----------
    falcon_app:
        The application, ASGI or WSGI.
    service:
        The service.
    transport:
        The primitives of the adapter.
    endpoint_resource, operation_resource:
        The classes of the resources of endpoints, and of the operations of dialects.

    Attributes
    ----------
    paths:
        The resources of each path, by method.
    """

    def __init__(
        self,
        falcon_app: falcon.App[Any, Any],
        service: Service[Any],
        transport: Transport,
        endpoint_resource: type[EndpointResource] = EndpointResource,
        operation_resource: type[OperationResource] = OperationResource,
    ) -> None:
        self._falcon_app = falcon_app
        self._service = service
        self._transport = transport
        self._endpoint_resource = endpoint_resource
        self._operation_resource = operation_resource
        self.paths: defaultdict[str, dict[str, Resource]] = defaultdict(dict)
        self._allowed: dict[str, tuple[str, ...]] = {}

    def add_paths(self, prefix: str) -> None:
        """Add every endpoint and every route under ``prefix``.

        Raises
        ------
        DeclarationError
            If ``prefix`` does not begin with a slash, or ends with one.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise DeclarationError(f"mount(prefix={prefix!r}): a prefix begins with a slash and does not end with one")
        service, transport = self._service, self._transport
        paths = self.paths
        for endpoint in service.app.endpoints:
            paths[prefix + endpoint.path][endpoint.method] = self._endpoint_resource(service, transport, endpoint)
        for route in service.routes:
            paths[prefix + route.path][route.method] = RouteResource(service, transport, route)
        for dialect in service.dialects:
            served = {
                endpoint.name: DialectEndpoint(service, transport, endpoint, dialect)
                for endpoint in service.app.endpoints
                if endpoint.name in dialect.endpoints
            }
            for operation in dialect.operations:
                paths[prefix + operation.path][operation.method] = self._operation_resource(
                    service, transport, dialect, operation, served
                )
        for path, resources in paths.items():
            self._add_path(path, resources)

    def add_error_handlers(self) -> None:
        """Answer every other error of the application too; for an application that is ours alone."""
        self._falcon_app.add_error_handler(falcon.HTTPError, self._transport.responder(self._on_framework_error))
        self._falcon_app.add_error_handler(Exception, self._transport.responder(self._on_exception))

    def _add_path(self, path: str, resources: Mapping[str, Resource]) -> None:
        """Add a path with the resource of each method that it takes. Where GET is taken, so is HEAD."""
        by_method = {"HEAD": resources["GET"], **resources} if "GET" in resources else resources
        allowed = self._allowed[path] = tuple(sorted(by_method))
        write_error = next(iter(resources.values())).write_error

        async def options(req: falcon.Request, resp: falcon.Response, /, **_path_values: str) -> None:
            headers = common_headers(_request_id_of(req), "text/plain")
            headers.append(("allow", ", ".join((*allowed, "OPTIONS"))))
            self._answer(req, resp, HttpResponse(200, headers, b""))

        async def refuse(req: falcon.Request, resp: falcon.Response, /, **_path_values: str) -> None:
            self._answer(req, resp, self._wrong_method(req, allowed, write_error))

        responder = self._transport.responder
        responders = dict.fromkeys(HTTP_METHODS, responder(refuse))
        responders |= {method: responder(resource.respond) for method, resource in by_method.items()}
        responders["OPTIONS"] = responder(options)
        try:
            self._falcon_app.add_route(path, PathResource(responders))
        except ValueError as error:  # Falcon's UnacceptableRouteError is one
            raise DeclarationError(
                f"{path} collides with another path that has variables: {error}; use the same names for variables in "
                "the same place, or change one of the paths"
            ) from error

    def _wrong_method(
        self, req: falcon.Request, allowed: tuple[str, ...], write_error: ErrorWriter = problem_document
    ) -> HttpResponse:
        error = MethodNotAllowed(f"{req.path[:200]} does not take {req.method}", allowed=allowed)
        return problem(error, _request_id_of(req), debug=False, write_error=write_error)

    async def _on_framework_error(
        self, req: Any, resp: Any, error: falcon.HTTPError, params: Any, ws: Any = None
    ) -> None:
        if ws is not None:
            await ws.close(WEBSOCKET_STATUS_BASE + error.status_code)
            return
        self._answer(req, resp, self._framework_response(error, req))

    def _framework_response(self, error: falcon.HTTPError, req: falcon.Request) -> HttpResponse:
        # Falcon answers a method that it does not know with a 400.
        if req.uri_template in self._allowed and req.method not in falcon.COMBINED_METHODS:
            return self._wrong_method(req, self._allowed[req.uri_template])
        if isinstance(error, falcon.HTTPRouteNotFound):
            not_found = NotFound(f"Nothing is served at {req.path[:200]!r}")
            return problem(not_found, _request_id_of(req), debug=False)
        return framework_problem(error, _request_id_of(req))

    async def _on_exception(self, req: Any, resp: Any, error: Exception, params: Any, ws: Any = None) -> None:
        response = internal_problem(error, _request_id_of(req))
        if ws is not None:
            await ws.close()
            return
        self._answer(req, resp, response)

    def _answer(self, req: falcon.Request, resp: falcon.Response, response: HttpResponse) -> None:
        """Answer and record a request that was for no endpoint and no route, or had a method that its path refuses."""
        service = self._service
        header, _received, peer, _began = self._transport.identify(req)
        if service.headers_of is not None:
            service.add_headers(response, req.method, req.path, header)
        service.write(resp, response)
        if service.on_answered is None:
            return
        service.on_answered(
            RequestAnswered(
                endpoint="",
                request_id=dict(response.headers)["x-request-id"],
                method=req.method,
                path=req.path,
                status=response.status,
                code=response.code,
                seconds=0.0,
                address=service.trusted_proxies.client_address(peer, header),
            )
        )


def _request_id_of(req: falcon.Request) -> str:
    return request_id(req.get_header("X-Request-Id"))
