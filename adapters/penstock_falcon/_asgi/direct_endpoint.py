"""Small requests that have arrived in full, answered by our own server without ASGI and without Falcon.

The steps and the answers are those of ``penstock_falcon.exchange``. But nothing is left to wait for before the job is
submitted, so there is no coroutine and no task: the outcome calls back, and the response is written at once.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from http import HTTPStatus
from time import monotonic
from typing import Any, Protocol

from penstock import Endpoint
from penstock.errors import Cancelled, PenstockError, RequestTimeout
from penstock.hooks import Dialect, Operation, Route
from penstock.hosting import JSON, SERVER_HEADERS, BodyFile, Call, Encoded, request_id
from penstock_falcon._asgi.asgi_transport import encoded_names
from penstock_falcon.added_headers import add_headers
from penstock_falcon.compression import AT_ONCE_BYTES, COMPRESSED_FROM_BYTES, coding_for, compress_at_once
from penstock_falcon.dialect_operations import DialectEndpoint, DialectExchange, OperationResource
from penstock_falcon.exchange import NO_VALUES, EndpointResource, Exchange, Resource
from penstock_falcon.hangups import GIVEN_UP, GONE
from penstock_falcon.request_checks import late_body, too_large
from penstock_falcon.responses import OK, HttpResponse, server_timing
from penstock_falcon.service import SCHEMA_HEADER, Service
from penstock_falcon.transport import Transport

_JSON = JSON.encode()
_SCHEMA = SCHEMA_HEADER.encode()
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})
# If a policy sets one of these, the response is written in the general way, which has each only once.
_USUAL_HEADERS = frozenset({"content-type", "x-request-id", "server-timing", "vary"})


class DirectConnection(Protocol):
    """A client's connection, as far as a request needs it that is answered without ASGI.

    Attributes
    ----------
    peer:
        The address at the other end; "" if it is unknown.
    request_began:
        The instant at which the first byte of the request arrived; None if that was just now.
    exchange, call:
        The present request and its job. Only ``DirectEndpoint`` sets them, and ``respond`` clears them.
    on_progress:
        Has ``progress`` called for this connection.
    write_idle:
        Seconds for which the client may leave the response unread.
    """

    peer: str
    request_began: float | None
    exchange: Exchange | None
    call: Call | None
    on_progress: Callable[[], None]
    write_idle: float

    def respond(self, head: str, body: bytes, *, is_last: bool) -> None:
        """Write a response: status and header lines without the first protocol version, each ended by CRLF.

        ``is_last`` is true if the connection is to be closed after it.
        """

    def hand_over(self) -> None:
        """Have the application answer the request, through ASGI."""


class DirectResource(Resource):
    """A resource whose small requests a server may pass on without ASGI.

    Attributes
    ----------
    is_direct:
        False if it cannot be used without ASGI, because all of its responses are streams, or because a policy blocks.
    """

    exchange_class: type[Exchange] = Exchange
    is_direct: bool

    def __init__(self, service: Service[Any], transport: Transport, target: Endpoint | Route) -> None:
        super().__init__(service, transport, target)
        self._gets_headers = service.headers_of is not None
        # Above this size, compressing a response would delay others.
        self._most_bytes = AT_ONCE_BYTES if self._compresses else math.inf
        self._path = self._target.path
        self._known_hosts: set[bytes | None] = set()

    def begin(self, connection: DirectConnection, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """Pass a request on to the engine, or refuse it.

        Parameters
        ----------
        connection:
            The connection on which it has arrived.
        headers:
            Its headers, names in lower case, none of them repeated, and without a ``Content-Encoding``.
        body:
            Its whole body.
        """
        get = headers.get

        def header(name: str) -> str | None:
            value = get(encoded_names[name])
            return None if value is None else value.decode("latin-1")

        given = get(b"x-request-id")
        proxies = self._service.trusted_proxies
        exchange = connection.exchange = self.exchange_class(
            self._target,
            request_id=request_id(None if given is None else given.decode("latin-1")),
            header=header,
            query="",
            address=proxies.client_address(connection.peer, header) if proxies.has_any else connection.peer,
            method="POST",
            path=self._path,
            began=connection.request_began,
            received_headers=headers,
        )
        digest = get(_SCHEMA)
        if digest is not None:
            self._service.compare_schema(exchange, digest.decode("latin-1"))
        try:
            call = connection.call = self._submit_whole(exchange, headers, body)
        except Exception as error:
            self._conclude(connection, exchange, None, self._failure(error, exchange, None))
        except BaseException:
            self._give_up(exchange, None, Cancelled(GIVEN_UP))
            exchange.record(self._service, None, Cancelled.status, Cancelled.code)
            raise
        else:
            if call is None:
                self._conclude(connection, exchange, None, self._direct_response(exchange))
                return
            call.on_progress = connection.on_progress
            if call.outcome is not None:  # its queue has shed it at once
                self.progress(connection)

    @abstractmethod
    def _submit_whole(self, exchange: Exchange, headers: Mapping[bytes, bytes], body: bytes) -> Any:
        """Return the job of a request that is here in full, or None if it needs none.

        Raises
        ------
        PenstockError
            If it is refused.
        """

    def _direct_response(self, exchange: Exchange) -> HttpResponse:
        """Return the response to a request that needs no job."""
        raise AssertionError("every request to an endpoint needs a job")

    def _check_host(self, exchange: Exchange, headers: Mapping[bytes, bytes]) -> None:
        check = self._host_check
        check.check(exchange.header("host"), is_required=True)
        if len(self._known_hosts) < check.MOST_KNOWN:
            self._known_hosts.add(headers.get(b"host"))

    def progress(self, connection: DirectConnection) -> None:
        """Answer the request, if its outcome is known; hand it over if it is answered with a stream."""
        call, exchange = connection.call, connection.exchange
        assert call is not None, "there is progress only between `begin` and `respond`"
        assert exchange is not None, "it comes with the call"
        outcome = call.outcome
        if call.head is not None and (call.has_chunks or not isinstance(outcome, PenstockError)):
            call.on_progress = None
            connection.hand_over()
            return
        if outcome is None:
            return
        call.on_progress = None
        idle = call.timeouts.idle
        connection.write_idle = math.inf if idle is None else idle
        self._write(connection, exchange, call, outcome)

    def _write(
        self, connection: DirectConnection, exchange: Exchange, call: Call, outcome: Encoded | PenstockError
    ) -> None:
        """Write the response for an outcome."""
        body = getattr(outcome, "body", b"")
        if isinstance(body, BodyFile) or len(body) > self._most_bytes:
            connection.hand_over()
            return
        self._conclude(connection, exchange, call, self._response(call, exchange))

    @abstractmethod
    def _outcome_response(self, call: Any, exchange: Exchange) -> HttpResponse:
        """Return the response for the outcome of a call."""

    def _response(self, call: Call, exchange: Exchange) -> HttpResponse:
        try:
            return self._outcome_response(call, exchange)
        except Exception as error:
            return self._failure(error, exchange, call)

    def abandon(self, exchange: Exchange, call: Call, *, is_recorded: bool = True) -> None:
        """Cancel the job of a client that has gone.

        ``is_recorded`` is false if the outcome calls nothing back that would record the request.
        """
        call.cancel(GONE)
        if not is_recorded:
            exchange.record(self._service, call, Cancelled.status, Cancelled.code)

    def _conclude(
        self, connection: DirectConnection, exchange: Exchange, call: Call | None, response: HttpResponse
    ) -> None:
        if self._compresses:
            coding = coding_for(response, exchange.method, exchange.header)
            if coding:
                compress_at_once(response, coding)
        if exchange.has_response_headers:
            add_headers(response, exchange.response_headers)
        if self._gets_headers:
            self._service.add_headers(response, exchange.method, exchange.path, exchange.header)
        engine = self._service.engine
        is_last = response.status == RequestTimeout.status or (engine is not None and engine.draining)
        connection.respond(*_lines(response), is_last=is_last)
        exchange.record(self._service, call, response.status, response.code)


class DirectEndpoint(EndpointResource, DirectResource):
    """An endpoint whose small requests a server may pass on without ASGI."""

    def __init__(self, service: Service[Any], transport: Transport, endpoint: Endpoint) -> None:
        super().__init__(service, transport, endpoint)
        takes_body_alone = endpoint.method == "POST" and not endpoint.codec.has_values
        self.is_direct = takes_body_alone and not endpoint.is_stream and not self._blocking_steps
        self._is_observed = service.on_answered is not None
        # Responses from this size on are not written in the fast way.
        self._finished_from_bytes = 0 if self._gets_headers else COMPRESSED_FROM_BYTES if self._compresses else math.inf
        self._takes_json = self._checks.takes_json

    def _submit_whole(self, exchange: Exchange, headers: Mapping[bytes, bytes], body: bytes) -> Any:
        if headers.get(b"host") not in self._known_hosts:
            self._check_host(exchange, headers)
        engine = self._service.engine or self._service.start()
        if self._ask is not None:
            self._ask(exchange)
        try:
            if headers.get(b"content-type") != _JSON or not self._takes_json:
                exchange.input_form = self._checks.input_form(
                    exchange.header("content-type"), NO_VALUES, "", exchange.header("accept")
                )
            total = exchange.timeouts.total
            if total is not None and monotonic() - exchange.began >= total:
                raise late_body()
            seen = _decoded(headers) if self._wants_headers else None
            return self._submit_body(engine, exchange, body, None, seen)
        except PenstockError as error:
            return self._service.submit_fault(exchange, error)

    def _write(
        self, connection: DirectConnection, exchange: Exchange, call: Call, outcome: Encoded | PenstockError
    ) -> None:
        engine = self._service.engine
        if (
            type(outcome) is not Encoded
            or type(outcome.body) is not bytes
            or len(outcome.body) >= self._finished_from_bytes
            or outcome.status != 200
            or outcome.headers is not None
            or (exchange.has_response_headers and not _USUAL_HEADERS.isdisjoint(dict(exchange.response_headers)))
            or self._annotation.check is not None
            or (engine is not None and engine.draining)
        ):
            super()._write(connection, exchange, call, outcome)
            return
        timing = server_timing(call.queue_seconds, call.execution_seconds)
        added = exchange.response_headers.lines() if exchange.has_response_headers else ""
        connection.respond(
            f"200 OK\r\ncontent-type: {outcome.media_type or JSON}\r\nx-request-id: {exchange.request_id}\r\n"
            f"server-timing: {timing}\r\n{added}content-length: {len(outcome.body)}\r\n",
            outcome.body,
            is_last=False,
        )
        if self._is_observed:
            exchange.record(self._service, call, 200, OK)


class DirectOperation(OperationResource, DirectResource):
    """An operation of a dialect whose small requests a server may pass on without ASGI: its path has no variables."""

    exchange_class: type[DialectExchange]

    def __init__(
        self,
        service: Service[Any],
        transport: Transport,
        dialect: Dialect,
        operation: Operation,
        served: Mapping[str, DialectEndpoint],
    ) -> None:
        super().__init__(service, transport, dialect, operation, served)
        blocks = bool(self._blocking_steps) or any(each.is_blocking for each in served.values())
        self.is_direct = operation.method == "POST" and "{" not in operation.path and not blocks

    def progress(self, connection: DirectConnection) -> None:
        """See the base class. A request whose client gets progress reports is handed over at the first of them."""
        call, exchange = connection.call, connection.exchange
        assert call is not None, "there is progress only between `begin` and `respond`"
        assert isinstance(exchange, DialectExchange), "it is the class of these exchanges"
        if exchange.reports and call.outcome is None:
            call.on_progress = None
            connection.hand_over()
            return
        super().progress(connection)

    def abandon(self, exchange: Exchange, call: Call, *, is_recorded: bool = True) -> None:
        """See the base class."""
        assert isinstance(exchange, DialectExchange), "it is the class of these exchanges"
        exchange.end()
        super().abandon(exchange, call, is_recorded=is_recorded)

    def _conclude(
        self, connection: DirectConnection, exchange: Exchange, call: Call | None, response: HttpResponse
    ) -> None:
        assert isinstance(exchange, DialectExchange), "it is the class of these exchanges"
        exchange.end()
        super()._conclude(connection, exchange, call, response)

    def _submit_whole(self, exchange: Any, headers: Mapping[bytes, bytes], body: bytes) -> Any:
        if headers.get(b"host") not in self._known_hosts:
            self._check_host(exchange, headers)
        engine = self._service.engine or self._service.start()
        try:
            name = self._chosen(exchange)
        except PenstockError:
            if self._ask is not None:
                self._ask(exchange)  # see OperationResource
            raise
        if name is not None:
            self._take_over(exchange, name).ask(exchange)
        elif self._ask is not None:
            self._ask(exchange)
        try:
            return self._read_whole(engine, exchange, headers, body)
        except PenstockError as error:
            if exchange.endpoint is self._target:
                raise
            return self._service.submit_fault(exchange, error)

    def _read_whole(self, engine: Any, exchange: Any, headers: Mapping[bytes, bytes], body: bytes) -> Any:
        checks = self._checks
        checks.check_media_type(exchange.header("content-type"))
        if len(body) > checks.max_body:
            raise too_large(checks.max_body)
        total = exchange.timeouts.total
        if total is not None and monotonic() - exchange.began >= total:
            raise late_body()
        self._read_now(exchange, body[: self._wanted_bytes(exchange, len(body))], len(body))
        payload = exchange.payload
        if payload is None:
            return None
        if exchange.endpoint is self._target:
            self._take_over(exchange, payload.endpoint).ask(exchange)
        content = body if payload.body is None else payload.body
        return self._served[payload.endpoint].submit_payload(engine, exchange, content, lambda: _decoded(headers))

    def _outcome_response(self, call: Any, exchange: Exchange) -> HttpResponse:
        return self._served[exchange.endpoint.name]._outcome_response(call, exchange)


def _lines(response: HttpResponse) -> tuple[str, bytes]:
    """Return the status and header lines of a response, and its body. Later headers replace earlier ones."""
    headers: dict[str, str] = {}
    for name, value in (response.handler_headers or {}).items():
        if name.lower() not in SERVER_HEADERS:
            headers[name.lower()] = value
    headers.update(response.headers)
    body = b"" if response.status in _WITHOUT_BODY else response.body or b""
    if response.status not in _WITHOUT_BODY:
        headers["content-length"] = str(len(body))
    lines = [
        f"{response.status} {_PHRASES.get(response.status, 'Unknown')}\r\n",
        *(f"{name}: {value}\r\n" for name, value in headers.items()),
    ]
    return "".join(lines), body


def _decoded(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
