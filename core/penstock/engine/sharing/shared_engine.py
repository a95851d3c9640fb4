"""An engine as its hosts use it: with the admission policies and the routes, which run beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from penstock.app.manifest import Manifest
from penstock.engine.engine import Engine
from penstock.engine.sharing.host_messages import EngineState
from penstock.hooks.pipeline import Pipeline, admission_pipeline
from penstock.hooks.records import RequestAnswered
from penstock.hooks.routes import Route


@dataclass
class SharedEngine:
    """An engine, and what its hosts leave to it because there must be one of each.

    Attributes
    ----------
    engine:
        The engine, which has started.
    digest:
        The digest of the manifest of its app, which a host's must equal.
    pipelines:
        The admission policies, by the name of the endpoint; None for an endpoint without any.
    routes:
        The routes, by method and path.
    on_answered:
        Called with the ``RequestAnswered`` of each request; None if no plug-in observes it.
    executor:
        Runs the policies that block.
    state:
        The state of the engine, as its hosts know it.
    """

    engine: Engine
    digest: str
    pipelines: Mapping[str, Pipeline | None]
    routes: Mapping[str, Route]
    on_answered: Callable[[RequestAnswered], None] | None
    executor: Executor = field(default_factory=lambda: ThreadPoolExecutor(thread_name_prefix="penstock-policies"))
    state: EngineState = field(default_factory=EngineState)

    @classmethod
    def of(cls, engine: Engine) -> SharedEngine:
        """Return the engine with the policies and routes of its plug-ins."""
        app, registry = engine.app, engine.registry
        return cls(
            engine=engine,
            digest=Manifest.of(app).digest,
            pipelines={endpoint.name: admission_pipeline(registry, endpoint) for endpoint in app.endpoints},
            routes={route.key: route for route in registry.routes(app)},
            on_answered=registry.observer_of(RequestAnswered),
        )
