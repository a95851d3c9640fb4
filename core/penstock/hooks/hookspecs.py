"""The hooks: the things a plug-in may decide, observe or add.

Hooks are called once, while the engine and the application around it are created; the callables they return are called
from then on. Once the engine runs, pluggy is not called.

A hook that raises stops the start, and the error names the plug-in. The callables it returned may raise later. A
decision that raises fails that one job with ``hook-error`` and never another; a ``PenstockError`` is not a failure: it
*is* the decision, and is returned to the caller. An observer that raises is logged and counted, and serving continues.

If a decision needs exactly one answer, the plug-ins are asked in turn until one returns something other than None: the
last one registered first, the core's own defaults last. A callable that blocks, for instance on a database, is marked
with ``penstock.hooks.blocking``; it is then called in a separate thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from penstock.app import App, Endpoint
from penstock.errors import PenstockError
from penstock.hooks.acceptors import Acceptor
from penstock.hooks.descriptions import EndpointDescription
from penstock.hooks.dialects import Dialect
from penstock.hooks.principal import Principal
from penstock.hooks.records import Record, ShutdownRequest
from penstock.hooks.response_heads import ResponseHead
from penstock.hooks.routes import Route
from penstock.hooks.rpc_services import RpcService
from penstock.hooks.services import EngineService
from penstock.hooks.submission import Release, Submission
from penstock.job_store import JobStore
from penstock.policies import Timeouts
from penstock.scheduler import Job, Queue
from penstock.wire import Trace

PROJECT = "penstock"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def penstock_tracer(endpoint: Endpoint, app: App) -> Callable[[Submission], Trace | None] | None:
    """Decide to which distributed trace a request belongs, and whether it is recorded there.

    Parameters
    ----------
    endpoint:
        The endpoint of the requests.
    app:
        The app being served.

    Returns
    -------
    A callable that takes the submission, before any policy has seen it, and returns the request's place in a trace, or
    None if it is to have none. ``JobTraced`` and ``BatchTraced`` report the jobs that are sampled. Or None.
    """


@hookspec(firstresult=True)
def penstock_authenticator(endpoint: Endpoint | Route, app: App) -> Callable[[Submission], Principal | None] | None:
    """Decide who the caller is, and whether it has access.

    Called for each endpoint, and for each route that is not open.

    Parameters
    ----------
    endpoint:
        The target of the requests.
    app:
        The app being served.

    Returns
    -------
    A callable that takes the submission and returns the principal, or None for an anonymous caller; it raises
    ``Unauthorized`` or ``Forbidden`` to refuse the caller. Or None, to leave access open. The headers that it reads to
    identify a caller are credentials: ``Context.headers`` omits them.
    """


@hookspec(firstresult=True)
def penstock_timeout_policy(endpoint: Endpoint, app: App) -> Callable[[Submission], Timeouts | None] | None:
    """Decide how long a job may take.

    Parameters
    ----------
    endpoint:
        The endpoint of the jobs.
    app:
        The app being served.

    Returns
    -------
    A callable that takes the submission and returns timeouts, or None to leave them unchanged. Each limit applies only
    if it is tighter than the endpoint's. It raises ``MalformedRequest`` for a header that it cannot read. Or None.
    """


@hookspec
def penstock_admission_policy(endpoint: Endpoint, app: App) -> Callable[[Submission], Release | None] | None:
    """Decide whether a request may become a job, before its body is read.

    All plug-ins are asked; the first refusal is final.

    Parameters
    ----------
    endpoint:
        The target of the requests.
    app:
        The app being served.

    Returns
    -------
    A callable that takes the submission, and raises a ``PenstockError`` to refuse it: ``RateLimited``, ``CircuitOpen``.
    It may return a callable, which is called exactly once with a ``JobAnswered``, when the job has ended or another
    policy has refused it. It may still add headers to the response, unless that is a stream, which has begun. Or None.
    """


@hookspec(firstresult=True)
def penstock_acceptor(endpoint: Endpoint, app: App) -> Acceptor | None:
    """Decide whether an admitted request is taken away from the endpoint, to be done later or elsewhere.

    It is asked after all policies, when the body is there and valid, and before the request becomes a job. Jobs of
    services are not asked about.

    Parameters
    ----------
    endpoint:
        The target of the requests.
    app:
        The app being served.

    Returns
    -------
    An ``Acceptor``: a callable that takes the submission and returns whether it wants the request, and one that takes
    the submission, the body and the headers, and answers it. Or None.
    """


@hookspec(firstresult=True)
def penstock_queue_discipline(endpoint: Endpoint, app: App) -> Callable[[], Queue] | None:
    """Decide in what order the endpoint's jobs run, and which of them are refused or shed.

    Parameters
    ----------
    endpoint:
        The endpoint of the queue.
    app:
        The app being served.

    Returns
    -------
    A factory of queues, such as the class ``FifoQueue``; or None.
    """


@hookspec(firstresult=True)
def penstock_retry_policy(endpoint: Endpoint, app: App) -> Callable[[Job, PenstockError, float], float | None] | None:
    """Decide whether a failed job is retried, and when.

    The policy is asked only if a retry is safe: no chunk has been delivered, the job has not seen two workers die, and
    the endpoint is idempotent or the code has raised ``Retryable``. A delay that ends after the job's deadline means no
    retry. Jobs that shared the worker of a job that had to be killed run again without being asked about.

    Parameters
    ----------
    endpoint:
        The endpoint of the jobs.
    app:
        The app being served.

    Returns
    -------
    A callable that takes the job, the error (``WorkerLost`` or ``HandlerError``) and the current instant. It returns
    the seconds after which the job is queued again, or None to answer the job with the error. Or None.
    ``HandlerError.may_retry`` is true if the endpoint's ``Retries`` name the exception, or if it was a ``Retryable``;
    ``retry_delay`` is the delay that a ``Retryable`` asked for.
    """


@hookspec(firstresult=True)
def penstock_shutdown_policy(app: App) -> Callable[[ShutdownRequest], float] | None:
    """Decide how much time admitted jobs have when the engine is shut down.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    A callable that takes the request (its origin, reason and drain) and returns the seconds to grant; or None.
    """


@hookspec
def penstock_observer(app: App) -> Mapping[type[Record], Callable[[Any], None]] | None:
    """Observe events.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    A callable for each type of record to observe (see ``penstock.hooks.records``), which takes one record; or None. The
    callables run on the engine's thread, in the middle of its work, and must not block.
    """


@hookspec
def penstock_worker_setup(app: App) -> str | None:
    """Name a function to be called in each worker.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    The function, as ``"package.module:function"``; or None. It is called with the app in each worker process, once the
    worker's models are set up, and may return another function, to be called when the worker ends.
    """


@hookspec
def penstock_service(app: App) -> EngineService | None:
    """Add a part that lives as long as the engine, and may give it jobs of its own.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    An object with the methods of ``penstock.hooks.EngineService``, which are called in the process of the engine; or
    None.
    """


@hookspec(firstresult=True)
def penstock_job_store(app: App) -> JobStore | None:
    """Provide the store of background jobs.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    A ``penstock.job_store.JobStore`` that is not open, which services find as ``ServiceEngine.job_store``; or None.
    Called in the process of the engine, which opens nothing: the plug-in ``jobs`` does, when the engine starts.
    """


@hookspec
def penstock_routes(app: App) -> Iterable[Route] | None:
    """Add routes beside the endpoints: pages, actions, and streams that need no worker.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    The routes; or None.
    """


@hookspec
def penstock_dialects(app: App) -> Iterable[Dialect] | None:
    """Add other HTTP interfaces to endpoints.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    The dialects, each of which names its endpoints, or is named by them; or None.
    """


@hookspec
def penstock_grpc_services(app: App) -> Iterable[RpcService] | None:
    """Add gRPC services over endpoints, beside ``penstock.v1.Endpoints``.

    Called only in processes that serve gRPC, so the modules that protobuf has generated are best imported here.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    The services; or None.
    """


@hookspec
def penstock_response_headers(app: App) -> Callable[[ResponseHead], Iterable[tuple[str, str]] | None] | None:
    """Add headers to every response: of endpoints, of routes, and those to requests for neither, such as a 404.

    A policy adds headers through ``Submission.response_headers``, and so only where it is asked.

    Parameters
    ----------
    app:
        The app being served.

    Returns
    -------
    A callable that takes the head of a response and returns pairs of a name and a value, or None to add nothing. They
    replace the headers of these names, except ``Vary``, which is added to. The callable runs in each process that
    serves HTTP, in several threads at a time under WSGI, and must not block. Or None.
    """


@hookspec
def penstock_description(endpoint: Endpoint, app: App) -> EndpointDescription | None:
    """Describe for the OpenAPI document what the plug-in adds to the requests and responses of an endpoint.

    Called when the document is asked for, and not before. All plug-ins are asked; for credentials and scopes, the first
    that names credentials counts.

    Parameters
    ----------
    endpoint:
        The endpoint to describe.
    app:
        The app being served.

    Returns
    -------
    The headers that it reads and adds, the credentials that it takes, the errors with which it refuses, and the
    responses that it sends in place of the endpoint's; or None.
    """


@hookspec
def penstock_cli_commands() -> Iterable[Any] | None:
    """Add commands to ``penstock``.

    Returns
    -------
    ``click`` commands; or None.
    """
