"""gRPC services over the same endpoints, as records of pure functions, which an adapter serves.

They are to gRPC what dialects are to HTTP: a record reads a message into an endpoint's own terms and writes its answers
as messages, and knows nothing of transports. Policies, deadlines, the queue, retries and the watch for clients that
leave are the same for all of them. Messages are bytes here, so that this package needs no protobuf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.hooks.dialects import Payload, PublicError
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.response import Encoded


class RpcRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One message from a client, as a service sees it.

    Attributes
    ----------
    request_id:
        The request id, as in ``X-Request-Id``.
    path:
        The service and the method: ``/package.Service/Method``.
    header:
        Looks up metadata by its lower-case key; returns None if it is missing. Binary metadata is not there.
    message:
        The message as it came.
    """

    request_id: str
    path: str
    header: Callable[[str], str | None]
    message: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class RpcOperation:
    """A method whose calls become jobs.

    Parameters
    ----------
    name:
        Its name in the service.
    read:
        Takes the request and returns what it asks for; raises a ``PenstockError``, such as ``MalformedRequest``, to
        refuse it. It must be cheap; for a large message, it is called in a thread. ``parts``, ``job_memo``,
        ``wants_reports`` and ``cancel_key`` of the payload are not for gRPC.
    result:
        Takes a result and the payload, and returns the message. A method that streams may be without.
    chunk:
        Takes one chunk of a stream, its head (an ``Encoded`` without a body) and the payload, and returns the message.
        A result is then a stream of one chunk. None: the method answers once.
    collected:
        Takes all chunks of a stream, its head and the payload, and returns the message: for an endpoint that streams
        though the method answers once. None: such a call is refused.
    takes_stream:
        True if the client may send several messages. Each is a request of its own, and they are answered one after the
        other.
    error:
        Takes what the client may see of an error, and the payload, or None if it could not be read; returns the message
        that reports it. The call then goes on with the next message. For methods that take a stream. None: an error
        ends the call, with its status.
    """

    name: str
    read: Callable[[RpcRequest], Payload]
    result: Callable[[Encoded, Payload], bytes] | None = None
    chunk: Callable[[bytes, Encoded, Payload], bytes] | None = None
    collected: Callable[[list[bytes], Encoded, Payload], bytes] | None = None
    takes_stream: bool = False
    error: Callable[[PublicError, Payload | None], bytes] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class RpcQuestion:
    """A method that a route answers, beside the engine and without a job: one message for one.

    Parameters
    ----------
    name:
        Its name in the service.
    route:
        The route: one that the plug-in returns in its ``penstock_routes`` too. Its authenticator is asked.
    read:
        Takes the request and returns the values of the variables in the route's path; raises a ``PenstockError`` to
        refuse it.
    reply:
        Takes the route's response and returns the message; raises a ``PenstockError`` for a response that is none.
    """

    name: str
    route: Route
    read: Callable[[RpcRequest], Mapping[str, str]]
    reply: Callable[[RouteResponse], bytes]


@dataclass(frozen=True, kw_only=True, eq=False)
class RpcService:
    """A gRPC service.

    Parameters
    ----------
    name:
        Its full name: ``package.Service``. The health service knows it by this name.
    methods:
        Its methods.
    descriptors:
        A serialized ``google.protobuf.FileDescriptorSet`` with the service and its messages, for reflection; empty to
        leave it undescribed.
    """

    name: str
    methods: tuple[RpcOperation | RpcQuestion, ...]
    descriptors: bytes = b""


def rpc_door(service: RpcService, method: RpcOperation) -> Route:
    """Return the route that stands for a method until the endpoint of a call is known.

    The authenticator is asked about it, and lets in every caller that may use endpoints.
    """
    path = f"/{service.name}/{method.name}"
    return Route(path=path, name=path, handler=_never_called, method="POST", is_for_callers=True)


def _never_called(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
    raise AssertionError("the route stands for a method")


def functions_of_service(service: RpcService) -> Iterator[tuple[Callable[..., Any], int, str]]:
    """Yield the functions of a service, each with the number of its arguments and the name of its field."""
    for method in service.methods:
        yield method.read, 1, f"read of {method.name}"
        if isinstance(method, RpcQuestion):
            yield method.reply, 1, f"reply of {method.name}"
            continue
        for name, count in (("result", 2), ("chunk", 3), ("collected", 3), ("error", 2)):
            function = getattr(method, name)
            if function is not None:
                yield function, count, f"{name} of {method.name}"
