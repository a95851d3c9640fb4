"""The public surface for adapters: the names needed to put a transport around an engine.

Adapters import from here and from ``penstock``, ``penstock.hooks``, ``penstock.errors`` and ``penstock.policies``. The
rest of the core is private to it.
"""

from penstock.app import Pool
from penstock.app.loader import load_app, make_importable
from penstock.body_files import LARGE_BODY_BYTES, Body, BodyFile
from penstock.codec.decoding import class_name
from penstock.codec.event_chunks import data_of
from penstock.engine import Call, Engine, ThreadedCall, ThreadedEngine, create_engine
from penstock.engine.operator_log import log_refusal
from penstock.engine.reactors.asyncio_reactor import AsyncioReactor
from penstock.engine.route_calls import RouteCall, RouteCalls
from penstock.engine.sharing.engine_server import EngineServer
from penstock.engine.sharing.engine_socket import LONGEST_SOCKET_PATH_BYTES, EngineSocket
from penstock.engine.sharing.host_messages import EngineState
from penstock.engine.sharing.remote_calls import RemoteCall
from penstock.engine.sharing.remote_engine import RemoteEngine
from penstock.engine.sharing.remote_uploads import RemoteUpload
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.engine.threaded_route_calls import ThreadedRouteCall
from penstock.eventlog import configure_logging, log_output, log_stream_record, shows_records_of
from penstock.eventlog.import_records import own_import
from penstock.eventlog.log_writer import flush_all as flush_log
from penstock.eventlog.standard_streams import replace_missing_streams
from penstock.eventlog.stream_records import StreamRecord, divert_records
from penstock.hooks.annotation_checks import AnnotationCheck
from penstock.hooks.dialects import door_of
from penstock.hooks.exit_flushes import flush_plugins
from penstock.hooks.framings import DataFraming, RawFraming, choose_framing
from penstock.hooks.native_dialect import NATIVE, form_type_of, problem_document
from penstock.hooks.pipeline import Pipeline, endpoint_pipeline, request_pipeline, route_pipeline
from penstock.hooks.public_errors import public_error
from penstock.hooks.registry import Registry, rpc_services_of
from penstock.hooks.request_ids import request_id
from penstock.hooks.retry_advice import retry_after, should_retry
from penstock.hooks.rpc_services import rpc_door
from penstock.hooks.settings import CONFIG_VARIABLE, ENGINE_VARIABLE
from penstock.hooks.submission import NORMAL_RANK
from penstock.openapi import PAGE_PATH, documentation_routes, openapi_document, schema_digest
from penstock.policies import SMALL_BODY_BYTES
from penstock.response import JSON, SERVER_HEADERS, Encoded
from penstock.wire import InputForm

__all__ = [
    "CONFIG_VARIABLE",
    "ENGINE_VARIABLE",
    "JSON",
    "LARGE_BODY_BYTES",
    "LONGEST_SOCKET_PATH_BYTES",
    "NATIVE",
    "NORMAL_RANK",
    "PAGE_PATH",
    "SERVER_HEADERS",
    "SMALL_BODY_BYTES",
    "AnnotationCheck",
    "AsyncioReactor",
    "Body",
    "BodyFile",
    "Call",
    "DataFraming",
    "Encoded",
    "Engine",
    "EngineServer",
    "EngineSocket",
    "EngineState",
    "InputForm",
    "Pipeline",
    "Pool",
    "RawFraming",
    "Registry",
    "RemoteCall",
    "RemoteEngine",
    "RemoteUpload",
    "RouteCall",
    "RouteCalls",
    "SharedEngine",
    "StreamRecord",
    "ThreadedCall",
    "ThreadedEngine",
    "ThreadedRouteCall",
    "choose_framing",
    "class_name",
    "configure_logging",
    "create_engine",
    "data_of",
    "divert_records",
    "documentation_routes",
    "door_of",
    "endpoint_pipeline",
    "flush_log",
    "flush_plugins",
    "form_type_of",
    "load_app",
    "log_output",
    "log_refusal",
    "log_stream_record",
    "make_importable",
    "openapi_document",
    "own_import",
    "problem_document",
    "public_error",
    "replace_missing_streams",
    "request_id",
    "request_pipeline",
    "retry_after",
    "route_pipeline",
    "rpc_door",
    "rpc_services_of",
    "schema_digest",
    "should_retry",
    "shows_records_of",
]
