"""The public surface for adapters: the names needed to put a transport around an engine.

Adapters import from here and from ``penstock``, ``penstock.hooks``, ``penstock.errors`` and ``penstock.policies``. The
rest of the core is private to it.
"""

from penstock.app import Pool
from penstock.app.loader import load_app, make_importable
from penstock.codec.decoding import class_name
from penstock.engine import Call, Engine, ThreadedCall, ThreadedEngine, create_engine
from penstock.eventlog import configure_logging
from penstock.hooks.pipeline import Pipeline, endpoint_pipeline, route_pipeline
from penstock.hooks.registry import Registry
from penstock.hooks.response_headers import ResponseHeaders
from penstock.hooks.settings import CONFIG_VARIABLE
from penstock.hooks.submission import NORMAL_RANK
from penstock.policies import SMALL_BODY_BYTES
from penstock.response import JSON, SERVER_HEADERS, Encoded

__all__ = [
    "CONFIG_VARIABLE",
    "JSON",
    "NORMAL_RANK",
    "SERVER_HEADERS",
    "SMALL_BODY_BYTES",
    "Call",
    "Encoded",
    "Engine",
    "Pipeline",
    "Pool",
    "Registry",
    "ResponseHeaders",
    "ThreadedCall",
    "ThreadedEngine",
    "class_name",
    "configure_logging",
    "create_engine",
    "endpoint_pipeline",
    "load_app",
    "make_importable",
    "route_pipeline",
]
