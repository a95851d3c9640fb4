"""The gRPC server of one process, beside its HTTP server and on the same event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from grpc import aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_reflection.v1alpha import reflection

from penstock.hooks import log_event
from penstock.hosting import rpc_services_of
from penstock_grpc.connection_group import ConnectionGroup
from penstock_grpc.descriptor_files import descriptor_pool
from penstock_grpc.endpoint_service import endpoint_service
from penstock_grpc.health_service import HealthService
from penstock_grpc.method_router import MethodRouter
from penstock_grpc.serving_host import ServingHost

MOST_STREAMS: Final = 1024
"""The most calls that one connection may have at a time; clients wait with more."""
METADATA_BYTES: Final = 16 * 1024
# A message has the input, and little around it.
MESSAGE_MARGIN: Final = 64 * 1024
KEEPALIVE_SECONDS: Final = 60
KEEPALIVE_ANSWER_SECONDS: Final = 20
IDLE_SECONDS: Final = 300
HANDSHAKE_SECONDS: Final = 20
SHORTEST_PING_SECONDS: Final = 10
STOP_SECONDS: Final = 2.0


class GrpcServer:
    """The gRPC server.

    Parameters
    ----------
    host:
        The service behind the HTTP application: with the app, the policies and the engine.

    Attributes
    ----------
    scheme:
        The scheme of its URLs, without and with TLS.
    application_protocol:
        The name of HTTP/2 in the handshake of TLS.
    """

    scheme = ("grpc", "grpcs")
    application_protocol = "h2"

    def __init__(self, host: ServingHost) -> None:
        self._host = host
        self._connections: ConnectionGroup
        self._router: MethodRouter
        self._health: HealthService
        self._server: aio.Server | None = None

    async def start(self) -> None:
        """Start; connections may then be passed to ``new_connection``."""
        self._connections = ConnectionGroup()
        host = self._host
        services = [endpoint_service(host.app), *rpc_services_of(host.registry, host.app)]
        names = [service.name for service in services]
        self._router = MethodRouter(host, services, self._connections.peer_of)
        self._health = HealthService(host, names)
        server = aio.server(options=_options(host.settings.max_body))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        known = [*names, HEALTH_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(known, server, descriptor_pool(services))
        server.add_generic_rpc_handlers((self._router,))
        server.add_insecure_port(self._connections.address)
        await server.start()
        self._server = server

    def new_connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return self._connections.new()

    def status(self) -> dict[str, Any]:
        """Return the open connections and running calls, for the status page."""
        if self._server is None:
            return {"connections": 0, "calls": 0}
        return {"connections": len(self._connections), "calls": self._router.running}

    def ask_to_leave(self, *, has_successor: bool) -> None:
        """Ask all clients to make their next calls on another connection; see ``ConnectionGroup``."""
        if self._server is not None:
            self._connections.ask_to_leave(has_successor=has_successor)
            self._health.leave()

    @property
    def is_left(self) -> bool:
        """True if no connection is open."""
        return self._server is None or not len(self._connections)

    @property
    def is_idle(self) -> bool:
        """True if no call is being served."""
        return self._server is None or not self._router.running

    async def stop(self) -> None:
        """Cancel what runs, and close all connections."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            await asyncio.wait_for(server.stop(None), STOP_SECONDS)
        except TimeoutError:
            log_event(logging.WARNING, "grpc-stop", f"the gRPC library has not stopped within {STOP_SECONDS:g} s")
        self._connections.close()


def _options(max_body: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_body + MESSAGE_MARGIN),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", SHORTEST_PING_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
    ]
