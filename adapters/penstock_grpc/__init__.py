"""gRPC beside HTTP: the same endpoints on the same engine, with the same policies.

``GrpcServer`` runs on the event loop of a process that serves HTTP. The generic service is ``penstock.v1.Endpoints``,
in ``endpoints.proto``, from which two modules are generated. Plug-ins add others through
``penstock_grpc_services``.
"""

from penstock_grpc.grpc_server import GrpcServer
from penstock_grpc.status_table import status_of

__all__ = ["GrpcServer", "status_of"]
